"""A population too large for a line each: bands of quantiles, and bars of shares, by interval."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from operator import attrgetter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.reports.style import OTHERS

_LOW, _HIGH = 10, 90
"""Percentiles that a band lies between."""

_HEIGHT = 16.0
"""Points that a bar of all members is high."""

_ALPHA = 0.45


def legend_entry() -> Patch:
    """Return the entry of the legend that explains bands and bars."""
    label = f"{_HIGH - _LOW} % of the members; of options, their share"
    return Patch(color=OTHERS, alpha=_ALPHA, linewidth=0, label=label)


def draw_band(
    axes: Axes,
    segments: Sequence[Segment],
    values: Mapping[SegmentId, float],
    *,
    sloped: bool = False,
) -> None:
    """Draw the band that holds the middle 80 % of the members in each interval.

    Args:
        axes: Panel to draw in.
        segments: Segments that count.
        values: Finite values by segment.
        sloped: Whether the values belong to the ends of the intervals, else to all their steps.
    """
    xs: list[float] = []
    lows: list[float] = []
    highs: list[float] = []
    for begin, end, group in over_steps(segments):
        low, high = np.percentile([values[segment.id] for segment in group], [_LOW, _HIGH])
        steps = [end] if sloped else [begin, end]
        xs += steps
        lows += [float(low)] * len(steps)
        highs += [float(high)] * len(steps)
    axes.fill_between(xs, lows, highs, color=OTHERS, alpha=_ALPHA, linewidth=0, zorder=1)


def draw_shares(axes: Axes, segments: Sequence[Segment], values: Mapping[SegmentId, float]) -> None:
    """Draw a bar for each option and interval, as thick as the share of members that have it.

    Args:
        axes: Panel to draw in.
        segments: Segments that count.
        values: Number of the option by segment.
    """
    for begin, end, group in over_steps(segments):
        options, counts = np.unique([values[each.id] for each in group], return_counts=True)
        widths = _HEIGHT * counts / len(group)
        axes.hlines(options, begin, end, color=OTHERS, alpha=_ALPHA, linewidth=widths, zorder=1)


def over_steps(segments: Sequence[Segment]) -> list[tuple[float, float, list[Segment]]]:
    """Return groups of segments over training, each (first step, last step, segments): medians of them.

    A group is an interval. If members have started fresh, later intervals may have fewer steps
    behind them; then the groups are at most as many, none smaller than if they were equal in size,
    and in order of their steps. Segments with equal steps are in one group.
    """
    groups: dict[int, list[Segment]] = {}
    for segment in segments:
        groups.setdefault(segment.interval, []).append(segment)
    found = [_with_steps(groups[interval]) for interval in sorted(groups)]
    if all(before[1] < after[1] for before, after in pairwise(found)):
        return found

    least = len(segments) / len(groups)
    joined: list[list[Segment]] = [[]]
    by_steps = attrgetter("last_step")
    for _, equal in groupby(sorted(segments, key=by_steps), key=by_steps):
        if len(joined[-1]) >= least:
            joined.append([])
        joined[-1] += equal
    if len(joined) > 1 and len(joined[-1]) < least:
        rest = joined.pop()
        joined[-1] += rest
    return [_with_steps(group) for group in joined]


def _with_steps(group: list[Segment]) -> tuple[float, float, list[Segment]]:
    first = float(np.median([segment.first_step for segment in group]))
    return first, float(np.median([segment.last_step for segment in group])), group
