"""Figures of a run: the region that the population searched, its schedule, and the course of one slot.

They are drawn on `matplotlib.figure.Figure` alone, so nothing global (pyplot, a backend) is
touched, and equal arguments give equal PNG files.
"""

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from popgrad.core.errors import UsageError
from popgrad.core.population import Segment, SegmentId
from popgrad.core.seeding import Floats
from popgrad.core.space import Dimension
from popgrad.record.lineage import index, inherited, jumps
from popgrad.record.record import Record
from popgrad.report.axes import LABEL, TICKS, TITLE, dress, positions
from popgrad.report.history import searched
from popgrad.store.atomic import replacing

DPI = 150
# Ordered by lightness too, so that it survives colour blindness and grey print.
COLOURS = "viridis"
# Vermilion of Okabe and Ito's palette: far from grey and from viridis, to every eye.
WINNER = "#D55E00"
OTHERS = "#9A9A9A"
# Percentile of the scores: a few bad ones must not take all the colours or all the height.
LOWEST_SHOWN = 5

_DOT: dict[str, Any] = {"linestyle": "none", "marker": "o"}
_FIRST: dict[str, Any] = {"markersize": 8.5, "markerfacecolor": "none", "markeredgewidth": 2.0}
_LAST: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "markeredgewidth": 1.8}
_CROSS: dict[str, Any] = {"linestyle": "none", "marker": "x", "color": OTHERS, "markersize": 6}
_TICK: dict[str, Any] = {"linestyle": "none", "marker": "|", "color": "black", "markersize": 11}
_RING: dict[str, Any] = {**_DOT, "color": "black", "markerfacecolor": "white", "markersize": 6}
_THIN: dict[str, Any] = {"color": OTHERS, "linewidth": 0.8}
_THICK: dict[str, Any] = {"color": WINNER, "linewidth": 2.6}


