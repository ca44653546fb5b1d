"""The figure of scores over training: all members, the best and the median, and the winner's ancestry."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.record.lineage import index, jumps
from popgrad.record.record import Record
from popgrad.reports import crowd
from popgrad.reports.axes import TITLE, dress, limit_height
from popgrad.reports.style import (
    CROSS,
    CROWD,
    DASHED,
    THICK,
    THIN,
    Size,
    explain,
    ink,
    metric_values,
    on_axes,
    recorded,
    run_title,
    tick_mark,
)


def scores(
    record: Record,
    leaf: int | SegmentId | None = None,
    *,
    axes: Axes | None = None,
    size: Size | None = None,
) -> Figure:
    """Draw the metric that ranks over training: all members, the best and the median of each interval.

    The horizontal axis counts training steps along the lineage, so no line runs back in time: the
    thin lines are the family tree, from 20 members on a band of the middle 80 %. The ancestry of the
    winner is thick. Segments that failed are grey crosses at the lower edge.

    Args:
        record: Record with at least one segment.
        leaf: Member or segment whose ancestry is drawn; None = the winner.
        axes: Axes to draw on; None = those of a new figure.
        size: Width and height of a new figure in inches; None = 8 x 5.

    Raises:
        UsageError: There is no segment, or no such member.
        AllMembersFailedError: There is no winner.
    """
    segments = recorded(record)
    line = record.lineage(leaf)
    crowded = len({segment.member for segment in segments}) >= CROWD
    own = axes is None
    axes, figure = on_axes(axes, (8.0, 5.0), size)

    draw_scores(axes, record, line, crowded=crowded)
    best: dict[str, Any] = {"color": ink(), "linewidth": 1.2}
    _draw_summary(axes, record, best)
    dress(axes, "y", record.ranking.label, None, metric_values(segments, record))
    limit_height(axes, record)
    steps = max(segment.last_step for segment in segments)
    dress(axes, "x", "training steps", None, np.array([0.0, steps]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, 1.01 * steps)  # room for the last mark
    axes.set_title(run_title(record), size=TITLE)

    failed = [segment.last_step for segment in segments if segment.failed]
    lower = np.full(len(failed), 0.02)  # of the height of the axes
    axes.plot(failed, lower, transform=axes.get_xaxis_transform(), **CROSS)
    handles = [
        crowd.legend_entry() if crowded else Line2D([], [], label="all members", **THIN),
        Line2D([], [], label="best", **best),
        Line2D([], [], label="median", **DASHED),
        Line2D([], [], label=lineage_label(record, line[-1]), **THICK),
    ]
    if jumps(line, record.copied):
        handles.append(Line2D([], [], label="inherited", markeredgewidth=1.4, **tick_mark()))
    if failed:
        handles.append(Line2D([], [], label="failed", **CROSS))
    explain(axes, handles, below=own, columns=3)
    return figure


def lineage_label(record: Record, leaf: Segment) -> str:
    """Return the name of a lineage: "lineage of the winner, member 3", or "lineage of member 5"."""
    last = record.last.values()
    won = any(not segment.failed for segment in last) and leaf.id == record.winner.id
    return f"lineage of {'the winner, ' if won else ''}member {leaf.member}"


def draw_scores(axes: Axes, record: Record, line: Sequence[Segment], *, crowded: bool) -> None:
    """Draw the metric that ranks: a line from the source's value to the segment's own.

    Args:
        axes: Panel to draw in.
        record: Record with at least one segment.
        line: Lineage to draw thick, root first.
        crowded: Whether the others are a band.
    """
    segments = record.segments
    shown = record.ranking.shown
    if crowded:
        values = {segment.id: shown(segment.score) for segment in segments}
        crowd.draw_band(axes, [each for each in segments if not each.failed], values, sloped=True)
    else:
        by_id = index(segments)
        xs: list[float] = []
        ys: list[float] = []
        for segment in segments:
            before = segment if segment.source is None else by_id.get(segment.source, segment)
            xs += before.last_step, segment.last_step, np.nan
            ys += shown(before.score), shown(segment.score), np.nan
        axes.plot(xs, ys, alpha=0.75, zorder=1, marker=".", markersize=2.5, **THIN)

    steps = [segment.last_step for segment in line]
    scores = [shown(segment.score) for segment in line]
    axes.plot(steps, scores, zorder=3, marker=".", markersize=5, **THICK)
    donors = [donor for donor, _ in jumps(line, record.copied)]
    draw_ticks(axes, [each.last_step for each in donors], [shown(each.score) for each in donors])


def _draw_summary(axes: Axes, record: Record, best: dict[str, Any]) -> None:
    """Draw the best and the median of each interval, over the median step of its members."""
    alive = [segment for segment in record.segments if not segment.failed]
    steps: list[float] = []
    highest: list[float] = []
    middle: list[float] = []
    for _, end, group in crowd.over_steps(alive):
        found = [segment.score for segment in group]
        steps.append(end)
        highest.append(record.ranking.shown(max(found)))
        middle.append(record.ranking.shown(float(np.median(found))))
    axes.plot(steps, highest, zorder=2.5, **best)
    axes.plot(steps, middle, zorder=2.5, **DASHED)


def draw_ticks(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Draw the marks of inheritances on a line."""
    axes.plot(x, y, markeredgewidth=1.4, zorder=4, **tick_mark())
