"""Segments as columns, in chunks that follow each other: what every view is drawn from."""

import math
from collections.abc import Iterable, Mapping
from operator import attrgetter

from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Space
from popgrad.views.plain import Json, plain, plain_number

_UNKNOWN = Telemetry()


class Columns:
    """Numbers the segments of a run as they arrive, and writes each chunk of them as columns.

    A chunk costs what its own segments cost: parents are looked up by segment.

    Args:
        space: Dimensions that the run searches.
        ranking: Metric that ranks.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=2, intervals=2, executor="serial")
        >>> columns = Columns(result.space, result.record.ranking)
        >>> chunk = columns.chunk((each, Telemetry()) for each in result.segments)
        >>> chunk["first"], chunk["member"], chunk["interval"]
        (0, [0, 1, 0, 1], [0, 0, 1, 1])
    """

    def __init__(self, space: Space, ranking: Score) -> None:
        self._space = space
        self._ranking = ranking
        self._rows: dict[SegmentId, int] = {}
        self._last: dict[int, SegmentId] = {}
        self._workers: dict[str, int] = {}
        self._roles: dict[str, int] = {"": 0}
        self._transforms: dict[str, int] = {"": 0}

    @property
    def count(self) -> int:
        """Segments so far."""
        return len(self._rows)

    def row(self, segment: SegmentId) -> int:
        """Return the number of a segment; -1 = it has not arrived."""
        return self._rows.get(segment, -1)

    def chunk(self, arrivals: Iterable[tuple[Segment, Telemetry]]) -> Json:
        """Return the next segments as columns of equal length.

        Columns: member, interval, parent (row of the segment that it started from; -1 = fresh),
        copied (1 = it started from a donor's state), first_step, steps, length (intervals), score
        (the metric that ranks, as it was evaluated; None = failed), hparams (a column by name),
        seconds, began (seconds since 1970), worker, role and transform (numbers in the lists workers,
        roles and transforms, which hold all names so far). Times are None if they are unknown.
        `first` is the row of the first segment.

        Args:
            arrivals: Segments that have not arrived before, with their telemetry. The parent of
                each has arrived, or is among them.
        """
        found = sorted(arrivals, key=lambda arrival: (arrival[0].interval, arrival[0].member))
        segments = [segment for segment, _ in found]
        telemetry = [known for _, known in found]
        first = self.count
        self._rows.update((segment.id, first + place) for place, segment in enumerate(segments))

        shown = [self._ranking.shown(segment.score) for segment in segments]
        names: tuple[str, ...] = ("member", "interval", "first_step", "steps", "length")
        return {
            "first": first,
            **{name: list(map(attrgetter(name), segments)) for name in names},
            "parent": [
                -1 if segment.source is None else self.row(segment.source) for segment in segments
            ],
            "copied": [int(self._copied(segment)) for segment in segments],
            "score": [
                None if segment.failed else plain_number(score)
                for segment, score in zip(segments, shown, strict=True)
            ],
            "hparams": {
                name: [plain(segment.hparams[name]) for segment in segments] for name in self._space
            },
            "seconds": [_rounded(known.seconds, 4) for known in telemetry],
            "began": [_rounded(known.began, 3) for known in telemetry],
            "worker": [self._number(self._workers, known.worker) for known in telemetry],
            "role": [self._number(self._roles, segment.role) for segment in segments],
            "transform": [
                self._number(self._transforms, segment.transform.name if segment.transform else "")
                for segment in segments
            ],
            "workers": list(self._workers),
            "roles": list(self._roles),
            "transforms": list(self._transforms),
        }

    def _copied(self, segment: Segment) -> bool:
        """Return whether a segment continues another member's state, or an older one of its own."""
        before = self._last.get(segment.member)
        self._last[segment.member] = segment.id
        return segment.source is not None and segment.source != before

    @staticmethod
    def _number(names: dict[str, int], name: str) -> int:
        return names.setdefault(name, len(names))


def _rounded(value: float | None, digits: int) -> float | None:
    """Return a rounded number; None = it is unknown, or not finite."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


def all_columns(
    segments: Iterable[Segment],
    telemetry: Mapping[SegmentId, Telemetry],
    space: Space,
    ranking: Score,
) -> Json:
    """Return all segments of a run as one chunk."""
    arrivals = ((segment, telemetry.get(segment.id, _UNKNOWN)) for segment in segments)
    return Columns(space, ranking).chunk(arrivals)
