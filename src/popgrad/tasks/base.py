"""What a user writes: a task, for one member. It knows nothing of populations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.seeding import derive
from popgrad.core.space import Space
from popgrad.state import State

Split = Literal["train", "validation", "test"]


def _ignore(step: int, **numbers: float) -> None:
    """Where nobody listens to training curves."""


@dataclass(frozen=True)
class Context:
    """What the library tells a task about the segment at hand.

    Attributes:
        member: The slot that is trained.
        interval: The member's interval, from 0.
        first_step: Training steps behind the state that `train` was given.
        device: Where to compute.
        run_seed: The run's seed; `seed` and `shared_seed` are derived from it.
        log: `log(step, **numbers)` keeps points of a training curve. Telemetry: it never enters the record.
    """

    member: int = 0
    interval: int = 0
    first_step: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    run_seed: int = 0
    log: Callable[..., None] = _ignore

    def seed(self, purpose: str) -> int:
        """A seed in [0, 2**63): another purpose, member, interval or run gives another one.

        No purpose gives a stream that popgrad itself draws from.
        """
        return derive(self.run_seed, f"task: {purpose}", self.member, self.interval)

    def library_seed(self, purpose: str) -> int:
        """A seed of popgrad's own streams of this segment ("train", "dropout"); not for tasks."""
        return derive(self.run_seed, purpose, self.member, self.interval)

    def epoch_seed(self, epoch: int, *, shared: bool = False) -> int:
        """A seed in [0, 2**63) for the order of data in an epoch: a member's own, or one for all."""
        return derive(
            self.run_seed,
            "shared order" if shared else "order",
            0 if shared else self.member,
            epoch,
        )


class Task(Protocol):
    """One member's training.

    Attributes:
        space: What is searched.
        score: The metric that ranks, higher is better; "-loss" ranks by the least loss.
    """

    @property
    def space(self) -> Space:
        """What is searched."""

    @property
    def score(self) -> str:
        """The metric that ranks: "accuracy", or "-loss" where less is better."""

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """A fresh member's state, as plain data."""

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Train `steps` steps. May change the state that it is given: nobody else holds it."""

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Metrics of a state on a split; must not change the state."""


@runtime_checkable
class Epochal(Protocol):
    """A task whose intervals can be given in epochs."""

    def epoch_steps(self, hparams: Hparams) -> int:
        """Steps that visit every training sample once, at least 1."""


@runtime_checkable
class Modular(Protocol):
    """A task whose states are networks."""

    def module(
        self, state: State, hparams: Hparams, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """The trained module of a state, in evaluation mode; reads only `state["model"]`, tensors by name."""


@runtime_checkable
class Sharing(Protocol):
    """A task whose data is read once, for all processes that train it."""

    def share(self) -> State:
        """The data, as plain data."""

    def adopt(self, data: State) -> None:
        """Take data that another process has read, in place of reading it. It must not be changed."""


def epoch_steps(task: Task, hparams: Hparams) -> int:
    """Steps that visit every training sample once.

    Raises:
        UsageError: The task counts no epochs.
    """
    if not isinstance(task, Epochal):
        raise UsageError(
            f"interval: a {type(task).__name__} counts no epochs; give a number of steps"
        )
    return task.epoch_steps(hparams)
