"""Figures of a run: the region that the population searched, its schedule, and a rate along a lineage.

They are drawn on `matplotlib.figure.Figure` alone, so nothing global (pyplot, a backend) is
touched, and equal arguments give equal PNG files.
"""

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from popgrad.core.errors import UsageError
from popgrad.core.population import Segment, SegmentId
from popgrad.core.space import Choice, Dimension, Ordinal
from popgrad.record.lineage import index, inherited, jumps
from popgrad.record.live import Curves, live_points
from popgrad.record.record import Record
from popgrad.report import crowd
from popgrad.report.axes import TICKS, TITLE, dress, limit_height, positions
from popgrad.report.history import searched
from popgrad.report.results import results
from popgrad.report.style import (
    DASHED,
    DPI,
    RING,
    THICK,
    THIN,
    TICK,
    metric_values,
    recorded,
    run_title,
)
from popgrad.store.atomic import replacing

__all__ = ["results", "schedule", "rate", "save"]

CROWD = 20
"""Members from which on the others are drawn as a band, since their lines would cover everything."""

# Decades of a log axis that live rates may add below the recorded ones.
_DECADES_BELOW = 2


def schedule(record: Record, curves: Curves | None = None) -> Figure:
    """Draw the winner's schedule among all others: a panel for each hyperparameter, the metric below.

    The horizontal axis counts training steps along the lineage. Every segment hangs on the one it
    started from, so the thin lines are the family tree; from 20 members on, a band holds the middle
    80 % of them. The winner's lineage is thick, with a tick wherever an heir took over from a donor.
    The live rates of a scheduler are dashed.

    Args:
        record: Record with at least one segment.
        curves: Telemetry by segment, for live values; None = unknown.

    Raises:
        UsageError: There is no segment.
        AllMembersFailedError: There is no winner.
    """
    segments = recorded(record)
    winner = record.winner
    shown = searched(record.space)
    line = record.lineage(winner.id)
    crowded = len({segment.member for segment in segments}) >= CROWD

    figure = Figure(figsize=(9.0, 1.8 + 2.1 * (len(shown) + 1)), dpi=DPI, layout="constrained")
    *panels, bottom = figure.subplots(len(shown) + 1, 1, sharex=True, squeeze=False)[:, 0]
    live = False
    for axes, (name, dimension) in zip(panels, shown.items(), strict=True):
        live |= _draw_hparam(axes, record, line, name, dimension, curves or {}, crowded=crowded)

    _draw_scores(bottom, record, line, crowded=crowded)
    dress(bottom, "y", record.ranking.label, None, metric_values(segments, record))
    limit_height(bottom, record)
    steps = max(segment.last_step for segment in segments)
    dress(bottom, "x", "training steps", None, np.array([0.0, steps]))
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.set_xlim(0, 1.01 * steps)  # room for the last mark
    figure.align_ylabels([*panels, bottom])
    figure.suptitle(run_title(record), size=TITLE)

    others = crowd.legend_entry() if crowded else Line2D([], [], label="all members", **THIN)
    lineage = Line2D([], [], label=f"lineage of the winner, member {winner.member}", **THICK)
    _legend(figure, [others, lineage], jumps=bool(jumps(line)), live=live)
    return figure


def rate(
    record: Record,
    leaf: int | SegmentId | None = None,
    *,
    name: str = "lr",
    steps_per_epoch: int | None = None,
    curves: Curves | None = None,
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

    Raises:
        UsageError: There is no such segment or hyperparameter.
        AllMembersFailedError: There is no winner.
    """
    recorded(record)
    space = record.space
    if name not in space:
        raise UsageError(
            f"there is no hyperparameter {name!r} to draw; there is {', '.join(space)}"
        )

    line = record.lineage(leaf)
    scale = steps_per_epoch or 1
    values = positions(line, name, space[name])
    edges = np.array([0, *(segment.last_step for segment in line)]) / scale
    heirs = [i for i, segment in enumerate(line) if inherited(segment)]

    figure = Figure(figsize=(8.0, 4.8), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), **THICK)
    # A ring, since a tick would hide in the vertical strokes.
    axes.plot(edges[heirs], values[heirs], zorder=4, **RING)
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
        marks.append(Line2D([], [], label="inherited from a donor", markeredgewidth=1.4, **TICK))
    if rings:
        marks.append(Line2D([], [], label="inherited from a donor", **RING))
    if live:
        text = "live: the recorded base, multiplied by the task's scheduler"
        marks.append(Line2D([], [], label=text, **DASHED))
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=2 if live else 3,
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
    heirs = [heir for _, heir in jumps(line)]
    _draw_ticks(axes, [heir.first_step for heir in heirs], [by_id[heir.id] for heir in heirs])
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


def _draw_scores(axes: Axes, record: Record, line: Sequence[Segment], *, crowded: bool) -> None:
    """Draw the metric that ranks: a line from the source's value to the segment's own."""
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
    donors = [donor for donor, _ in jumps(line)]
    _draw_ticks(axes, [each.last_step for each in donors], [shown(each.score) for each in donors])


def _draw_ticks(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, markeredgewidth=1.4, zorder=4, **TICK)


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
