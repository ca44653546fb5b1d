"""The status of a run: in progress, interrupted or at its end, and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from popgrad.core.population import SegmentId, Telemetry
from popgrad.record.record import Record

State = Literal["in progress", "interrupted", "finished"]

_RECENT = 3
"""Intervals whose segments the remaining time is estimated from."""


@dataclass(frozen=True)
class Status:
    """Status of a run when its record was read.

    Attributes:
        state: "in progress", "interrupted" (it can be resumed), or "finished": it came to one of its
            limits.
        reason: Limit that it came to; "unfinished" = none yet.
        completed: Intervals that every member without a failure has completed.
        intervals: Intervals that each member is to train in all.
        process: Number of the process that works on it; "" = none does.
        seconds_left: Estimate of the time to the last interval; None = unknown or not in progress.
    """

    state: State
    reason: str
    completed: int
    intervals: int
    process: str = ""
    seconds_left: float | None = None

    def describe(self) -> str:
        """Return the status in words."""
        count = f"{self.completed} of {self.intervals} intervals"
        if self.state == "interrupted":
            return f"interrupted after {count}"
        if self.state == "in progress":
            words = f"in progress (process {self.process} on this machine), {count}"
            left = self.seconds_left
            return words if left is None else f"{words}, about {duration(left)} left"
        if self.reason == "finished":
            return f"finished {count}"
        return f"stopped after {count} ({self.reason})"


def run_status(record: Record, telemetry: Mapping[SegmentId, Telemetry], process: str) -> Status:
    """Return the status of a run.

    Args:
        record: Its record.
        telemetry: Telemetry by segment.
        process: Number of the process that holds its lock, read before the record; "" = none does.
    """
    intervals = int(record.config.get("intervals", 0))
    completed = _completed(record)
    if record.stopped != "unfinished":
        return Status("finished", record.stopped, completed, intervals)
    if not process:
        return Status("interrupted", record.stopped, completed, intervals)
    left = _seconds_left(record, telemetry, intervals)
    return Status("in progress", record.stopped, completed, intervals, process, left)


def _completed(record: Record) -> int:
    """Return the intervals that every member without a failure has completed."""
    last = record.last.values()
    if len(last) < record.size:
        return 0
    return min((segment.interval + 1 for segment in last if not segment.failed), default=0)


def _seconds_left(
    record: Record, telemetry: Mapping[SegmentId, Telemetry], intervals: int
) -> float | None:
    """Estimate the time that the remaining segments take, from the latest ones and their workers."""
    recent = [
        telemetry[segment.id]
        for segment in record.segments[-_RECENT * record.size :]
        if segment.id in telemetry
    ]
    if not recent:
        return None
    done = sum(segment.interval + 1 for segment in record.last.values())
    left = max(0, record.size * intervals - done)
    workers = {each.worker for each in recent}
    return left * fmean(each.seconds for each in recent) / len(workers)


def duration(seconds: float) -> str:
    """Return a duration in words of one or two units, such as "42 s", "5 min" or "2 h 10 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
