"""The status of a run: in progress, interrupted or at its end, and how far it has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.record.record import Record
from popgrad.reports.duration import duration as duration

State = Literal["in progress", "interrupted", "finished"]

RECENT = 3
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
        if self.state == "in progress" and not self.process:
            return f"in progress, {count}"
        if self.state == "in progress":
            words = f"in progress (process {self.process} on this machine), {count}"
            left = self.seconds_left
            return words if left is None else f"{words}, about {duration(left)} left"
        if self.reason == "finished":
            return f"finished {count}"
        return f"stopped after {count} ({self.reason})"


def run_status(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    process: str,
    spent: int | None = None,
) -> Status:
    """Return the status of a run.

    Args:
        record: Its record; the last segment of each member suffices, with `spent`.
        telemetry: Telemetry by segment.
        process: Number of the process that holds its lock, read before the record; "" = none does.
        spent: Member-intervals of all segments; None = those of the record.
    """
    if spent is None:
        spent = record.spent
    status = status_of(record, completed_intervals(record, spent), process)
    if status.process:
        left = _seconds_left(record, telemetry, status.intervals, spent)
        return replace(status, seconds_left=left)
    return status


def status_of(record: Record, completed: int, process: str) -> Status:
    """Return the status of a run, without the time that is left.

    Args:
        record: What the run was given; its segments do not matter.
        completed: Intervals that every member without a failure has completed.
        process: Number of the process that holds its lock; "" = none does.
    """
    intervals = int(record.config.get("intervals", 0))
    study = record.study is not None
    state = state_of(record.stopped, study=study, process=process)
    process = process if state == "in progress" and not study else ""
    return Status(state, record.stopped, completed, intervals, process)


def state_of(stopped: str, *, study: bool, process: str) -> State:
    """Return the state of a run.

    Args:
        stopped: Limit that it came to; "unfinished" = none yet.
        study: Whether its members are trained by callers.
        process: Number of the process that holds its lock; "" = none does.
    """
    if stopped != "unfinished":
        return "finished"
    # Members of a study train wherever they are asked for; the lock is held for moments.
    return "in progress" if study or process else "interrupted"


def completed_intervals(record: Record, spent: int | None = None) -> int:
    """Return the intervals that every member without a failure has completed.

    Args:
        record: Its record; the last segment of each member suffices, with `spent`.
        spent: Member-intervals of all segments; None = those of the record.
    """
    if record.shared_budget:
        spent = record.spent if spent is None else spent
        return spent // max(1, int(record.config.get("population", record.size)))
    last = record.last.values()
    if len(last) < record.size:
        return 0
    return min((segment.interval + 1 for segment in last if not segment.failed), default=0)


def _seconds_left(
    record: Record, telemetry: Mapping[SegmentId, Telemetry], intervals: int, spent: int
) -> float | None:
    """Estimate the time that the remaining segments take, from the latest ones and their workers."""
    recent = [
        telemetry[segment.id]
        for segment in record.segments[-RECENT * record.size :]
        if segment.id in telemetry
    ]
    done, total = work(record, intervals, spent)
    return time_left(max(0, total - done), [(each.seconds, each.worker) for each in recent])


def work(record: Record, intervals: int, spent: int | None = None) -> tuple[int, int]:
    """Return the member-intervals that the present members have trained, and all that they are to train.

    Args:
        record: Record of the run.
        intervals: Intervals that each member is to train in all.
        spent: Member-intervals of all segments; None = those of the record.
    """
    if record.shared_budget:
        spent = record.spent if spent is None else spent
        return spent, int(record.config.get("population", 1)) * intervals
    done = sum(segment.interval + 1 for segment in record.last.values())
    return done, record.size * intervals


def time_left(segments: int, recent: Sequence[tuple[float, str]]) -> float | None:
    """Estimate the seconds that segments take; None = nothing is known.

    Args:
        segments: Segments that are left to train.
        recent: Seconds and worker of each of the latest segments.
    """
    if not recent:
        return None
    workers = {worker for _, worker in recent}
    return segments * fmean(seconds for seconds, _ in recent) / len(workers)
