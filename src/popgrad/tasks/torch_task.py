"""A task from a module, an optimizer, the loss of a batch and the data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.space import Space
from popgrad.data.splits import Splits
from popgrad.metrics import classification
from popgrad.nn import seed_streams
from popgrad.state import State, clone
from popgrad.tasks import binding, schedulers
from popgrad.tasks.base import Context, Split
from popgrad.tasks.batches import batches
from popgrad.tasks.construction import unfilled
from popgrad.tasks.curve import Curve
from popgrad.tasks.order import batch as batch_at
from popgrad.tasks.order import permutation

Batch = tuple[torch.Tensor, ...]
Optimizers = Mapping[str, Optimizer]
Loss = Callable[[Batch], torch.Tensor]


def first_input(module: nn.Module, batch: Batch) -> torch.Tensor:
    """`module(batch[0])`."""
    return module(batch[0])  # type: ignore[no-any-return]


def cross_entropy(module: nn.Module, batch: Batch, hparams: Mapping[str, Any]) -> torch.Tensor:
    """Mean cross entropy of `module(inputs)` against class indices."""
    del hparams
    return functional.cross_entropy(module(batch[0]), batch[1])


def plain_step(module: nn.Module, optimizers: Optimizers, batch: Batch, loss: Loss) -> torch.Tensor:
    """One optimizer step on one batch. Returns the 0-d loss."""
    del module
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    value = loss(batch)
    value.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers.values():
        optimizer.step()
    return value.detach()


@dataclass(frozen=True, eq=False, kw_only=True)
class TorchTask:
    """A task made of functions; every one of them is called with plain arguments and may be a lambda.

    The state holds parameters, all buffers, the optimizers' moments and steps, the scheduler's numbers, the
    number of steps and the position in the data. Hyperparameters are written where they live after the state
    is loaded, before every segment, and compared with the record there. A hyperparameter lives in the
    parameter groups that have its name as a key, in 0-d buffers of its name, or where the model, the
    optimizer or the loss reads it; one that reaches nothing is an error. A name that only the model reads
    (`nn.Dropout(hparams["dropout"])`) works, since the module is built anew for each segment, but keeps the
    task from being stacked: a buffer does not.

    Attributes:
        space: What is searched.
        model: hparams -> module. Called for each segment, with seeded generators; but for a fresh member's,
            its tensors are loaded over, and need no first values.
        optimizer: (module, hparams) -> optimizer, or several by name.
        data: () -> splits; called once in a process. Each split is a tuple of tensors with equal first
            dimensions.
        loss: (module, batch, hparams as 0-d tensors) -> 0-d tensor. It calls the module and uses nothing
            else of it where the task is to be stacked.
        predict: (module, batch) -> outputs [b, ...], for evaluation.
        metrics: (outputs [n, ...], targets [n, ...]) of a whole split -> numbers. Targets are the split's
            last tensor.
        step: (module, optimizers by name, batch, loss of a batch) -> 0-d loss. One training step: the place
            for gradient clipping, accumulation, mixed precision, several optimizers.
        scheduler: optimizer -> torch scheduler, stepped after each step. It multiplies the recorded learning
            rate.
        score: The metric that ranks, higher is better; "-loss" where less is better.
        batch_size: Samples a step, at least 1; a hyperparameter "batch_size" takes its place.
        evaluation_batch_size: Samples at once in evaluation; fixed, since bits depend on it.
        drop_last: Leave out the last batch of an epoch when it is not full.
        shared_order: All members see the data in one order (a paired tournament), else each in its own.
        shuffle: Whether an epoch has an order of its own, else the data is seen as it lies.
        augment: (inputs [b, ...], generator) -> inputs: changes what is trained on, drawing from the
            generator only.
        log_every: Steps between two points of the training curve, which is telemetry; None = one an interval.
        data_parallel: Devices that each batch is split over, the member's own first; one or none = not split.
        weights: Parameters and buffers, by name, that fresh members start from; None = what `model` makes.
    """

    space: Space
    model: Callable[[Hparams], nn.Module]
    optimizer: Callable[[nn.Module, Hparams], Optimizer | Optimizers]
    data: Callable[[], Splits]
    loss: Callable[[nn.Module, Batch, Mapping[str, Any]], torch.Tensor] = cross_entropy
    predict: Callable[[nn.Module, Batch], torch.Tensor] = first_input
    metrics: Callable[[torch.Tensor, torch.Tensor], Mapping[str, float]] = classification
    step: Callable[[nn.Module, Optimizers, Batch, Loss], torch.Tensor] = plain_step
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    score: str = "accuracy"
    batch_size: int = 64
    evaluation_batch_size: int = 1000
    drop_last: bool = False
    shared_order: bool = False
    shuffle: bool = True
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    log_every: int | None = None
    data_parallel: tuple[str, ...] = ()
    weights: Mapping[str, torch.Tensor] | None = None

    def epoch_steps(self, hparams: Hparams) -> int:
        """Steps that visit every training sample once."""
        samples, size = (
            len(self.split("train", torch.device("cpu"))[0]),
            self.samples_a_step(hparams),
        )
        return max(1, samples // size if self.drop_last else -(-samples // size))

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """A fresh member's state."""
        opened = _Open(self, hparams, ctx.device)
        if self.weights is not None:
            _load_tensors(opened.module, hparams, self.weights, "the given weights")
        return opened.state(steps=0, position=0)

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Train `steps` batches from the position in `state`."""
        opened = _Open(self, hparams, ctx.device, state)
        opened.module.train()
        seed_streams(opened.module, ctx.library_seed("dropout"), ctx.device)
        given = binding.TrackedHparams(binding.tensors(hparams, ctx.device), opened.reached)
        images = torch.Generator().manual_seed(ctx.library_seed("augment"))
        forward = _spread(opened.module, self.data_parallel)
        curve = Curve(ctx, ctx.first_step + steps, self.log_every)

        def loss(batch: Batch) -> torch.Tensor:
            return self.loss(forward, batch, given)

        position = state["position"]
        for step in range(1, steps + 1):
            batch, position = self._batch(position, hparams, ctx)
            if self.augment is not None:
                batch = (self.augment(batch[0], images), *batch[1:])
            value = self.step(opened.module, opened.optimizers, batch, loss)
            curve.add(ctx.first_step + step, torch.as_tensor(value).detach(), opened.optimizers)
            for scheduler in opened.schedulers.values():
                scheduler.step()
        binding.check_all_used(hparams, opened.reached)
        return opened.state(steps=state["steps"] + steps, position=position)

    @torch.no_grad()
    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """The metrics of a state on a split, in evaluation mode and batches of a fixed size."""
        module = self.module(state, hparams, ctx.device)
        tensors = self.split(split, ctx.device)
        outputs = torch.cat(
            [self.predict(module, batch) for batch in batches(tensors, self.evaluation_batch_size)]
        )
        return {name: float(value) for name, value in self.metrics(outputs, tensors[-1]).items()}

    def module(
        self, state: State, hparams: Hparams, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """The trained module of a state, in evaluation mode."""
        module = unfilled(self.model, hparams).to(device)
        _load_tensors(module, hparams, state["model"], "the state")
        binding.write(module, {}, hparams)
        return module.eval()

    def inputs(self, count: int) -> torch.Tensor:
        """[count, ...]: the first training inputs, as the module is given them."""
        return self.split("train", torch.device("cpu"))[0][:count]

    def _batch(self, position: int, hparams: Hparams, ctx: Context) -> tuple[Batch, int]:
        tensors = self.split("train", ctx.device)
        samples = len(tensors[0])
        epoch, start, stop = batch_at(
            position, samples, self.samples_a_step(hparams), drop_last=self.drop_last
        )
        if self.shuffle:
            order = permutation(samples, ctx.epoch_seed(epoch, shared=self.shared_order))
            rows = order[start:stop].to(ctx.device)
        else:
            rows = torch.arange(start, stop, device=ctx.device)
        return tuple(x.index_select(0, rows) for x in tensors), epoch * samples + stop

    def samples_a_step(self, hparams: Hparams) -> int:
        """The size of a full batch: the hyperparameter "batch_size" where there is one."""
        size = hparams.get("batch_size", self.batch_size)
        if not isinstance(size, int) or size < 1:
            raise UsageError(
                f"batch_size is {size!r}: whole numbers from 1 are allowed (search it as an Integer)"
            )
        return size

    def share(self) -> State:
        """The data of all splits, read once in a process."""
        source = self._read()["source"]
        return {split: list(source[split]) for split in ("train", "validation", "test")}

    def adopt(self, data: State) -> None:
        """Take data that another process has read; its memory may be shared, and is only gathered from."""
        _DATA[self] = {"source": {split: tuple(tensors) for split, tensors in data.items()}}

    def _read(self) -> dict[str, Any]:
        cached = _DATA.setdefault(self, {})
        if "source" not in cached:
            cached["source"] = self.data()
        return cached

    def split(self, split: Split, device: torch.device) -> Batch:
        """The tensors of a split on a device, each [samples, ...], read once in a process."""
        cached = self._read()
        key = f"{split} {device}"
        if key not in cached:
            cached[key] = tuple(x.to(device) for x in cached["source"][split])
        return cached[key]  # type: ignore[no-any-return]


_DATA: WeakKeyDictionary[TorchTask, dict[str, Any]] = WeakKeyDictionary()


def _spread(module: nn.Module, devices: Sequence[str]) -> nn.Module:
    """The module as it is called for the loss: over several devices where there are several."""
    return (
        nn.DataParallel(module, device_ids=[torch.device(each) for each in devices])
        if len(devices) > 1
        else module
    )


class _Open:
    """A segment's live objects: module, optimizers and schedulers, with the hyperparameters written.

    Hyperparameters are written after the state is loaded, over whatever it brought. Schedulers come last:
    they take the rates that they find as their base.

    Attributes:
        reached: Names that something holds or has read.
    """

    def __init__(
        self, task: TorchTask, hparams: Hparams, device: torch.device, state: State | None = None
    ) -> None:
        self.hparams = hparams
        self.reached = {"batch_size"}
        given: Any = binding.TrackedHparams(hparams, self.reached)
        made = task.model(given) if state is None else unfilled(task.model, given)
        self.module = made.to(device)
        steppers = task.optimizer(self.module, given)
        self.optimizers: Optimizers = (
            steppers if isinstance(steppers, Mapping) else {"optimizer": steppers}
        )
        if state is not None:
            self._load(state)
        self.reached |= binding.write(self.module, self.optimizers, hparams)
        self.schedulers = (
            {n: task.scheduler(o) for n, o in self.optimizers.items()} if task.scheduler else {}
        )
        if state is not None:
            for name, scheduler in self.schedulers.items():
                schedulers.restore(scheduler, self.optimizers[name], state["schedulers"][name])

    def _load(self, state: State) -> None:
        _load_tensors(self.module, self.hparams, state["model"], "the state")
        for name, optimizer in self.optimizers.items():
            # Only moments and steps come from the state, as copies; rates and flags stay as made here.
            groups = optimizer.state_dict()["param_groups"]
            moments = _laid_out(state["optimizers"][name], optimizer)
            optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def state(self, *, steps: int, position: int) -> State:
        """A copy of all that travels."""
        state: State = {
            "model": {
                name: tensor.detach().clone()
                for name, tensor in travelling(self.module, self.hparams)
            },
            "optimizers": {
                name: clone(o.state_dict()["state"]) for name, o in self.optimizers.items()
            },
            "steps": steps,
            "position": position,
        }
        if self.schedulers:
            state["schedulers"] = {
                name: schedulers.numbers(scheduler, self.optimizers[name])
                for name, scheduler in self.schedulers.items()
            }
        return state


def _laid_out(moments: dict[Any, Any], optimizer: Optimizer) -> dict[Any, Any]:
    """A copy of moments in the memory order of their parameters, which a fused optimizer relies on."""
    parameters: list[torch.Tensor] = [
        each for group in optimizer.param_groups for each in group["params"]
    ]

    def like(parameter: torch.Tensor, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
            return clone(value)
        return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)

    return {
        i: {key: like(parameters[i], each) for key, each in values.items()}
        for i, values in moments.items()
    }


def travelling(module: nn.Module, hparams: Hparams) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and all buffers, the non-persistent ones too, but for those that hold hyperparameters."""
    yield from module.named_parameters()
    for path, buffer in module.named_buffers():
        if not binding.is_hparam_buffer(path, buffer, hparams):
            yield path, buffer


@torch.no_grad()
def _load_tensors(
    module: nn.Module, hparams: Hparams, saved: Mapping[str, torch.Tensor], what: str
) -> None:
    """Copy parameters and buffers into the module's own memory."""
    own = dict(travelling(module, hparams))
    check_tensors(own, saved, what)
    for name, tensor in own.items():
        tensor.copy_(saved[name])


def check_tensors(
    own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], what: str
) -> None:
    """Refuse tensors that do not fit a network's own by name and shape.

    Raises:
        UsageError: Says what differs; `what` is what was given.
    """
    missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or unknown:
        raise UsageError(
            f"{what} and the network differ: missing {', '.join(missing) or 'nothing'}, "
            f"unknown {', '.join(unknown) or 'nothing'}"
        )
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            shapes = f"of shape {list(given[name].shape)}, the network's is {list(tensor.shape)}"
            raise UsageError(
                f"{what} holds {name!r} {shapes}; hyperparameters that change shapes must be init-only"
            )
