"""Limits at which a run stops."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from popgrad.core.segment import Segment

StopReason = Literal["finished", "target score", "patience", "time", "callback"]
"""Reason that a run ended; "callback" = a callback returned True."""


@dataclass(frozen=True)
class Limits:
    """Limits at which a run stops.

    Attributes:
        intervals: Intervals that each member trains, at least 1.
        max_seconds: Seconds after which no further interval is started; None = no limit.
        target_score: Score of a member, higher is better, at which no further interval is started;
            None = no target.
        patience: Completed intervals without a better best score after which no further interval is
            started, at least 1; None = no limit.
    """

    intervals: int
    max_seconds: float | None = None
    target_score: float | None = None
    patience: int | None = None

    def reached(self, best_score: float, stale: int, seconds: float) -> StopReason | None:
        """Return the limit that is reached before the intervals end; None = none is.

        Args:
            best_score: Best score of a present member; nan = no member has one.
            stale: Completed intervals since the one with the best score of the run.
            seconds: Seconds since the run was started or resumed.
        """
        if self.target_score is not None and best_score >= self.target_score:
            return "target score"
        if self.patience is not None and stale >= self.patience:
            return "patience"
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return "time"
        return None


class BestInterval:
    """Earliest interval with the best score of the run. It depends on the recorded segments alone.

    Args:
        segments: Segments recorded so far, in any order.
    """

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._score = -math.inf
        self._interval = -1
        for segment in segments:
            self.update(segment)

    def update(self, segment: Segment) -> None:
        """Compare a finished segment with the best so far."""
        if segment.failed:
            return
        earlier = segment.score == self._score and segment.interval < self._interval
        if segment.score > self._score or earlier:
            self._score = segment.score
            self._interval = segment.interval

    def stale(self, completed: int) -> int:
        """Return how many of the completed intervals followed it; negative = it is not complete."""
        return completed - 1 - self._interval
