"""Limits at which a run stops."""

from dataclasses import dataclass
from typing import Literal

StopReason = Literal["finished", "target score", "time"]


@dataclass(frozen=True)
class Limits:
    """Limits at which a run stops.

    Attributes:
        intervals: Intervals that each member trains, at least 1.
        max_seconds: Seconds after which no further interval is started; None = no limit.
        target_score: Score of a member, higher is better, at which no further interval is started;
            None = no target.
    """

    intervals: int
    max_seconds: float | None = None
    target_score: float | None = None

    def reached(self, best_score: float, seconds: float) -> StopReason | None:
        """Return the limit that is reached before the intervals end; None = neither is.

        Args:
            best_score: Best score of a present member; nan = no member has one.
            seconds: Seconds since the run was started or resumed.
        """
        if self.target_score is not None and best_score >= self.target_score:
            return "target score"
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return "time"
        return None
