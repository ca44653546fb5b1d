"""One segment of a loop: what it trains, and the hand-over of its state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.metrics import as_numbers
from popgrad.state import State
from popgrad.tasks.base import Context
from popgrad.tasks.evaluation import seed_generators

Unit = Literal["reports", "batches"]
"""Unit of an interval: a report is a round of the loop, a batch is one that `m.batches` yields."""


@dataclass(frozen=True)
class Turn:
    """A segment that a loop is to train.

    Attributes:
        hparams: Complete hyperparameters.
        ctx: Context of the segment.
        steps: Length in units; 0 = the state is captured as soon as the setup is done.
        unit: Unit of the length.
        source: State to start from; None = a fresh member.
        score: Metric that ranks, for `Score.parse`; "" = not known.
    """

    hparams: Hparams
    ctx: Context
    steps: int
    unit: Unit
    source: State | None
    score: str = ""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was trained before."""
        return self.source is None or self.source["rounds"] == 0

    def seed_setup(self) -> None:
        """Seed the global generators for the setup of a new loop."""
        # The setup of a fresh member draws what it drew for the first state.
        seed_generators(self.ctx.library_seed("init" if self.is_fresh else "rebuild"))


class Handover(Protocol):
    """Place at which a loop takes segments and gives their states away."""

    def begin(self) -> Turn:
        """Return the first segment, at the first boundary."""

    def end(self, state: State, *, over: bool) -> Turn | None:
        """Take the final state of a segment.

        Args:
            state: The state, as plain data.
            over: Whether the loop cannot train another segment.

        Returns:
            The next segment; None = the loop is to end.
        """


@dataclass(frozen=True)
class Report:
    """Metrics of a round.

    Attributes:
        metrics: Numbers by name; the mean of those that have samples.
        samples: Samples of metrics, each [samples] in float64.
    """

    metrics: Mapping[str, float]
    samples: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read the metrics that a loop reports.

        Raises:
            UsageError: There is none, or one is neither a number nor a sequence of numbers.

        Example:
            >>> Report.of({"returns": [1.0, 3.0]}).metrics
            {'returns': 2.0}
        """
        if not values:
            raise UsageError("m.report: expected metrics by name, such as accuracy=0.9, got none")
        samples = {}
        numbers: dict[str, Any] = {}
        for name, value in values.items():
            vector = _vector(name, value)
            if vector is None:
                numbers[name] = value
            else:
                samples[name] = vector
                numbers[name] = float(vector.mean())
        return cls(as_numbers(numbers), samples)


def _vector(name: str, value: Any) -> torch.Tensor | None:
    """Return samples as [samples] in float64; None if the value is not a sequence."""
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
        return None
    if not isinstance(value, torch.Tensor | np.ndarray | list | tuple):
        return None
    try:
        vector = torch.as_tensor(value).detach().to("cpu", torch.float64).clone()
    except (TypeError, ValueError, RuntimeError):
        vector = torch.empty(0)
    if vector.ndim != 1 or not len(vector):
        raise UsageError(
            f"m.report: {name}: expected a number, or a sequence of them, got {value!r:.80}"
        )
    return vector