def results(record: Record) -> Figure:
    """Draw the region that the population searched: all segments, coloured by score.

    The axes are the first two searched hyperparameters; a single one is drawn against the score,
    and without any the score is drawn against training steps. Failed segments are grey crosses (at
    the lower edge if the score is an axis). The colours begin at the 5th percentile of the scores.

    Args:
        record: Record with at least one segment.

    Raises:
        UsageError: There is no segment.
    """
    segments = _segments(record)
    scores = _scores(segments)
    coordinates: list[tuple[str, Dimension | None, Floats]] = [
        (name, each, positions(segments, name, each, spread=0.5))
        for name, each in list(searched(record.space).items())[:2]
    ]
    if not coordinates:
        coordinates = [
            ("training steps", None, np.array([float(each.last_step) for each in segments]))
        ]
    if len(coordinates) == 1:
        coordinates.append((record.score_name, None, scores))
    (*_, x), (*_, y) = coordinates

    figure = Figure(figsize=(8.0, 6.0), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    points = _scatter(axes, segments, x, y)
    for which, (label, dimension, values) in zip("xy", coordinates, strict=True):
        dress(axes, which, label, dimension, values)
    axes.set_title(_size(segments), size=TITLE)
    hidden = bool((scores[np.isfinite(scores)] < points.norm.vmin).any())
    bar = figure.colorbar(points, ax=axes, extend="min" if hidden else "neither")
    bar.set_label(record.score_name, size=LABEL)
    bar.ax.tick_params(labelsize=TICKS)
    figure.legend(
        handles=_marks(segments), loc="outside lower center", ncols=4, frameon=False, fontsize=TICKS
    )
    return figure


def _scatter(axes: Axes, segments: Sequence[Segment], x: Floats, y: Floats) -> Any:
    """Draw the segments, and return the artist that the colour bar explains."""
    scores = _scores(segments)
    alive = np.isfinite(scores)
    intervals = np.array([segment.interval for segment in segments])
    last = alive & (intervals == intervals.max())
    first = alive & (intervals == intervals.min()) & ~last
    middle = alive & ~first & ~last
    colour: dict[str, Any] = {"cmap": COLOURS, "norm": _norm(scores)}

    points = axes.scatter(
        x[middle], y[middle], c=scores[middle], s=26, linewidths=0, zorder=2, **colour
    )
    rims: Any = points.cmap(points.norm(scores[first]))
    axes.scatter(
        x[first], y[first], s=72, facecolors="none", edgecolors=rims, linewidths=2.0, zorder=3
    )
    axes.scatter(
        x[last],
        y[last],
        c=scores[last],
        s=76,
        edgecolors="black",
        linewidths=1.8,
        zorder=4,
        **colour,
    )

    # A failed member without a finite value is marked at the lower edge of the axes.
    placed = ~alive & np.isfinite(y)
    edge = ~alive & ~np.isfinite(y)
    axes.plot(x[placed], y[placed], zorder=2.5, **_CROSS)
    lower = np.full(edge.sum(), 0.02)  # of the height of the axes
    axes.plot(x[edge], lower, zorder=1, transform=axes.get_xaxis_transform(), **_CROSS)
    return points


def _norm(scores: Floats) -> Normalize:
    alive = scores[np.isfinite(scores)]
    if not len(alive):
        return Normalize(0.0, 1.0)

    low = float(np.percentile(alive, LOWEST_SHOWN))
    high = float(alive.max())
    if low == high:
        low = float(alive.min())
    # If all scores are equal, any range will do.
    margin = 0.0 if low < high else 0.01 * max(abs(high), 1.0)
    return Normalize(low - margin, high + margin)


def _marks(segments: Sequence[Segment]) -> list[Line2D]:
    """Return the entries of the legend, for marks that occur."""
    intervals = len({segment.interval for segment in segments})
    # Colours of viridis.
    dark = "#31688E"
    bright = "#8FD744"
    marks = [
        (intervals > 1, {"label": "first interval", "markeredgecolor": dark, **_DOT, **_FIRST}),
        (intervals > 2, {"label": "in between", "color": dark, "markersize": 5, **_DOT}),
        (True, {"label": "last interval", "markerfacecolor": bright, **_DOT, **_LAST}),
        (any(segment.failed for segment in segments), {"label": "failed", **_CROSS}),
    ]
    return [Line2D([], [], **style) for seen, style in marks if seen]


def schedule(record: Record) -> Figure:
    """Draw the winner's schedule among all others: a panel for each hyperparameter, the score below.

    The horizontal axis counts training steps along the lineage. Every segment hangs on the one it
    started from, so the thin lines are the family tree; the winner's lineage is thick, with a tick
    wherever an heir took over from a donor.

    Args:
        record: Record with at least one segment.

    Raises:
        UsageError: There is no segment.
        NobodyLeftError: There is no winner.
    """
    segments = _segments(record)
    winner = record.winner
    shown = searched(record.space)
    line = record.lineage(winner.id)

    figure = Figure(figsize=(9.0, 1.4 + 2.1 * (len(shown) + 1)), dpi=DPI, layout="constrained")
    *panels, bottom = figure.subplots(len(shown) + 1, 1, sharex=True, squeeze=False)[:, 0]
    ids = [segment.id for segment in segments]
    for axes, (name, dimension) in zip(panels, shown.items(), strict=True):
        values = positions(segments, name, dimension)
        _draw_values(axes, segments, dict(zip(ids, values.tolist(), strict=True)), line)
        dress(axes, "y", name, dimension, values)

    _draw_scores(bottom, segments, line)
    dress(bottom, "y", record.score_name, None, _scores(segments))
    steps = max(segment.last_step for segment in segments)
    dress(bottom, "x", "training steps", None, np.array([0.0, steps]))
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.set_xlim(0, 1.01 * steps)  # room for the last mark
    figure.align_ylabels([*panels, bottom])

    handles = [
        Line2D([], [], label="all members", **_THIN),
        Line2D([], [], label=f"lineage of the winner, member {winner.member}", **_THICK),
    ]
    if jumps(line):
        handles.append(Line2D([], [], label="inherited from a donor", markeredgewidth=1.4, **_TICK))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=TICKS
    )
    return figure


