"""Callbacks of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from popgrad.core.population import Decision, Segment, Telemetry


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


@dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls as segments and intervals finish. They cannot change the record.

    Attributes:
        on_segment: Called with each finished segment, in the order of finishing.
        on_interval: Called at the end of each interval.
        on_record: Called with each finished segment and its telemetry, before `on_segment`.
    """

    on_segment: Callable[[Segment], None] | None = None
    on_interval: Callable[[IntervalEnd], None] | None = None
    on_record: Callable[[Segment, Telemetry], None] | None = None


def combine(first: Callbacks, second: Callbacks) -> Callbacks:
    """Return callbacks that call those of `first`, then those of `second`."""
    return Callbacks(
        _both(first.on_segment, second.on_segment),
        _both(first.on_interval, second.on_interval),
        _both(first.on_record, second.on_record),
    )


def _both(
    first: Callable[..., None] | None, second: Callable[..., None] | None
) -> Callable[..., None] | None:
    if first is None or second is None:
        return first or second

    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call
