"""The history of a run as it grows: columns with room ahead, so that a new row is appended in O(1)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from popgrad.core.history import History
from popgrad.core.plan import Decision
from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record.progress import PendingSegment, Progress

_INTEGERS = ("members", "intervals", "parents", "first_steps", "steps")


class HistoryTable:
    """Columns of all segments so far. Nothing is computed before a strategy reads them.

    Args:
        space: Dimensions of the hyperparameters.
        ranking: Metric that ranks, with its direction.
        segments: The record, by segment; it grows during the run.
    """

    def __init__(self, space: Space, ranking: Score, segments: Mapping[SegmentId, Segment]) -> None:
        self._space = space
        self._ranking = ranking
        self._segments = segments
        self._order: list[SegmentId] = []  # finished segments, a source before its heirs
        self._known: set[SegmentId] = set()
        self._rows: dict[SegmentId, int] = {}  # rows of the segments that the columns hold
        self._columns = _columns(0, len(space))

    def __contains__(self, segment: SegmentId) -> bool:
        return segment in self._known

    def append(self, finished: Iterable[SegmentId]) -> None:
        """Append finished segments in the order of (interval, member), each behind its source."""
        for segment in sorted(finished, key=lambda each: (each[1], each[0])):
            path: list[SegmentId] = []
            source: SegmentId | None = segment
            while source is not None and source not in self._known:
                path.append(source)
                self._known.add(source)
                source = self._segments[source].source
            self._order.extend(reversed(path))

    def columns(self) -> History:
        """Return the history: read-only views of the columns."""
        count = len(self._order)
        if count > len(self._columns["scores"]):
            self._grow(count)
        for row in range(len(self._rows), count):
            self._write(row, self._segments[self._order[row]])

        views = {name: column[:count] for name, column in self._columns.items()}
        for view in views.values():
            view.flags.writeable = False
        return History(names=tuple(self._space), **views)

    def _grow(self, count: int) -> None:
        wider = _columns(max(count, 2 * len(self._columns["scores"])), len(self._space))
        for name, column in self._columns.items():
            wider[name][: len(column)] = column
        self._columns = wider

    def _write(self, row: int, segment: Segment) -> None:
        parent = -1 if segment.source is None else self._rows[segment.source]
        columns = self._columns
        columns["members"][row] = segment.member
        columns["intervals"][row] = segment.interval
        columns["scores"][row] = segment.score
        columns["starts"][row] = self._start(segment, parent)
        columns["parents"][row] = parent
        columns["first_steps"][row] = segment.first_step
        columns["steps"][row] = segment.last_step
        columns["hparams"][row] = self._space.encode(segment.hparams)
        self._rows[segment.id] = row

    def _start(self, segment: Segment, parent: int) -> float:
        """Return the score of the state that a segment started from; nan = not known."""
        if segment.evaluations and segment.evaluations[0].step == 0:
            return self._ranking.rank(segment.evaluations[0].metrics[self._ranking.metric])
        # A transform has changed the state that the source's score was of.
        if parent < 0 or segment.transform is not None:
            return float("nan")
        return float(self._columns["scores"][parent])


def recorded_history(
    space: Space,
    ranking: Score,
    segments: Mapping[SegmentId, Segment],
    first: Mapping[int, PendingSegment],
    decisions: Sequence[Decision],
) -> HistoryTable:
    """Return the history that the last recorded decision has seen, in the same order.

    Args:
        space: Dimensions of the hyperparameters.
        ranking: Metric that ranks, with its direction.
        segments: The record, by segment.
        first: First segments of the members.
        decisions: Decisions in order.
    """
    table = HistoryTable(space, ranking, segments)
    progress = Progress(dict(first))
    for decision in decisions:
        newest = (progress.newest.get(member) for member in decision.plan.members)
        table.append(start.id for start in newest if start is not None and start.id in segments)
        progress.apply(decision, segments)
    return table


def _columns(count: int, dimensions: int) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {name: np.zeros(count, np.int64) for name in _INTEGERS}
    columns["scores"] = np.zeros(count)
    columns["starts"] = np.zeros(count)
    columns["hparams"] = np.zeros((count, dimensions))
    return columns
