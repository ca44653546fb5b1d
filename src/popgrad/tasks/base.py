"""The protocol of a task, the training of one member. It knows nothing of populations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.plan import Transform
from popgrad.core.population import Hparams
from popgrad.core.seeding import derive
from popgrad.core.space import Space
from popgrad.state import State

Split = Literal["train", "validation", "test"]


def _ignore(step: int, **numbers: float) -> None:
    """Drop a point of a training curve."""


UserHparams = Any
"""Hyperparameters as the functions of a task get them: a read-only mapping from names to values.

Each may annotate it as it likes: `popgrad.Hparams`, `dict[str, float]`, `Mapping[str, float]`. Types of
parameters are contravariant, so that no narrower type here would permit all of these.
"""


@dataclass(frozen=True)
class Context:
    """Circumstances of a segment, which the library passes to every method of a task.

    Attributes:
        member: Slot that is trained.
        interval: Interval of the member, from 0.
        first_step: Training steps behind the state that `train` gets.
        device: Device to compute on.
        run_seed: Seed of the run; all other seeds are derived from it.
        log: Called as `log(step, **numbers)`, it keeps a point of a training curve. This is
            telemetry: it never enters the record.
        part: Part of the segment, from 0, if it is evaluated within; each has streams of its own.

    Example:
        >>> first = Context(member=0, interval=3, run_seed=7)
        >>> second = Context(member=1, interval=3, run_seed=7)
        >>> first.seed("noise") == second.seed("noise")
        False
        >>> first.epoch_seed(2, shared=True) == second.epoch_seed(2, shared=True)
        True
    """

    member: int = 0
    interval: int = 0
    first_step: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    run_seed: int = 0
    log: Callable[..., None] = _ignore
    part: int = 0

    def seed(self, purpose: str) -> int:
        """Return a seed in [0, 2**63) that depends on purpose, member, interval and run.

        No purpose gives a stream that popgrad itself draws from.
        """
        return self.library_seed(f"task: {purpose}")

    def library_seed(self, purpose: str) -> int:
        """Return a seed of popgrad's own streams of this segment ("train", "dropout").

        Tasks of users draw from `seed` instead.
        """
        if self.part:
            purpose = f"{purpose}, part {self.part}"
        return derive(self.run_seed, purpose, self.member, self.interval)

    def epoch_seed(self, epoch: int, *, shared: bool = False) -> int:
        """Return a seed in [0, 2**63) for the order of the data in an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            shared: Whether all members get the same seed; else each gets its own.
        """
        if shared:
            return derive(self.run_seed, "shared order", 0, epoch)
        return derive(self.run_seed, "order", self.member, epoch)


class Task(Protocol):
    """Training of one member.

    Attributes:
        space: Hyperparameters that are searched.
        score: Metric that ranks, higher is better; "-loss" ranks by the lowest loss. A task may have
            the attribute `minimize`, such as "loss", in its place.

    Example:
        A task that climbs a parabola; its only hyperparameter is the step size.

        >>> from popgrad import Context, LogUniform, Space
        >>> class Parabola:
        ...     space = Space({"lr": LogUniform(1e-3, 1.0)})
        ...     score = "height"
        ...
        ...     def init(self, hparams, ctx):
        ...         return {"x": 1.0}
        ...
        ...     def train(self, state, hparams, steps, ctx):
        ...         for _ in range(steps):
        ...             state["x"] -= hparams["lr"] * 2.0 * state["x"]
        ...         return state
        ...
        ...     def evaluate(self, state, hparams, split, ctx):
        ...         return {"height": -(state["x"] ** 2)}
        >>> task, hparams, ctx = Parabola(), {"lr": 0.25}, Context()
        >>> state = task.train(task.init(hparams, ctx), hparams, 2, ctx)
        >>> task.evaluate(state, hparams, "validation", ctx)
        {'height': -0.0625}
    """

    @property
    def space(self) -> Space:
        """Hyperparameters that are searched."""

    @property
    def score(self) -> str:
        """Metric that ranks: "accuracy", or "-loss" if lower is better."""

    def init(self, hparams: UserHparams, ctx: Context) -> State:
        """Return the state of a fresh member, as plain data."""

    def train(self, state: State, hparams: UserHparams, steps: int, ctx: Context) -> State:
        """Train `steps` steps and return the new state.

        It may change the given state in place: nothing else uses it.
        """

    def evaluate(
        self, state: State, hparams: UserHparams, split: Split, ctx: Context
    ) -> Mapping[str, Any]:
        """Return the metrics of a state on a split, without a change of the state.

        A metric is a number, or a vector of samples, such as the returns of episodes; then its mean
        counts, and the samples are recorded.
        """


@runtime_checkable
class Epochal(Protocol):
    """A task whose intervals can be given in epochs."""

    def epoch_steps(self, hparams: UserHparams) -> int:
        """Return the number of steps that visit every training sample once, at least 1."""


@runtime_checkable
class Modular(Protocol):
    """A task whose states are networks."""

    def module(
        self, state: State, hparams: Hparams, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Return the trained module of a state, in evaluation mode.

        It reads only `state["model"]`, tensors by name.
        """


