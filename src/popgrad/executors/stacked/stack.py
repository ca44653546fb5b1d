"""A stack: members that train and are evaluated as one model, a row each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from popgrad.executors.stacked.batches import Batches
from popgrad.executors.stacked.block import Block, Slot
from popgrad.executors.stacked.draws import Draw, Noise, Streams
from popgrad.executors.stacked.model import Asked, Losses, Outputs, Tensors
from popgrad.executors.stacked.step import Step, Tapes
from popgrad.executors.stacked.template import Start, make_template, refusal
from popgrad.nn import dropouts, stream
from popgrad.state import State
from popgrad.tasks import binding
from popgrad.tasks.construction import unfilled
from popgrad.tasks.evaluation import seed_generators
from popgrad.tasks.torch_task import TorchTask, check_tensors, travelling

Point = tuple[int, str, float]


@dataclass(frozen=True)
class Learnt:
    """What is known of the steps of stacks, by the size of their batch; more is added.

    Attributes:
        asked: What a step asks for.
        read: Names of the hyperparameters that the loss has read.
        tapes: Of those that have been made.
    """

    asked: dict[int, Asked] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    tapes: Tapes = field(default_factory=dict)


Known = dict[tuple[object, ...], Learnt]
"""By all that it depends on."""


class Stack:
    """Members in the rows of one model. Nothing in a row depends on the others.

    Args:
        task: What is trained.
        starts: Each row's segment; the same one may be in several rows. All have as many steps, and begin at
            the same place in an epoch; in one epoch, where the order is for all.
        device: Where to compute.
        known: What stacks of this task have asked for, which takes a step to find out; more is added.

    Raises:
        PopgradError: The members cannot be stacked, or their hyperparameters cannot be written.
        Exception: What the task raises.
    """

    def __init__(
        self,
        task: TorchTask,
        starts: Sequence[Start],
        device: torch.device,
        known: Known | None = None,
    ) -> None:
        known = {} if known is None else known
        self._task, self._starts, self._device = task, starts, device
        self._template = template = make_template(task, starts, device)
        module, first = template.module, starts[0].hparams
        own = dict(travelling(module, first))
        for start in {id(start): start for start in starts}.values():
            check_tensors(own, start.state["model"], "the state")
        leaves = {slot.name: slot for slot in template.slots if own[slot.name].requires_grad}
        self._hparams, texts = self._numbers()
        self._batches = Batches(task, starts, device)
        sizes = sorted(set(self._batches.sizes), reverse=True)
        kinds = tuple((name, x.shape, x.dtype, name in leaves) for name, x in own.items())
        numbers = tuple((name, x.dtype) for name, x in self._hparams.items())
        key = (device, len(starts), kinds, numbers, *template.read.items(), *texts.items())
        learnt = known.setdefault(key, Learnt())
        if new := [size for size in sizes if size not in learnt.asked]:
            made = unfilled(task.model, first).to(device).train()
            learnt.asked.update(self._asked(Losses(task, made, texts, learnt.read), leaves, new))
        asked = {size: learnt.asked[size] for size in sizes}
        template.reached.update(learnt.read)
        used, *others = {each.used for each in asked.values()}
        if others:
            raise refusal(
                "in the last batch of an epoch, which is smaller, the loss uses other parameters"
            )
        self._blocks = self._make_blocks([slot for slot in leaves.values() if slot.name in used])
        self._tensors = self._stacked()
        catch = any(each.caught for each in asked.values())
        losses = Losses(task, module, texts, template.reached, catch=catch)
        trained = [slot.name for block in self._blocks for slot in block.slots]
        written = {name: self._tensors[name] for name in template.buffers[0]}
        own_tensors = {name: self._tensors[name] for name in template.names}
        self._step = Step(losses, written, own_tensors, self._hparams, trained, learnt.tapes)
        self._streams = self._make_streams([asked[size].draws for size in self._batches.sizes])
        self._points: list[tuple[int, list[float]]] = []

    def _numbers(self) -> tuple[Tensors, dict[str, str]]:
        """Hyperparameters as the loss is given them: [N] numbers, and texts, which are alike."""
        each = [binding.tensors(start.hparams, self._device) for start in self._starts]
        texts = {name: value for name, value in each[0].items() if isinstance(value, str)}
        for name, value in texts.items():
            if any(row[name] != value for row in each):
                raise refusal(f"they differ in hyperparameter {name!r}, which is no number")
        return {n: torch.stack([row[n] for row in each]) for n in each[0] if n not in texts}, texts  # type: ignore[misc]

    def _asked(
        self, losses: Losses, leaves: Mapping[str, Slot], sizes: Sequence[int]
    ) -> dict[int, Asked]:
        """What a step asks for, by the size of its batch."""
        own, buffers = self._starts[0].state["model"], self._template.buffers[0]
        one = {name: own[name].to(self._device)[None] for name in self._template.names}
        one |= {name: buffer[None] for name, buffer in buffers.items()}
        hparams = {name: tensor[:1] for name, tensor in self._hparams.items()}
        data = self._task.split("train", self._device)
        found = {}
        for size in sizes:
            batch = tuple(x[:size].clone() for x in data)
            if self._task.augment is not None:
                batch = (self._task.augment(batch[0], torch.Generator().manual_seed(0)), *batch[1:])
            found[size] = losses.dry(one, hparams, batch, leaves)
        return found

    def _make_blocks(self, slots: Sequence[Slot]) -> list[Block]:
        """Blocks with the parameters that are trained."""
        first, blocks = self._starts[0].state["model"], []
        for (owner, group, _), each in groupby(
            slots, lambda slot: (slot.owner, slot.group, first[slot.name].dtype)
        ):
            own = list(each)
            blocks.append(
                Block(
                    own,
                    [[start.state["model"][slot.name] for slot in own] for start in self._starts],
                    self._template.kinds[owner],
                    [options[owner][group] for options in self._template.options],
                    self._template.varied,
                    [start.state["optimizers"][owner] for start in self._starts],
                    self._device,
                )
            )
        return blocks

    def _stacked(self) -> Tensors:
        """[N, ...] all that a module holds, by name; what is trained lies in the blocks."""
        trained = {
            slot.name: view.requires_grad_()
            for block in self._blocks
            for slot, view in zip(block.slots, block.values.parts, strict=True)
        }
        tensors = {
            name: trained[name]
            if name in trained
            else torch.stack([start.state["model"][name] for start in self._starts]).to(
                self._device
            )
            for name in self._template.names
        }
        for name in self._template.buffers[0]:
            tensors[name] = torch.stack([each[name] for each in self._template.buffers])
        return tensors

    def _make_streams(self, draws: Sequence[Sequence[Draw]]) -> Streams:
        places = range(len(dropouts(self._template.module)))
        layers, rest = [], []
        noisy = any(isinstance(draw, Noise) for step in draws for draw in step)
        for start in self._starts:
            seed = start.ctx.library_seed("dropout")
            layers.append([stream(seed, place, self._device) for place in places])
            if noisy:
                seed_generators(start.ctx.library_seed("train"))
                rest.append(_global_generator(self._device))
        return Streams(draws, layers, rest, self._device)

    # --- training -------------------------------------------------------------------------------------------

    def train(self) -> None:
        """All steps of the segment."""
        begin, steps = self._starts[0].assignment.first_step, self._starts[0].assignment.steps
        every = self._task.log_every or begin + steps
        total, count = torch.zeros(len(self._starts), device=self._device), 0
        for number in range(steps):
            batch, dims = self._batches.step(number)
            found = self._step(batch, dims, self._streams.step(number))
            gradients = iter(found.gradients)
            for block in self._blocks:
                block.step([next(gradients) for _ in block.slots])
            for name, tensor in found.changed.items():
                self._tensors[name].copy_(tensor)
            total += found.losses
            count += 1
            if (begin + number + 1) % every == 0 or number + 1 == steps:
                self._points.append((number + 1, [value / count for value in total.tolist()]))
                total.zero_()
                count = 0
        binding.check_all_used(self._starts[0].hparams, self._template.reached)

    def curve(self, row: int) -> tuple[Point, ...]:
        """A row's training curve, as its task would log it."""
        start, options = self._starts[row], self._template.options[row]
        rates = {f"{owner}_lr": float(groups[0]["lr"]) for owner, groups in options.items()}
        named = {"lr": next(iter(rates.values()))} if len(rates) == 1 else rates
        points = []
        for step, losses in self._points:
            numbers = {"train_loss": losses[row], **named}
            points += [
                (start.assignment.first_step + step, name, each) for name, each in numbers.items()
            ]
        return tuple(points)

    # --- afterwards -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self) -> list[Mapping[str, float]]:
        """Each row's metrics on the validation split.

        No more samples are in work at once than in a step of training, but for the least that can be: one
        row, and a batch of the size that the task has fixed.
        """
        task, rows = self._task, len(self._starts)
        outputs = Outputs(task, self._template.module.eval())
        data = task.split("validation", self._device)
        parts = torch.arange(len(data[0]), device=self._device).split(task.evaluation_batch_size)  # type: ignore[no-untyped-call]
        batches = [tuple(x.index_select(0, part) for x in data) for part in parts]
        some = max(1, rows * max(self._batches.sizes) // len(batches[0][0]))
        found: list[Mapping[str, float]] = []
        for begin in range(0, rows, some):
            tensors = {
                name: tensor[begin : begin + some].detach()
                for name, tensor in self._tensors.items()
            }
            made = torch.cat([outputs(tensors, batch) for batch in batches], 1)
            for each in made:
                numbers = task.metrics(each, data[-1])
                found.append({name: float(value) for name, value in numbers.items()})
        return found

    def states(self) -> list[State]:
        """Each row's final state as one that trained alone has it, on the CPU; views of shared memory."""
        names = self._template.names
        models = zip(*(self._tensors[name].detach().cpu().unbind(0) for name in names), strict=True)
        for block in self._blocks:
            block.to_cpu()
        made = [(block.slots[0].owner, block.states()) for block in self._blocks]
        found: list[State] = []
        for row, (start, model) in enumerate(zip(self._starts, models, strict=True)):
            found.append(
                {
                    "model": dict(zip(names, model, strict=True)),
                    "optimizers": {},
                    "steps": start.state["steps"] + start.assignment.steps,
                    "position": self._batches.position[row],
                }
            )
            for owner, saved in start.state["optimizers"].items():
                new: dict[int, State] = {}
                for _, states in (each for each in made if each[0] == owner):
                    new |= states[row]
                # What was there comes first, as in torch; what was not stepped stays.
                found[row]["optimizers"][owner] = {
                    i: new.get(i, each) for i, each in saved.items()
                } | new
        return found


def _global_generator(device: torch.device) -> torch.Generator:
    """A generator that goes on where the global one of a device is."""
    cuda = device.type == "cuda"
    generator = torch.Generator(device)
    generator.set_state(torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state())
    return generator
