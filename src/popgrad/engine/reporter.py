"""The reporter of a run: calls the callbacks, each interval once and in order."""

import logging
from collections.abc import Iterable, Mapping

from popgrad.core.plan import Decision
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.engine.callbacks import Callbacks, IntervalEnd

log = logging.getLogger("popgrad")


class Reporter:
    """Calls the callbacks of a run as segments and intervals finish.

    Args:
        callbacks: Functions to call.
        intervals: Intervals of earlier sessions, which are not reported again.

    Attributes:
        stop_requested: Whether a callback has returned True.
    """

    def __init__(self, callbacks: Callbacks, intervals: int) -> None:
        self._callbacks = callbacks
        self._reported = intervals
        self.stop_requested = False

    def report_segment(self, segment: Segment, telemetry: Telemetry) -> None:
        """Report a finished segment, and log the reason if it failed."""
        if segment.failed:
            last_line = segment.error.strip().rpartition("\n")[2]
            log.warning(
                "member %d failed in interval %d: %s", segment.member, segment.interval, last_line
            )

        if self._callbacks.on_record is not None:
            self._callbacks.on_record(segment, telemetry)
        if self._callbacks.on_segment is not None:
            self._notice(self._callbacks.on_segment(segment))

    def report_intervals(
        self,
        finished: int,
        members: Iterable[int],
        segments: Mapping[SegmentId, Segment],
        decision: Decision | None,
        seconds: float,
    ) -> None:
        """Report the finished intervals that have not been reported.

        Args:
            finished: Number of finished intervals.
            members: The present members.
            segments: The record.
            decision: Decision that follows the last of them; None = the run ends.
            seconds: Seconds since the run was started or resumed.
        """
        for interval in range(self._reported, finished):
            if self._callbacks.on_interval is not None:
                ids = ((member, interval) for member in sorted(members))
                ends = tuple(segments[segment] for segment in ids if segment in segments)
                following = decision if interval + 1 == finished else None
                end = IntervalEnd(interval, ends, following, seconds)
                self._notice(self._callbacks.on_interval(end))
        self._reported = max(self._reported, finished)

    def _notice(self, result: object) -> None:
        # Only True itself: a function that was not written to stop a run may return anything.
        self.stop_requested = self.stop_requested or result is True
