"""The figure of the region that a population searched: `results.png`."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.seeding import Floats
from popgrad.core.segment import Segment
from popgrad.core.space import Dimension
from popgrad.record.record import Record
from popgrad.reports.axes import TICKS, TITLE, dress, limit_height, positions
from popgrad.reports.colours import Colours, score_colours
from popgrad.reports.history import searched
from popgrad.reports.style import (
    COLOURS,
    CROSS,
    DOT,
    FIRST,
    STAR,
    THICK,
    Size,
    ink,
    last_mark,
    metric_values,
    new_figure,
    recorded,
    run_title,
)

MOST_PANELS = 9
# Distance, as a share of the axes, below which two large marks hide each other.
_TOUCHING = 0.015
# The same, below which two numbers would.
_LABELS_TOUCHING = 0.12

Coordinate = tuple[str, Dimension | None, Floats]
"""Label, dimension and [S] positions along an axis."""


def results(record: Record, size: Size | None = None) -> Figure:
    """Draw the region that the population searched: all segments, the winner as a star.

    Two searched hyperparameters are the axes, and the colour is the metric that ranks; the colours
    end at the worst 5 %. With any other number each hyperparameter has a panel against the metric,
    at most nine, and the colour is the interval. A single member is a curve over training steps.
    Failed segments are grey crosses (at the lower edge if the metric is an axis). A number counts
    members of the last interval that hide each other.

    Args:
        record: Record with at least one segment.
        size: Width and height in inches; None = as the number of panels suggests.

    Raises:
        UsageError: There is no segment.
    """
    segments = recorded(record)
    if len({segment.member for segment in segments}) == 1:
        return _course(record, size)

    dimensions = searched(record.space)
    x: list[Coordinate] = [
        (name, each, positions(segments, name, each, spread=0.5))
        for name, each in dimensions.items()
    ]
    if len(x) == 2:
        return _plane(record, x[0], x[1], size)
    if not x:
        x = [("training steps", None, np.array([float(each.last_step) for each in segments]))]
    return _slices(record, x, size)


def _plane(record: Record, x: Coordinate, y: Coordinate, size: Size | None) -> Figure:
    """Draw two hyperparameters against each other, coloured by the metric."""
    figure = new_figure((8.0, 6.4), size)
    axes = figure.add_subplot()
    colours = score_colours(record)

    _scatter(axes, record.segments, x[2], y[2], colours)
    dress(axes, "x", *x)
    dress(axes, "y", *y)
    _mark(axes, record, x[2], y[2])
    axes.set_title(run_title(record), size=TITLE)
    colours.draw_bar(figure, [axes])
    _legend(figure, record)
    return figure


def _slices(record: Record, x: Sequence[Coordinate], size: Size | None) -> Figure:
    """Draw each hyperparameter against the metric, coloured by interval."""
    segments = record.segments
    drawn, left_out = x[:MOST_PANELS], x[MOST_PANELS:]
    columns = min(3, len(drawn))
    lines = -(-len(drawn) // columns)
    default = (8.0, 6.4) if len(drawn) == 1 else (4.0 * columns, 3.1 * lines + 1.3)
    figure = new_figure(default, size)

    values = metric_values(segments, record)
    intervals = np.array([float(segment.interval) for segment in segments])
    norm = Normalize(0.0, max(1.0, float(intervals.max())))
    colours = Colours(intervals, matplotlib.colormaps[COLOURS], norm, "interval")
    panels: list[Axes] = []
    for number, (label, dimension, at) in enumerate(drawn):
        axes = figure.add_subplot(lines, columns, number + 1, sharey=panels[0] if panels else None)
        _scatter(axes, segments, at, values, colours)
        dress(axes, "x", label, dimension, at)
        dress(axes, "y", "" if number % columns else record.ranking.label, None, values)
        panels.append(axes)

    limit_height(panels[0], record)
    for axes, (_, _, at) in zip(panels, drawn, strict=True):
        _mark(axes, record, at, values)
    title = run_title(record)
    if left_out:
        names = ", ".join(label for label, _, _ in left_out)
        title += f"\nthe first {len(drawn)} of {len(x)} hyperparameters; not drawn: {names}"
    figure.suptitle(title, size=TITLE)
    bar = colours.draw_bar(figure, panels)
    bar.locator = MaxNLocator(integer=True)
    _legend(figure, record)
    return figure


def _course(record: Record, size: Size | None) -> Figure:
    """Draw the metric of a single member over its training steps."""
    segments = record.segments
    steps = np.array([float(segment.last_step) for segment in segments])
    values = metric_values(segments, record)
    figure = new_figure((8.0, 5.0), size)
    axes = figure.add_subplot()

    axes.plot(steps, values, marker="o", markersize=5, **THICK)
    failed = ~np.isfinite(values)
    lower = np.full(failed.sum(), 0.02)  # of the height of the axes
    axes.plot(steps[failed], lower, transform=axes.get_xaxis_transform(), **CROSS)
    dress(axes, "x", "training steps", None, steps)
    dress(axes, "y", record.ranking.label, None, values)
    limit_height(axes, record)
    axes.set_xlim(0, 1.02 * steps.max())
    axes.set_title(run_title(record), size=TITLE)
    return figure


def _scatter(
    axes: Axes,
    segments: Sequence[Segment],
    x: Floats,
    y: Floats,
    colours: Colours,
) -> None:
    """Draw the segments.

    Args:
        axes: Panel to draw in.
        segments: [S] segments.
        x: [S] positions.
        y: [S] positions.
        colours: Their colours.
    """
    alive = np.array([not segment.failed for segment in segments])
    intervals = np.array([segment.interval for segment in segments])
    last = alive & (intervals == intervals.max())
    first = alive & (intervals == intervals.min()) & ~last
    middle = alive & ~first & ~last
    values = colours.values
    colour: dict[str, Any] = {"cmap": colours.map, "norm": colours.norm}

    axes.scatter(x[middle], y[middle], c=values[middle], s=26, linewidths=0, zorder=2, **colour)
    rims: Any = colours.map(colours.norm(values[first]))
    axes.scatter(
        x[first], y[first], s=72, facecolors="none", edgecolors=rims, linewidths=2.0, zorder=3
    )
    rim: dict[str, Any] = {"edgecolors": ink(), "linewidths": 1.8}
    axes.scatter(x[last], y[last], c=values[last], s=76, zorder=4, **rim, **colour)

    # A failed member without a finite value is marked at the lower edge of the axes.
    placed = ~alive & np.isfinite(y)
    edge = ~alive & ~np.isfinite(y)
    axes.plot(x[placed], y[placed], zorder=2.5, **CROSS)
    lower = np.full(edge.sum(), 0.02)  # of the height of the axes
    axes.plot(x[edge], lower, zorder=1, transform=axes.get_xaxis_transform(), **CROSS)


def _mark(axes: Axes, record: Record, x: Floats, y: Floats) -> None:
    """Mark the winner with a star, and members that hide each other with their number."""
    segments = record.segments
    with suppress(AllMembersFailedError):
        winner = record.winner
        at = segments.index(winner)
        axes.plot(x[at], y[at], zorder=6, **STAR)

    newest = max(segment.interval for segment in segments)
    last = [i for i, each in enumerate(segments) if each.interval == newest and not each.failed]
    for i, count in _crowds(axes, x, y, last):
        axes.annotate(
            f"x{count}",
            (x[i], y[i]),
            textcoords="offset points",
            xytext=(7, 5),
            size=TICKS,
            zorder=7,
        )


def _crowds(axes: Axes, x: Floats, y: Floats, indices: Sequence[int]) -> list[tuple[int, int]]:
    """Return (first of them, number) for each group of points that lie upon each other."""
    axes.get_xlim()
    axes.get_ylim()
    to_axes = axes.transScale + axes.transLimits
    groups: list[tuple[int, Any, int]] = []
    for i in indices:
        place = to_axes.transform((x[i], y[i]))
        for number, (first, other, count) in enumerate(groups):
            if math.dist(place, other) < _TOUCHING:
                groups[number] = (first, other, count + 1)
                break
        else:
            groups.append((i, place, 1))

    # The largest groups get a number as long as there is room.
    labelled: list[tuple[int, Any, int]] = []
    for group in sorted(groups, key=lambda group: -group[2]):
        far = all(math.dist(group[1], other) >= _LABELS_TOUCHING for _, other, _ in labelled)
        if group[2] > 1 and far:
            labelled.append(group)
    return [(first, count) for first, _, count in labelled]


def _legend(figure: Figure, record: Record) -> None:
    """Explain the marks that occur below the panels."""
    segments = record.segments
    intervals = len({segment.interval for segment in segments})
    # Colours of viridis.
    dark = "#31688E"
    bright = "#8FD744"
    marks = [
        (intervals > 1, {"label": "first interval", "markeredgecolor": dark, **DOT, **FIRST}),
        (intervals > 2, {"label": "in between", "color": dark, "markersize": 5, **DOT}),
        (True, {"label": "last interval", "markerfacecolor": bright, **DOT, **last_mark()}),
        (any(segment.failed for segment in segments), {"label": "failed", **CROSS}),
    ]
    with suppress(AllMembersFailedError):
        marks.append((True, {"label": f"winner, member {record.winner.member}", **STAR}))
    handles = [Line2D([], [], **style) for seen, style in marks if seen]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=TICKS
    )
