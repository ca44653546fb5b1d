"""Workers against the clock: when each trained which segment, and how much of the time it waited.

It is computed from telemetry, so it differs between two equal runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry

_LONGEST_WAIT = 10.0
"""Seconds without any training up to which a run counts as waiting, not as paused."""

_LONGEST_SEGMENTS = 3.0
"""Longest segments without any training up to which it counts as waiting, too."""


class Span(NamedTuple):
    """The training of one segment by a worker.

    Attributes:
        segment: (member, interval) of the segment.
        worker: Name of the worker.
        begin: Seconds of the run at which it began.
        end: Seconds of the run at which it ended.
    """

    segment: SegmentId
    worker: str
    begin: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The training of a run, on a clock that starts with the first segment.

    The clock stands still while a run is paused, between an interruption and its resumption.

    Attributes:
        spans: Spans by worker, each in order of their begin. Workers are in the order of their names,
            numbers within them by size.
        seconds: Seconds from the first begin to the last end, without pauses.
        pauses: (seconds of the run, length in seconds) of each pause.
        unknown: Segments whose begin is not known, which are left out.
    """

    spans: Mapping[str, tuple[Span, ...]]
    seconds: float
    pauses: tuple[tuple[float, float], ...]
    unknown: int

    def busy(self, worker: str) -> float:
        """Return the share of the run, in [0, 1], in which a worker trained; the rest it waited."""
        trained = sum(end - begin for begin, end in _union(self.spans[worker]))
        return min(1.0, trained / self.seconds) if self.seconds > 0 else 0.0

    @property
    def waiting(self) -> float:
        """Share of the time of all workers, in [0, 1], in which they waited; 0 if nothing is known."""
        if not self.spans:
            return 0.0
        return 1.0 - sum(map(self.busy, self.spans)) / len(self.spans)


def timeline(telemetry: Mapping[SegmentId, Telemetry]) -> Timeline:
    """Return the training of a run by worker.

    A pause is a time in which no worker trained, longer than 10 seconds and than three times the
    longest segment.

    Args:
        telemetry: Telemetry by segment.
    """
    spans = [
        Span(segment, known.worker, known.began, known.began + max(0.0, known.seconds))
        for segment, known in telemetry.items()
        if known.began is not None
    ]
    spans.sort(key=lambda span: (span.begin, span.segment))
    pauses = _pauses(spans)
    shifted = _shifted(spans, pauses)

    by_worker: dict[str, list[Span]] = {name: [] for name in _named({s.worker for s in spans})}
    for span in shifted:
        by_worker[span.worker].append(span)
    start = spans[0].begin if spans else 0.0
    stops = _stops(pauses, start)
    return Timeline(
        {name: tuple(found) for name, found in by_worker.items()},
        max((span.end for span in shifted), default=0.0),
        tuple(stops),
        len(telemetry) - len(spans),
    )


def _named(workers: set[str]) -> list[str]:
    """Return names in order, numbers in them by size: worker 2 comes before worker 10."""

    def key(name: str) -> list[tuple[int, str]]:
        return [
            (int(part), "") if part.isdecimal() and part.isascii() else (-1, part)
            for part in _parts(name)
        ]

    return sorted(workers, key=key)


def _parts(name: str) -> list[str]:
    """Split a name before and after each number."""
    parts: list[str] = []
    for character in name:
        if parts and character.isdecimal() == parts[-1][-1].isdecimal():
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _union(spans: Sequence[Span]) -> list[tuple[float, float]]:
    """Return the times in which any of the spans lasts; they do not overlap, and ascend.

    Args:
        spans: Spans in order of their begin.
    """
    times: list[tuple[float, float]] = []
    for span in spans:
        if times and span.begin <= times[-1][1]:
            times[-1] = times[-1][0], max(times[-1][1], span.end)
        else:
            times.append((span.begin, span.end))
    return times


def _pauses(spans: Sequence[Span]) -> list[tuple[float, float]]:
    """Return (begin, end) of each pause."""
    longest = max((span.end - span.begin for span in spans), default=0.0)
    limit = max(_LONGEST_WAIT, _LONGEST_SEGMENTS * longest)
    times = _union(spans)
    return [(end, begin) for (_, end), (begin, _) in pairwise(times) if begin - end > limit]


def _shifted(spans: Sequence[Span], pauses: Sequence[tuple[float, float]]) -> list[Span]:
    """Return the spans on a clock that starts at 0 and stands still in the pauses."""
    shifted: list[Span] = []
    passed = 0
    lost = spans[0].begin if spans else 0.0
    for span in spans:
        while passed < len(pauses) and pauses[passed][1] <= span.begin:
            lost += pauses[passed][1] - pauses[passed][0]
            passed += 1
        shifted.append(span._replace(begin=span.begin - lost, end=span.end - lost))
    return shifted


def _stops(pauses: Sequence[tuple[float, float]], start: float) -> list[tuple[float, float]]:
    """Return (seconds of the run, length) of each pause."""
    stops: list[tuple[float, float]] = []
    lost = start
    for begin, end in pauses:
        stops.append((begin - lost, end - begin))
        lost += end - begin
    return stops
