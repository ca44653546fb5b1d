"""A task made of functions: the module, the optimizer, the loss of a batch, the data."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.score import Score, named_score
from popgrad.core.space import Space
from popgrad.core.spelling import did_you_mean
from popgrad.data.splits import Splits
from popgrad.metrics import as_metrics, classification
from popgrad.state import State
from popgrad.tasks import binding
from popgrad.tasks.base import Context, Split, UserHparams
from popgrad.tasks.batches import batches
from popgrad.tasks.construction import unfilled
from popgrad.tasks.curve import Curve
from popgrad.tasks.learner import Learner, Optimizers
from popgrad.tasks.order import batch as batch_at
from popgrad.tasks.order import permutation
from popgrad.tasks.parts import as_space, check_parts
from popgrad.tasks.tensors import load_extra_states, load_tensors, state_tensors
from popgrad.tasks.training import Batch as Batch
from popgrad.tasks.training import Training
from popgrad.tasks.trial import Trial, read_splits

Loss = Callable[[Batch], torch.Tensor]
Made = TypeVar("Made")


def first_input(module: nn.Module, batch: Batch) -> torch.Tensor:
    """Return `module(batch[0])`."""
    return module(batch[0])  # type: ignore[no-any-return]


def cross_entropy(module: nn.Module, batch: Batch, hparams: Mapping[str, Any]) -> torch.Tensor:
    """Return the mean cross entropy of `module(batch[0])` against class indices, `batch[1]`."""
    del hparams
    return functional.cross_entropy(module(batch[0]), batch[1])


def plain_step(module: nn.Module, optimizers: Optimizers, batch: Batch, loss: Loss) -> torch.Tensor:
    """Take one optimizer step on one batch, and return the 0-d loss."""
    del module
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    value = loss(batch)
    value.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers.values():
        optimizer.step()
    return value.detach().reshape(())  # a loss of one element may have any shape


def _suggest_fields(cls: type[Made]) -> type[Made]:
    """Return a class whose constructor answers a misspelt field with the one that is meant."""
    construct = cls.__init__

    @functools.wraps(construct)
    def checked(self: Made, *values: Any, **fields: Any) -> None:
        known = list(inspect.signature(construct).parameters)[1:]
        for name in fields:
            if name not in known:
                suggestion = did_you_mean(name, known) or f"; it has {', '.join(known)}"
                raise UsageError(f"{cls.__name__} has no field {name!r}{suggestion}")
        construct(self, *values, **fields)

    cls.__init__ = checked  # type: ignore[method-assign,assignment]
    return cls


@_suggest_fields
@dataclass(frozen=True, eq=False, kw_only=True)
class TorchTask:
    """A task made of functions, which are called with positional arguments and may be lambdas.

    The state holds parameters, all buffers, moments and steps of the optimizers, the numbers of the
    scheduler, the number of steps and the position in the data. Hyperparameters are written before
    every segment, after the state is loaded, and compared with the record there.

    A hyperparameter lives in the parameter groups that have its name as a key, in 0-d buffers of
    its name, or in the code of the model, the optimizer or the loss that reads it. One that reaches
    nothing is an error. A name that only the model reads (`nn.Dropout(hparams["dropout"])`) works,
    as the module is rebuilt for each segment. If members differ in it, they can only be stacked if
    it is a rate of dropout; a buffer may be anything.

    Attributes:
        space: Hyperparameters that are searched.
        model: hparams -> module. Called for each segment, with seeded generators. Except for a
            fresh member, its tensors are loaded afterwards and need no first values.
        optimizer: (module, hparams) -> optimizer, or a mapping of several by name.
        data: () -> splits; called once per process. Each split is a tuple of tensors with equal
            first dimensions.
        loss: (module, batch, hparams as 0-d tensors) -> 0-d tensor. For a task to be stacked, it
            may only call the module.
        predict: (module, batch) -> outputs [b, ...], for evaluation.
        metrics: (outputs [n, ...], targets [n, ...]) of a whole split -> numbers by name. Targets
            are the last tensor of the split.
        step: (module, optimizers by name, batch, loss of a batch) -> 0-d loss. One training step;
            replace it for gradient clipping, accumulation, mixed precision, several optimizers.
        scheduler: optimizer -> torch scheduler, which is stepped after each training step and
            multiplies the recorded learning rate; None = constant rates.
        score: Metric that ranks, higher is better. It is "-loss" if `minimize` is "loss".
        minimize: Metric that ranks, lower is better; it takes the place of `score`. None = `score`
            ranks.
        batch_size: Samples per step, at least 1; a hyperparameter "batch_size" replaces it.
        evaluation_batch_size: Samples per batch of an evaluation; fixed, as bits depend on it.
        drop_last: Whether to skip the last batch of an epoch if it is not full.
        shared_order: Whether all members see the data in one order (a paired tournament); else each
            has its own.
        shuffle: Whether each epoch has its own order; else the data keeps its order.
        augment: (inputs [b, ...], generator) -> inputs; a random change of training inputs that
            draws from the generator only. None = inputs as they are.
        log_every: Steps between two points of the training curve, which is telemetry; None = one
            per interval.
        data_parallel: Devices that each batch is split over, the member's own first; fewer than two
            = not split.
        weights: Parameters and buffers by name that fresh members start from; None = those that
            `model` draws.

    Example:
        >>> import popgrad
        >>> inputs = torch.linspace(-1.0, 1.0, 8)[:, None]
        >>> split = (inputs, 3.0 * inputs)
        >>> task = TorchTask(
        ...     space=popgrad.Space({"lr": popgrad.LogUniform(1e-3, 1.0)}),
        ...     model=lambda hparams: nn.Linear(1, 1),
        ...     optimizer=lambda module, hparams: torch.optim.SGD(module.parameters()),
        ...     data=lambda: Splits(train=split, validation=split, test=split),
        ...     loss=lambda module, batch, hparams: functional.mse_loss(module(batch[0]), batch[1]),
        ...     metrics=popgrad.metrics.regression,
        ...     minimize="loss",
        ... )
        >>> ctx, hparams = Context(), {"lr": 0.1}
        >>> state = task.train(task.init(hparams, ctx), hparams, 100, ctx)
        >>> task.evaluate(state, hparams, "validation", ctx)["loss"] < 0.01
        True
    """

    space: Space
    model: Callable[[UserHparams], nn.Module]
    optimizer: Callable[[nn.Module, UserHparams], Optimizer | Optimizers]
    data: Callable[[], Splits]
    loss: Callable[[nn.Module, Batch, UserHparams], torch.Tensor] = cross_entropy
    predict: Callable[[nn.Module, Batch], torch.Tensor] = first_input
    metrics: Callable[[torch.Tensor, torch.Tensor], Mapping[str, float]] = classification
    step: Callable[[nn.Module, Optimizers, Batch, Loss], torch.Tensor] = plain_step
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    score: str = "accuracy"
    minimize: str | None = None
    batch_size: int = 64
    evaluation_batch_size: int = 1000
    drop_last: bool = False
    shared_order: bool = False
    shuffle: bool = True
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    log_every: int | None = None
    data_parallel: tuple[str, ...] = ()
    weights: Mapping[str, torch.Tensor] | None = None

    def __post_init__(self) -> None:
        # The default counts as not given, so that `dataclasses.replace` can set `minimize`.
        score = None if self.minimize and self.score == "accuracy" else self.score
        text = named_score(score, self.minimize, "TorchTask: ")
        if text is None:
            raise UsageError("TorchTask: score: expected the name of a metric, got None")
        object.__setattr__(self, "score", text)
        object.__setattr__(self, "space", as_space(self.space))
        check_parts(vars(self))

    def check(self, hparams: Hparams, ctx: Context, metric: str | None = None) -> None:
        """Try one batch through every part.

        Args:
            hparams: Complete hyperparameters of a member.
            ctx: Context of its first segment.
            metric: Name of the metric that ranks; None = that of `score`.

        Raises:
            UsageError: Names the part that cannot be used, and the cure.
        """
        batch, _ = self._batch(0, hparams, ctx)
        tensors = self.split("validation", ctx.device)
        validation = tuple(x[: self.evaluation_batch_size].clone() for x in tensors)
        metric = metric or Score.parse(self.score).metric
        Trial(self, hparams, ctx, batch, validation, metric).run()

    @property
    def has_plain_step(self) -> bool:
        """Whether a training step is one step of each optimizer."""
        return self.step is plain_step

    @property
    def is_plain_classification(self) -> bool:
        """Whether the loss is the cross entropy of `module(batch[0])`."""
        return self.loss is cross_entropy

    def epoch_steps(self, hparams: Hparams) -> int:
        """Return the number of steps that visit every training sample once, at least 1."""
        samples = len(self.split("train", torch.device("cpu"))[0])
        size = self.samples_a_step(hparams)
        steps = samples // size if self.drop_last else -(-samples // size)
        return max(1, steps)

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the state of a fresh member."""
        learner = Learner(
            self._first_model(hparams), self.optimizer, self.scheduler, hparams, ctx.device
        )
        return learner.state(steps=0, position=0)

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Train `steps` batches from the position in `state`, and return the new state."""
        learner = self.learner(hparams, ctx.device, state)
        training = self.training(learner, hparams, ctx, state["position"])
        last = ctx.first_step + steps
        curve = Curve(ctx, last, self.log_every, scheduled=self.scheduler is not None)
        for step in range(1, steps + 1):
            value = training.step()
            curve.add(ctx.first_step + step, value, learner.optimizers)
            learner.step_schedulers()

        # The loss may be the only reader of a name, so this cannot be checked before a step.
        binding.check_all_used(hparams, learner.reached)
        return learner.state(steps=state["steps"] + steps, position=training.position)

    @torch.no_grad()
    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, Any]:
        """Return the metrics of a state on a split: evaluation mode, batches of a fixed size."""
        module = self.module(state, hparams, ctx.device)
        tensors = self.split(split, ctx.device)
        parts = [
            self.predict(module, batch) for batch in batches(tensors, self.evaluation_batch_size)
        ]
        return as_metrics(self.metrics(torch.cat(parts), tensors[-1]))

    def module(
        self, state: State, hparams: Hparams, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Return the trained module of a state, in evaluation mode."""
        module = unfilled(self.model, hparams).to(device)
        load_tensors(module, hparams, state["model"], "the state")
        load_extra_states(module, state.get("extra_states", {}))
        binding.write(module, {}, hparams)
        return module.eval()

    def network_bytes(self, hparams: Hparams) -> int:
        """Return the bytes of all parameters and buffers of a network. Constructs one."""
        module = unfilled(self.model, hparams)
        return sum(tensor.nbytes for _, tensor in state_tensors(module, hparams))

    def inputs(self, count: int) -> torch.Tensor:
        """Return the first training inputs, [count, ...], as the module receives them."""
        return self.split("train", torch.device("cpu"))[0][:count]

    def samples_a_step(self, hparams: Hparams) -> int:
        """Return the size of a full batch: the hyperparameter "batch_size", else the field."""
        size = hparams.get("batch_size", self.batch_size)
        if not isinstance(size, int) or size < 1:
            raise UsageError(
                f"batch_size: expected an integer, at least 1, got {size!r}; search it as an Integer"
            )
        return size

    def share(self) -> State:
        """Return the data of all splits, read once per process."""
        source = self._read()["source"]
        return {split: list(source[split]) for split in ("train", "validation", "test")}

    def adopt(self, data: State) -> None:
        """Use data that another process has read. Its memory may be shared, so it is not changed."""
        _DATA[self] = {"source": {split: tuple(tensors) for split, tensors in data.items()}}

    def split(self, split: Split, device: torch.device) -> Batch:
        """Return the tensors of a split on a device, each [samples, ...], read once per process."""
        cached = self._read()
        key = f"{split} {device}"
        if key not in cached:
            cached[key] = tuple(x.to(device) for x in cached["source"][split])
        return cached[key]  # type: ignore[no-any-return]

    def learner(
        self, hparams: Hparams, device: torch.device, state: State | None = None
    ) -> Learner:
        """Return the live objects of a segment; `state` is not changed, None = a fresh member."""
        return Learner(self.model, self.optimizer, self.scheduler, hparams, device, state)

    def training(self, learner: Learner, hparams: Hparams, ctx: Context, position: int) -> Training:
        """Return the training of a learner from a position in the data, in samples."""
        return Training(
            learner,
            hparams,
            ctx,
            position,
            batch=lambda position: self._batch(position, hparams, ctx),
            loss=self.loss,
            step=self.step,
            augment=self.augment,
            forward=_spread(learner.module, self.data_parallel),
        )

    def _first_model(self, hparams: Hparams) -> Callable[[Hparams], nn.Module]:
        """Return the model of a fresh member: with the given weights before an optimizer is made."""
        weights = self.weights
        if weights is None:
            return self.model

        def model(tracked: Hparams) -> nn.Module:
            module = self.model(tracked)
            load_tensors(module, hparams, weights, "the given weights")
            return module

        return model

    def _batch(self, position: int, hparams: Hparams, ctx: Context) -> tuple[Batch, int]:
        """Return the batch at a position of the data, and the next position."""
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

    def _read(self) -> dict[str, Any]:
        """Return what this process has of the data; read the data first if it has none."""
        cached = _DATA.setdefault(self, {})
        if "source" not in cached:
            cached["source"] = read_splits(self.data)
        return cached


_DATA: WeakKeyDictionary[TorchTask, dict[str, Any]] = WeakKeyDictionary()
"""Data that this process has read, by task: "source" = all splits, "<split> <device>" = a copy."""


def _spread(module: nn.Module, devices: Sequence[str]) -> nn.Module:
    """Return the module to call for the loss, which splits a batch if there are several devices."""
    if len(devices) < 2:
        return module
    return nn.DataParallel(module, device_ids=[torch.device(device) for device in devices])