def rate(
    record: Record, member: int, *, name: str = "lr", steps_per_epoch: int | None = None
) -> Figure:
    """Draw a hyperparameter of one slot, such as the learning rate, step by step.

    The horizontal axis counts the steps that the slot itself has trained, so it has no gaps if the
    slot inherits. A ring marks each value with which it started on a donor's weights.

    Args:
        record: Record with at least one segment of the member.
        member: The slot.
        name: The hyperparameter.
        steps_per_epoch: Makes the axis epochs; None = training steps.

    Raises:
        UsageError: There is no such segment or hyperparameter.
    """
    segments = _segments(record)
    space = record.space
    if name not in space:
        raise UsageError(
            f"there is no hyperparameter {name!r} to draw; there is {', '.join(space)}"
        )

    own = sorted(
        (segment for segment in segments if segment.member == member),
        key=lambda segment: segment.interval,
    )
    if not own:
        members = sorted({segment.member for segment in segments})
        raise UsageError(f"member {member} has no finished segment; members that have: {members}")

    edges = np.cumsum([0, *(each.steps for each in own)]) / (steps_per_epoch or 1)
    values = positions(own, name, space[name])
    heirs = [i for i, each in enumerate(own) if inherited(each)]

    figure = Figure(figsize=(8.0, 4.5), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), **_THICK)
    # A ring, since a tick would hide in the vertical strokes.
    axes.plot(edges[heirs], values[heirs], zorder=4, **_RING)
    dress(axes, "y", name, space[name], values)
    dress(axes, "x", "training steps" if steps_per_epoch is None else "epoch", None, edges)
    axes.set_xlim(0, 1.01 * edges[-1])  # room for the last mark
    axes.set_title(f"{name} of member {member}", size=TITLE)
    if heirs:
        mark = Line2D([], [], label="inherited from a donor", **_RING)
        figure.legend(handles=[mark], loc="outside lower center", frameon=False, fontsize=TICKS)
    return figure


def _draw_values(
    axes: Axes,
    segments: Sequence[Segment],
    values: Mapping[SegmentId, float],
    line: Sequence[Segment],
) -> None:
    """Draw values, piecewise constant: a vertical stroke from the source's, then the segment's own."""
    xs: list[float] = []
    ys: list[float] = []
    for segment in segments:
        here = values[segment.id]
        before = here if segment.source is None else values.get(segment.source, here)
        xs += segment.first_step, segment.first_step, segment.last_step, np.nan
        ys += before, here, here, np.nan
    axes.plot(xs, ys, alpha=0.75, zorder=1, **_THIN)

    edges = [edge for segment in line for edge in (segment.first_step, segment.last_step)]
    axes.plot(edges, [values[segment.id] for segment in line for _ in range(2)], zorder=3, **_THICK)
    heirs = [heir for _, heir in jumps(line)]
    _draw_ticks(axes, [heir.first_step for heir in heirs], [values[heir.id] for heir in heirs])


def _draw_scores(axes: Axes, segments: Sequence[Segment], line: Sequence[Segment]) -> None:
    """Draw scores: a line from the source's score to the segment's own."""
    by_id = index(segments)
    xs: list[float] = []
    ys: list[float] = []
    for segment in segments:
        before = segment if segment.source is None else by_id.get(segment.source, segment)
        xs += before.last_step, segment.last_step, np.nan
        ys += before.score, segment.score, np.nan
    axes.plot(xs, ys, alpha=0.75, zorder=1, marker=".", markersize=2.5, **_THIN)

    steps = [segment.last_step for segment in line]
    scores = [segment.score for segment in line]
    axes.plot(steps, scores, zorder=3, marker=".", markersize=5, **_THICK)
    donors = [donor for donor, _ in jumps(line)]
    _draw_ticks(axes, [donor.last_step for donor in donors], [donor.score for donor in donors])

    alive = _scores(segments)
    alive = alive[np.isfinite(alive)]
    if len(alive):
        low = float(np.percentile(alive, LOWEST_SHOWN))
        high = float(alive.max())
        # A few bad scores would flatten all others.
        if 0 < 3 * (high - low) < high - float(alive.min()):
            axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _draw_ticks(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, markeredgewidth=1.4, zorder=4, **_TICK)


def _scores(segments: Sequence[Segment]) -> Floats:
    return np.array([segment.score for segment in segments], dtype=np.float64)


def _size(segments: Sequence[Segment]) -> str:
    counts = {"member": len({each.member for each in segments})}
    counts["interval"] = len({each.interval for each in segments})
    return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items())


def _segments(record: Record) -> tuple[Segment, ...]:
    """Return the segments of a record, at least one."""
    if not record.segments:
        raise UsageError("there is nothing to draw yet: the record has no finished segment")
    return record.segments


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure in the format of the path's suffix; it replaces an older file as a whole."""
    with replacing(Path(path)) as aside:
        figure.savefig(aside, dpi=DPI)


def shown_in_notebooks(figure: Figure) -> Figure:
    """Return a figure that a notebook shows as a picture, also if pyplot is not loaded."""

    def png() -> bytes:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
        return content.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure
