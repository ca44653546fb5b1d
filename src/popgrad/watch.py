"""Who is told what happens in a run, and what they are told."""

from collections.abc import Callable
from dataclasses import dataclass

from popgrad.core.population import Decision, Segment, Telemetry


@dataclass(frozen=True)
class IntervalEnd:
    """What a callback is told when all members have trained an interval, and the next one was decided.

    Attributes:
        interval: Which, from 0.
        segments: Of this interval, by member.
        decision: What follows; None after the last one.
        seconds: Since the run was started or resumed.
    """

    interval: int
    segments: tuple[Segment, ...]
    decision: Decision | None
    seconds: float


@dataclass(frozen=True)
class Watch:
    """Who is told what happens. Whatever they do, the record stays the same.

    Attributes:
        segment: Called with each finished segment, in the order of finishing.
        interval: Called at the end of each interval.
        record: Called with each finished segment and its telemetry.
    """

    segment: Callable[[Segment], None] | None = None
    interval: Callable[[IntervalEnd], None] | None = None
    record: Callable[[Segment, Telemetry], None] | None = None
