"""Callbacks of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from popgrad.core.plan import Decision
from popgrad.core.segment import Segment, Telemetry


@dataclass(frozen=True)
class IntervalEnd:
    """An interval that all members have trained, and the decision that follows it.

    Attributes:
        interval: Number of the interval, from 0.
        segments: Segments of this interval, ordered by member.
        decision: Decision that follows; None after the last interval.
        seconds: Seconds since the run was started or resumed.

    Example:
        >>> import popgrad
        >>> ends = []
        >>> result = popgrad.run(
        ...     "quadratic", population=2, intervals=3, on_interval=ends.append, executor="serial"
        ... )
        >>> [(end.interval, len(end.segments), end.decision is None) for end in ends]
        [(0, 2, False), (1, 2, False), (2, 2, True)]
    """

    interval: int
    segments: tuple[Segment, ...]
    decision: Decision | None
    seconds: float


OnSegment = Callable[[Segment], bool | None]
"""Function that a run calls with each finished segment; it returns True to stop the run."""

OnInterval = Callable[[IntervalEnd], bool | None]
"""Function that a run calls at the end of each interval; it returns True to stop the run."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls as segments and intervals finish. They cannot change the record.

    Attributes:
        on_segment: Called with each finished segment, in the order of finishing; True stops the run.
        on_interval: Called at the end of each interval; True stops the run.
        on_record: Called with each finished segment and its telemetry, before `on_segment`.
        on_start: Called once the executor has started, before the first segment is trained.
    """

    on_segment: OnSegment | None = None
    on_interval: OnInterval | None = None
    on_record: Callable[[Segment, Telemetry], None] | None = None
    on_start: Callable[[], None] | None = None


def combine(first: Callbacks, second: Callbacks) -> Callbacks:
    """Return callbacks that call those of `first`, then those of `second`."""
    return Callbacks(
        _both(first.on_segment, second.on_segment),
        _both(first.on_interval, second.on_interval),
        _both(first.on_record, second.on_record),
        _both(first.on_start, second.on_start),
    )


def _both(
    first: Callable[..., Any] | None, second: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    if first is None or second is None:
        return first or second

    def call(*arguments: Any) -> bool:
        # Both are called, also if the first one stops the run.
        results = (first(*arguments), second(*arguments))
        return any(result is True for result in results)

    return call
