"""The Pareto front of segments: those that no other one dominates in several metrics."""

from collections.abc import Iterable, Sequence

from popgrad.core.front import front, objective_values
from popgrad.core.score import Score
from popgrad.core.segment import Segment


def segment_front(segments: Iterable[Segment], objectives: Sequence[Score]) -> tuple[Segment, ...]:
    """Return the segments that no other one dominates, the best in the first objective first.

    Args:
        segments: Segments to compare; failed ones are left out.
        objectives: Metrics with their directions, at least one.

    Raises:
        UsageError: A segment lacks an objective.
    """
    alive = [segment for segment in segments if not segment.failed]
    values = objective_values(objectives, [segment.metrics for segment in alive])
    rows = sorted(front(values).tolist(), key=lambda row: (-values[row, 0], alive[row].member))
    return tuple(alive[row] for row in rows)
