"""The members as a run goes: the last and the best segment of each, and what a strategy sees of them."""

import math
from collections.abc import Iterable

import numpy as np

from popgrad.core.population import Hparams, Population, Segment
from popgrad.core.seeding import Floats, Index


class Members:
    """What is known of each member. A strategy is shown views of it, so that a decision copies nothing.

    Args:
        hparams: What each begins with.

    Attributes:
        last: Each member's last segment, where it has one.
        best: Each member's best one, where a score was finite.
    """

    def __init__(self, hparams: Iterable[Hparams]) -> None:
        self.last: dict[int, Segment] = {}
        self.best: dict[int, Segment] = {}
        self._hparams = list(hparams)
        size = len(self._hparams)
        self._scores: Floats = np.full(size, math.nan)
        self._steps: Index = np.zeros(size, np.int64)
        self._intervals: Index = np.zeros(size, np.int64)

    def update(self, segment: Segment) -> None:
        """A member has finished a segment."""
        member = segment.member
        self.last[member] = segment
        if not segment.failed and (member not in self.best or segment.score > self.best[member].score):
            self.best[member] = segment
        self._scores[member], self._hparams[member] = segment.score, segment.hparams
        self._steps[member], self._intervals[member] = segment.last_step, segment.interval + 1

    @property
    def best_score(self) -> float:
        """The best last score; nan where none is finite. A score of +inf is a failure, no best."""
        finite = self._scores[np.isfinite(self._scores)]
        return float(finite.max()) if finite.size else math.nan

    @property
    def least(self) -> int:
        """Intervals that everybody has completed who has not failed."""
        alive = np.isfinite(self._scores) | (self._intervals == 0)
        return int(self._intervals[alive].min() if alive.any() else self._intervals.max())

    def population(self) -> Population:
        """As a strategy sees it: read-only views."""
        scores, intervals, steps = self._scores.view(), self._intervals.view(), self._steps.view()
        for view in (scores, intervals, steps):
            view.flags.writeable = False
        return Population(scores, intervals, steps, self._hparams)