class ModularTask(Task, Modular, Protocol):
    """A task whose states are networks, with all its methods."""


def is_modular(task: Task) -> TypeGuard[ModularTask]:
    """Return whether the states of a task are networks; if that depends, it is in `has_module`."""
    return isinstance(task, Modular) and bool(getattr(task, "has_module", True))


def reads_test_split(task: Task) -> bool:
    """Return whether a task can be evaluated on a test split; if that depends, it is in `has_test`."""
    return bool(getattr(task, "has_test", True))


@runtime_checkable
class Reporting(Protocol):
    """A training loop, whose intervals are counted in its own reports, or in batches."""

    def in_unit(self, unit: Literal["reports", "batches"]) -> "Task":
        """Return the task with intervals in another unit."""


@runtime_checkable
class Sourced(Protocol):
    """A task that knows the source that it depends on."""

    def source(self) -> str:
        """Return the text whose digest is compared when a run is resumed or replayed."""


@runtime_checkable
class Closing(Protocol):
    """A task that holds something between segments, such as processes."""

    def close(self) -> None:
        """Release it.

        The serial executor calls this when it closes. Others end the processes that train, with all
        that these have started.
        """


@runtime_checkable
class Transformable(Protocol):
    """A task that knows how a transform changes its states, which need not be networks."""

    def transform(self, state: State, fresh: State, transform: Transform) -> State:
        """Return the state that a transform makes of an inherited and a fresh one."""


@runtime_checkable
class Sized(Protocol):
    """A task that knows the size of its networks before a state is loaded."""

    def network_bytes(self, hparams: Hparams) -> int:
        """Return the bytes of all parameters and buffers of a network."""


@runtime_checkable
class Checkable(Protocol):
    """A task that can try its parts before it trains."""

    def check(self, hparams: Hparams, ctx: Context, metric: str) -> None:
        """Try one batch through every part.

        Args:
            hparams: Complete hyperparameters of a member.
            ctx: Context of its first segment.
            metric: Name of the metric that ranks.

        Raises:
            UsageError: Names the part that cannot be used, and the cure.
        """


@runtime_checkable
class Sharing(Protocol):
    """A task whose data is read once, for all processes that train it."""

    def share(self) -> State:
        """Return the data, as plain data."""

    def adopt(self, data: State) -> None:
        """Use data that another process has read, instead of reading it. It must not be changed."""


def network_bytes(task: Task, hparams: Hparams) -> int | None:
    """Return the bytes of a network of the task; None = unknown."""
    return task.network_bytes(hparams) if isinstance(task, Sized) else None


def epoch_steps(task: Task, hparams: Hparams) -> int:
    """Return the number of steps that visit every training sample once.

    Raises:
        UsageError: The task counts no epochs.
    """
    if isinstance(task, Reporting):
        raise UsageError(
            "interval: a training loop counts no epochs; give its reports, such as 1 report, or a number of "
            "batches that it takes from m.batches(loader)"
        )
    if not isinstance(task, Epochal):
        raise UsageError(
            f"interval: a {type(task).__name__} counts no epochs; give a number of steps"
        )
    return task.epoch_steps(hparams)
