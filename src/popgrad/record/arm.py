"""An arm of an ablation: a way to set hyperparameters, and models that were trained with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from popgrad.core.population import Hparams
from popgrad.core.score import Score
from popgrad.core.seeding import Floats
from popgrad.statistics.bootstrap import Interval, iqm


@dataclass(frozen=True)
class Arm:
    """A way to set hyperparameters, and the models that were trained with it, one for each seed.

    Attributes:
        name: "schedule", "best constant", "final values", "mean values" or "random search"; several
            names, joined by commas, if they are the same setting.
        origin: Where the setting is from, in words.
        hparams: Hyperparameters from the first step on.
        scores: Validation score of each model, higher is better; nan = it failed.
        steps: Training steps of each model.
        tests: Metrics of each model on the test split; () = it was not read.
    """

    name: str
    origin: str
    hparams: Hparams
    scores: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    tests: tuple[Mapping[str, float], ...] = ()

    @property
    def failed(self) -> int:
        """Models that failed."""
        return sum(not math.isfinite(score) for score in self.scores)

    @property
    def array(self) -> Floats:
        """[S] scores."""
        return np.array(self.scores, dtype=np.float64)

    @property
    def mean(self) -> Interval:
        """Interquartile mean of the scores with its bootstrap interval; nan = a model failed."""
        return Interval(math.nan) if self.failed or not self.scores else iqm(self.array)

    def row(self, ranking: Score) -> dict[str, Any]:
        """Return the arm as JSON-able values, as the metric has them; numbers that are not finite are None.

        Args:
            ranking: Metric that ranks, with its direction.
        """
        mean = self.mean
        ends = sorted(map(ranking.shown, (mean.low, mean.high)))
        row: dict[str, Any] = {
            "name": self.name,
            "origin": self.origin,
            "hparams": dict(self.hparams),
            "values": [_finite(ranking.shown(score)) for score in self.scores],
            "failed": self.failed,
            "steps": list(self.steps),
            "interquartile_mean": interval_row(Interval(ranking.shown(mean.value), *ends)),
        }
        if self.tests:
            row["test"] = [
                {name: _finite(value) for name, value in metrics.items()} for metrics in self.tests
            ]
        return row


def interval_row(interval: Interval) -> dict[str, float | None]:
    """Return an interval as JSON-able values; ends that are not finite are None."""
    return {name: _finite(value) for name, value in interval._asdict().items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
