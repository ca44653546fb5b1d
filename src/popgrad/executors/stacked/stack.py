"""A stack: members that train and are evaluated as one model, a row each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import nn

from popgrad.executors.stacked.batches import Batches
from popgrad.executors.stacked.block import Block, OptimizedParameter
from popgrad.executors.stacked.draws import Draw, Fill, Noise, Streams
from popgrad.executors.stacked.model import Losses, Outputs, StepProfile, Tensors
from popgrad.executors.stacked.step import Step, StepCache
from popgrad.executors.stacked.template import RowStart, make_template, refusal
from popgrad.metrics import as_metrics
from popgrad.nn import dropouts, stream
from popgrad.state import State
from popgrad.tasks import binding
from popgrad.tasks.construction import unfilled
from popgrad.tasks.evaluation import seed_generators
from popgrad.tasks.optimizer_state import moments_for
from popgrad.tasks.tensors import check_tensors, state_tensors
from popgrad.tasks.torch_task import TorchTask

Point = tuple[int, str, float]

StepCaches = dict[tuple[object, ...], StepCache]
"""Step caches by everything that they depend on."""


@dataclass(frozen=True)
class Claim:
    """Properties of a stack that a comparison with members alone has to cover.

    Attributes:
        sizes: Batch sizes.
        names: Hyperparameters in which members differ.
    """

    sizes: frozenset[int]
    names: frozenset[str]


class Stack:
    """Members in the rows of one model. A row does not depend on the others.

    Building a stack profiles the steps of unknown batch sizes, see `_profile_steps`.

    Args:
        task: Task to train.
        starts: Start of each row; the same one may be in several rows. All have as many steps, and
            begin at the same position in an epoch; in the same epoch too if the order is shared by
            all members.
        device: Device to compute on.
        caches: Step caches of earlier stacks of this task; more are added. None = start without.

    Raises:
        PopgradError: The members cannot be stacked, or their hyperparameters cannot be written.
        Exception: An error of the task.
    """

    def __init__(
        self,
        task: TorchTask,
        starts: Sequence[RowStart],
        device: torch.device,
        caches: StepCaches | None = None,
    ) -> None:
        self._task = task
        self._starts = starts
        self._device = device
        self._template = make_template(task, starts, device)
        module = self._template.module
        tensors = dict(state_tensors(module, starts[0].hparams))
        for start in {id(start): start for start in starts}.values():
            check_tensors(tensors, start.state["model"], "the state")
            _check_entries(start.state)
        candidates = {
            parameter.name: parameter
            for parameter in self._template.parameters
            if tensors[parameter.name].requires_grad
        }
        self._hparams, strings = self._stack_hparams()
        self._batches = Batches(task, starts, device)

        # Profiles and tapes of steps are shared with earlier stacks that are alike.
        key = self._cache_key(tensors, candidates, strings)
        cache = ({} if caches is None else caches).setdefault(key, StepCache())
        self._cache = cache
        profiles = self._profile_steps(cache, strings, candidates)
        self._template.reached.update(cache.read)
        # If all were read at once, as by dict(hparams), that is no sign for any of them.
        if len(cache.read) == 1 or cache.read != starts[0].hparams.keys():
            self._template.bindings.check_meaning(cache.read, "the loss")
        used, *others = {profile.used for profile in profiles.values()}
        if others:
            raise refusal(
                "in the last batch of an epoch, which is smaller, the loss uses other parameters"
            )

        self._blocks = self._make_blocks([p for p in candidates.values() if p.name in used])
        self._tensors = self._stack_tensors()
        self._step = self._make_step(cache, profiles, strings)
        self._streams = self._make_streams([profiles[size].draws for size in self._batches.sizes])
        self._points: list[tuple[int, list[float]]] = []  # (step, mean losses of the rows)

    # --- construction -----------------------------------------------------------------------------

    def _stack_hparams(self) -> tuple[Tensors, dict[str, str]]:
        """Return hyperparameters as the loss gets them: [N] numbers, and strings, equal in all rows."""
        rows = [binding.tensors(start.hparams, self._device) for start in self._starts]
        strings = {name: value for name, value in rows[0].items() if isinstance(value, str)}
        for name, value in strings.items():
            if any(row[name] != value for row in rows):
                raise refusal(f"they differ in hyperparameter {name!r}, which is no number")

        numbers = [name for name in rows[0] if name not in strings]
        stacked = {name: torch.stack([row[name] for row in rows]) for name in numbers}  # type: ignore[misc]
        return stacked, strings

    def _cache_key(
        self,
        tensors: Mapping[str, torch.Tensor],
        candidates: Mapping[str, OptimizedParameter],
        strings: Mapping[str, str],
    ) -> tuple[object, ...]:
        """Return everything that profiles and tapes of steps depend on."""
        kinds = tuple((name, x.shape, x.dtype, name in candidates) for name, x in tensors.items())
        numbers = tuple((name, x.dtype) for name, x in self._hparams.items())
        template = self._template
        read = template.read.items()
        rates = (template.rates.places, template.rates.constants)
        return (self._device, len(self._starts), kinds, numbers, *read, *strings.items(), *rates)

    def _profile_steps(
        self,
        cache: StepCache,
        strings: Mapping[str, str],
        candidates: Mapping[str, OptimizedParameter],
    ) -> dict[int, StepProfile]:
        """Return the profile of a step for each batch size; unknown ones take a step of the task each."""
        sizes = sorted(set(self._batches.sizes), reverse=True)
        unknown = [size for size in sizes if size not in cache.profiles]
        if unknown:
            # A module of its own: the dry run may change its Python state.
            module = unfilled(self._task.model, self._starts[0].hparams).to(self._device).train()
            self._template.rates.put(module)
            rates = self._template.rates.stand_ins
            losses = Losses(self._task, module, strings, cache.read, rates)
            for size in unknown:
                cache.profiles[size] = self._profile_step(losses, size, candidates)
        return {size: cache.profiles[size] for size in sizes}

    def _profile_step(
        self, losses: Losses, size: int, candidates: Mapping[str, OptimizedParameter]
    ) -> StepProfile:
        """Run a step of the first row without an update."""
        weights = self._starts[0].state["model"]
        tensors = {name: weights[name].to(self._device)[None] for name in self._template.names}
        for name, buffer in self._template.buffers[0].items():
            tensors[name] = buffer[None]
        hparams = {name: numbers[:1] for name, numbers in self._hparams.items()}

        batch = tuple(x[:size].clone() for x in self._task.split("train", self._device))
        if self._task.augment is not None:
            images = self._task.augment(batch[0], torch.Generator().manual_seed(0))
            batch = (images, *batch[1:])
        return losses.profile(tensors, hparams, batch, candidates)

    def _make_blocks(self, parameters: Sequence[OptimizedParameter]) -> list[Block]:
        """Make the blocks of the parameters that are trained: by optimizer, group and dtype."""
        states = [start.state for start in self._starts]
        saved = [self._moments(state) for state in states]
        weights = states[0]["model"]
        blocks = []

        for (owner, group, _), members in groupby(
            parameters, lambda p: (p.owner, p.group, weights[p.name].dtype)
        ):
            own = list(members)
            blocks.append(
                Block(
                    own,
                    [[state["model"][parameter.name] for parameter in own] for state in states],
                    self._template.kinds[owner],
                    [options[owner][group] for options in self._template.options],
                    self._template.varied,
                    [moments[owner] for moments in saved],
                    self._device,
                )
            )

        return blocks

    def _moments(self, state: State) -> dict[str, dict[int, State]]:
        """Return the moments in a state by optimizer and index, as the module has its parameters."""
        return {
            owner: moments_for(state, owner, names)
            for owner, names in self._parameter_names().items()
        }

    def _parameter_names(self) -> dict[str, list[str]]:
        """Return the names of the parameters of each optimizer, in its order."""
        names: dict[str, list[str]] = {owner: [] for owner in self._template.kinds}
        for parameter in self._template.parameters:
            names[parameter.owner].append(parameter.name)
        return names

    def _stack_tensors(self) -> Tensors:
        """Return [N, ...] tensors of the module, by name; trained ones are views of the blocks."""
        trained = {
            parameter.name: view.requires_grad_()
            for block in self._blocks
            for parameter, view in zip(block.parameters, block.values.parts, strict=True)
        }

        tensors: Tensors = {}
        for name in self._template.names:
            if name in trained:
                tensors[name] = trained[name]
            else:
                rows = [start.state["model"][name] for start in self._starts]
                tensors[name] = torch.stack(rows).to(self._device)
        for name in self._template.buffers[0]:
            tensors[name] = torch.stack([row[name] for row in self._template.buffers])
        return tensors

    def _make_step(
        self, cache: StepCache, profiles: Mapping[int, StepProfile], strings: Mapping[str, str]
    ) -> Step:
        template = self._template
        # Intercepting calls takes time in every step, so it is left out if no call needs it.
        intercepts = any(profile.intercepts for profile in profiles.values())
        losses = Losses(
            self._task,
            template.module,
            strings,
            template.reached,
            template.rates.stand_ins,
            intercepts=intercepts,
            fills=any(profile.fills for profile in profiles.values()),
        )

        return Step(
            losses,
            fixed={name: self._tensors[name] for name in template.buffers[0]},
            tensors={name: self._tensors[name] for name in template.names},
            hparams=self._hparams,
            trained=[p.name for block in self._blocks for p in block.parameters],
            tapes=cache.tapes,
        )

    def _make_streams(self, draws: Sequence[Sequence[Draw]]) -> Streams:
        """Make each row's random streams, as its member has them when it trains alone."""
        places = range(len(dropouts(self._template.module)))
        noisy = any(isinstance(draw, Noise | Fill) for step in draws for draw in step)

        layers = []
        others = []
        for start in self._starts:
            seed = start.ctx.library_seed("dropout")
            layers.append([stream(seed, place, self._device) for place in places])
            if noisy:
                seed_generators(start.ctx.library_seed("train"))
                others.append(_global_generator(self._device))
        return Streams(draws, layers, others, self._template.rates.values, self._device)

    # --- proof ------------------------------------------------------------------------------------

    @property
    def unproven(self) -> Claim | None:
        """Claim that is not proven yet, for everything that this run can need; None = nothing."""
        first = self._starts[0].hparams
        differ = {
            name
            for name, value in first.items()
            if any(start.hparams.get(name) != value for start in self._starts)
        }
        sizes = self._batches.kinds - self._cache.proven_sizes
        names = frozenset(differ - self._cache.proven_names)
        return Claim(sizes, names) if sizes or names else None

    @property
    def draws(self) -> bool:
        """Whether the steps draw random numbers."""
        return any(profile.draws for profile in self._cache.profiles.values())

    def trust(self, claim: Claim) -> None:
        """Mark a claim as proven, for all stacks that share this one's caches."""
        self._cache.proven_sizes.update(claim.sizes)
        self._cache.proven_names.update(claim.names)

    @property
    def optimized_names(self) -> dict[tuple[str, int], str]:
        """Name of each parameter that an optimizer holds, by optimizer and index."""
        return {(p.owner, p.index): p.name for p in self._template.parameters}

    def losses(self, row: int) -> list[float]:
        """Return a row's mean training losses, one for each point of its curve."""
        return [losses[row] for _, losses in self._points]

    # --- training ---------------------------------------------------------------------------------

    def train(self) -> None:
        """Train all steps of the segment."""
        assignment = self._starts[0].assignment
        begin = assignment.first_step
        steps = assignment.steps
        every = self._task.log_every or begin + steps
        total = torch.zeros(len(self._starts), device=self._device)
        count = 0

        for number in range(steps):
            batch, dims = self._batches.step(number)
            result = self._step(batch, dims, self._streams.step(number))
            gradients = iter(result.gradients)
            for block in self._blocks:
                block.step([next(gradients) for _ in block.parameters])
            for name, tensor in result.changed.items():
                self._tensors[name].copy_(tensor)

            total += result.losses
            count += 1
            if (begin + number + 1) % every == 0 or number + 1 == steps:
                self._points.append((number + 1, [value / count for value in total.tolist()]))
                total.zero_()
                count = 0
        binding.check_all_used(self._starts[0].hparams, self._template.reached)

    def curve(self, row: int) -> tuple[Point, ...]:
        """Return a row's training curve, as its task would log it."""
        first_step = self._starts[row].assignment.first_step
        options = self._template.options[row]
        rates = {f"{owner}_lr": float(groups[0]["lr"]) for owner, groups in options.items()}
        named = {"lr": next(iter(rates.values()))} if len(rates) == 1 else rates
        points = []
        for step, losses in self._points:
            numbers = {"train_loss": losses[row], **named}
            points += [(first_step + step, name, number) for name, number in numbers.items()]
        return tuple(points)

    # --- results ----------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, rows: Sequence[int] | None = None) -> list[Mapping[str, Any]]:
        """Return metrics of rows on the validation split.

        No more samples are processed at once than in a step of training, but at least one row and a
        batch of the size that the task has fixed.

        Args:
            rows: Rows to evaluate; None = all of them.
        """
        task = self._task
        count = len(self._starts)
        outputs = Outputs(task, self._evaluation_module())
        versions = [x._version for x in self._tensors.values()]
        data = task.split("validation", self._device)
        indices = torch.arange(len(data[0]), device=self._device)
        parts = indices.split(task.evaluation_batch_size)  # type: ignore[no-untyped-call]
        batches = [tuple(x.index_select(0, part) for x in data) for part in parts]
        at_once = max(1, count * max(self._batches.sizes) // len(batches[0][0]))
        chosen = {name: x.detach() for name, x in self._tensors.items()}
        if rows is not None:
            chosen = {name: x[list(rows)] for name, x in chosen.items()}
            count = len(rows)

        metrics: list[Mapping[str, Any]] = []
        for begin in range(0, count, at_once):
            tensors = {name: x[begin : begin + at_once] for name, x in chosen.items()}
            for row in torch.cat([outputs(tensors, batch) for batch in batches], 1):
                metrics.append(as_metrics(task.metrics(row, data[-1])))
        if versions != [x._version for x in self._tensors.values()]:
            raise refusal("the evaluation changes weights or buffers in place")
        return metrics

    def _evaluation_module(self) -> nn.Module:
        """Return the module in evaluation mode, without Python state that training has left in it."""
        if None not in self._cache.tapes.values():
            return self._template.module.eval()
        # A step that was not recorded may have changed the module.
        module = unfilled(self._task.model, self._starts[0].hparams).to(self._device)
        binding.write(module, {}, self._starts[0].hparams)
        self._template.rates.put(module)
        return module.eval()

    def states(self) -> list[State]:
        """Return each row's final state on the CPU, as of a member that trained alone; views."""
        names = self._template.names
        models = zip(*(self._tensors[name].detach().cpu().unbind(0) for name in names), strict=True)
        for block in self._blocks:
            block.to_cpu()
        stepped = [(block.parameters[0].owner, block.states()) for block in self._blocks]
        usual = [name for name, _ in self._template.module.named_parameters()]
        unusual = {o: names for o, names in self._parameter_names().items() if names != usual}

        states: list[State] = []
        for row, (start, model) in enumerate(zip(self._starts, models, strict=True)):
            state: State = {
                "model": dict(zip(names, model, strict=True)),
                "optimizers": {},
                "steps": start.state["steps"] + start.assignment.steps,
                "position": self._batches.position[row],
            }
            for owner, saved in self._moments(start.state).items():
                new: dict[int, State] = {}
                for block_owner, block_states in stepped:
                    if block_owner == owner:
                        new |= block_states[row]
                # Old entries come first, as in torch; those of parameters without a step stay.
                kept = {i: new.get(i, moments) for i, moments in saved.items()}
                state["optimizers"][owner] = kept | new
            if unusual:
                state["parameters"] = unusual
            if "kinds" in start.state:
                state["kinds"] = start.state["kinds"]
            states.append(state)
        return states


def _check_entries(state: State) -> None:
    """Refuse a state with entries that only a member that trains alone can continue from."""
    for name, what in (
        ("extra_states", "a layer has an extra state (get_extra_state)"),
        ("numbers", "an optimizer changes options of its parameter groups"),
        ("extras", "an optimizer's state holds more than moments"),
    ):
        if name in state:
            raise refusal(what)


def _global_generator(device: torch.device) -> torch.Generator:
    """Return a generator that continues from the state of a device's global one."""
    generator = torch.Generator(device)
    if device.type == "cuda":
        generator.set_state(torch.cuda.get_rng_state(device))
    else:
        generator.set_state(torch.get_rng_state())
    return generator
