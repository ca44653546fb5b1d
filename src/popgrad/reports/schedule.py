"""Figures of hyperparameters over training: the schedule of a lineage among all others, and a rate alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.core.space import Choice, Dimension, Ordinal, Space
from popgrad.core.spelling import did_you_mean
from popgrad.record.lineage import jumps
from popgrad.record.live import Curves, live_points
from popgrad.record.record import Record
from popgrad.reports import crowd
from popgrad.reports.axes import TICKS, TITLE, dress, limit_height, positions
from popgrad.reports.history import searched
from popgrad.reports.scores import draw_scores, draw_ticks, lineage_label
from popgrad.reports.style import (
    BOUND,
    CROWD,
    DASHED,
    THICK,
    THIN,
    Size,
    metric_values,
    new_figure,
    recorded,
    ring_mark,
    run_title,
    tick_mark,
)

# Decades of a log axis that live rates may add below the recorded ones.
_DECADES_BELOW = 2


def schedule(
    record: Record,
    curves: Curves | None = None,
    *,
    leaf: int | SegmentId | None = None,
    names: Sequence[str] | None = None,
    size: Size | None = None,
) -> Figure:
    """Draw a schedule among all others: a panel for each hyperparameter, the metric below.

    The horizontal axis counts training steps along the lineage. Every segment hangs on the one it
    started from, so the thin lines are the family tree; from 20 members on, a band holds the middle
    80 % of them. The lineage is thick, with a tick wherever an heir took over from a donor. Bounds
    that are in sight are dotted. The live rates of a scheduler are dashed.

    Args:
        record: Record with at least one segment.
        curves: Telemetry by segment, for live values; None = unknown.
        leaf: Member or segment at the end of the lineage; None = the winner.
        names: Hyperparameters to draw; None = all that were searched.
        size: Width and height in inches; None = as the number of panels suggests.

    Raises:
        UsageError: There is no segment, or no such member or hyperparameter.
        AllMembersFailedError: There is no winner.
    """
    segments = recorded(record)
    line = record.lineage(leaf)
    shown = _chosen(record.space, names)
    crowded = len({segment.member for segment in segments}) >= CROWD

    figure = new_figure((9.0, 1.8 + 2.1 * (len(shown) + 1)), size)
    *panels, bottom = figure.subplots(len(shown) + 1, 1, sharex=True, squeeze=False)[:, 0]
    live = False
    bounds = False
    for axes, (name, dimension) in zip(panels, shown.items(), strict=True):
        live |= _draw_hparam(axes, record, line, name, dimension, curves or {}, crowded=crowded)
        bounds |= _draw_bounds(axes, dimension)

    draw_scores(bottom, record, line, crowded=crowded)
    dress(bottom, "y", record.ranking.label, None, metric_values(segments, record))
    limit_height(bottom, record)
    steps = max(segment.last_step for segment in segments)
    dress(bottom, "x", "training steps", None, np.array([0.0, steps]))
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.set_xlim(0, 1.01 * steps)  # room for the last mark
    figure.align_ylabels([*panels, bottom])
    figure.suptitle(run_title(record), size=TITLE)

    handles = [
        crowd.legend_entry() if crowded else Line2D([], [], label="all members", **THIN),
        Line2D([], [], label=lineage_label(record, line[-1]), **THICK),
    ]
    if bounds:
        handles.append(Line2D([], [], label="bound", **BOUND))
    _legend(figure, handles, jumps=bool(jumps(line, record.copied)), live=live)
    return figure


def _chosen(space: Space, names: Sequence[str] | None) -> dict[str, Dimension]:
    """Return the dimensions to draw by name."""
    if names is None:
        return searched(space)
    for name in names:
        _check_name(space, name)
    return {name: space[name] for name in names}


def _check_name(space: Space, name: str) -> None:
    if name not in space:
        raise UsageError(
            f"there is no hyperparameter {name!r} to draw{did_you_mean(name, space)}; "
            f"there is {', '.join(space)}"
        )


def _draw_bounds(axes: Axes, dimension: Dimension) -> bool:
    """Draw the bounds of a range that the axis reaches; return whether there are any."""
    lowest, highest = axes.get_ylim()
    bounds = [getattr(dimension, name, None) for name in ("low", "high")]
    in_sight = [float(each) for each in bounds if each is not None and lowest <= each <= highest]
    for bound in in_sight:
        axes.axhline(bound, zorder=0.5, **BOUND)
    return bool(in_sight)


def rate(
    record: Record,
    leaf: int | SegmentId | None = None,
    *,
    name: str = "lr",
    steps_per_epoch: int | None = None,
    curves: Curves | None = None,
    size: Size | None = None,
) -> Figure:
    """Draw a hyperparameter along a lineage, such as the learning rate, step by step.

    It is what trained the weights: from the first member of the lineage to the last one. A ring
    marks each value with which an heir started on a donor's weights. The live rates of a scheduler
    are dashed.

    Args:
        record: Record with at least one segment.
        leaf: Member or segment at the end of the lineage; None = the winner.
        name: The hyperparameter.
        steps_per_epoch: Makes the axis epochs; None = training steps.
        curves: Telemetry by segment, for live values; None = unknown.
        size: Width and height in inches; None = 8 x 4.8.

    Raises:
        UsageError: There is no such segment or hyperparameter.
        AllMembersFailedError: There is no winner.
    """
    recorded(record)
    space = record.space
    _check_name(space, name)
    line = record.lineage(leaf)
    scale = steps_per_epoch or 1
    values = positions(line, name, space[name])
    edges = np.array([0, *(segment.last_step for segment in line)]) / scale
    heirs = [i for i, segment in enumerate(line) if segment.id in record.copied]

    figure = new_figure((8.0, 4.8), size)
    axes = figure.add_subplot()
    axes.plot(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), **THICK)
    # A ring, since a tick would hide in the vertical strokes.
    axes.plot(edges[heirs], values[heirs], zorder=4, **ring_mark())
    dress(axes, "y", name, space[name], values)
    live = _draw_live(axes, line, name, curves or {}, scale)
    dress(axes, "x", "training steps" if steps_per_epoch is None else "epoch", None, edges)
    axes.set_xlim(0, 1.01 * edges[-1])  # room for the last mark

    whose = "the winner, " if leaf is None else ""
    axes.set_title(f"{name} along the lineage of {whose}member {line[-1].member}", size=TITLE)
    base = Line2D([], [], label=f"{name} as recorded", **THICK)
    _legend(figure, [base], rings=bool(heirs), live=live)
    return figure


def _legend(
    figure: Figure,
    handles: Sequence[Artist],
    *,
    jumps: bool = False,
    rings: bool = False,
    live: bool = False,
) -> None:
    """Explain the lines, and the marks that occur, below the panels."""
    marks = list(handles)
    if jumps:
        marks.append(
            Line2D([], [], label="inherited from a donor", markeredgewidth=1.4, **tick_mark())
        )
    if rings:
        marks.append(Line2D([], [], label="inherited from a donor", **ring_mark()))
    if live:
        text = "live: the recorded base, multiplied by the task's scheduler"
        marks.append(Line2D([], [], label=text, **DASHED))
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=2 if live else 4,
        frameon=False,
        fontsize=TICKS,
    )


def _draw_hparam(
    axes: Axes,
    record: Record,
    line: Sequence[Segment],
    name: str,
    dimension: Dimension,
    curves: Curves,
    *,
    crowded: bool,
) -> bool:
    """Draw the panel of a hyperparameter; return whether it has live values."""
    segments = record.segments
    values = positions(segments, name, dimension)
    by_id = dict(zip([segment.id for segment in segments], values.tolist(), strict=True))
    if not crowded:
        _draw_tree(axes, segments, by_id)
    elif isinstance(dimension, Choice | Ordinal):
        crowd.draw_shares(axes, segments, by_id)
    else:
        crowd.draw_band(axes, segments, by_id)

    edges = [edge for segment in line for edge in (segment.first_step, segment.last_step)]
    axes.plot(edges, [by_id[segment.id] for segment in line for _ in range(2)], zorder=3, **THICK)
    heirs = [heir for _, heir in jumps(line, record.copied)]
    draw_ticks(axes, [heir.first_step for heir in heirs], [by_id[heir.id] for heir in heirs])
    dress(axes, "y", name, dimension, values)
    return _draw_live(axes, line, name, curves)


def _draw_tree(axes: Axes, segments: Sequence[Segment], values: Mapping[SegmentId, float]) -> None:
    """Draw values, piecewise constant: a vertical stroke from the source's, then the segment's own."""
    xs: list[float] = []
    ys: list[float] = []
    for segment in segments:
        here = values[segment.id]
        before = here if segment.source is None else values.get(segment.source, here)
        xs += segment.first_step, segment.first_step, segment.last_step, np.nan
        ys += before, here, here, np.nan
    axes.plot(xs, ys, alpha=0.75, zorder=1, **THIN)


def _draw_live(
    axes: Axes, line: Sequence[Segment], name: str, curves: Curves, scale: float = 1
) -> bool:
    """Draw the live values along a lineage, dashed; return whether there are any."""
    points = [point for segment in line for point in live_points(segment, curves, name)]
    logarithmic = axes.get_yscale() == "log"
    # A log axis has no zero, with which many schedulers end.
    points = [(step, value) for step, value in points if value > 0 or not logarithmic]
    if not points:
        return False

    lowest, _ = axes.get_ylim()
    steps, values = zip(*points, strict=True)
    axes.plot(np.array(steps) / scale, values, zorder=3.5, **DASHED)
    if logarithmic:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], lowest * 10.0**-_DECADES_BELOW))
    return True
