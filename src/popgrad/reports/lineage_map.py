"""The figure of the family tree: a row for each member, bars for segments, and curves from donors to heirs.

A population of more than 200 members is a heat map, with the winner's lineage drawn over it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.seeding import Floats
from popgrad.core.segment import Segment
from popgrad.core.spelling import did_you_mean
from popgrad.record.lineage import ancestors
from popgrad.record.record import Record
from popgrad.reports.axes import LABEL, TICKS, TITLE
from popgrad.reports.colours import Colours, hparam_colours, score_colours
from popgrad.reports.lineage_layout import Layout, lay_out
from popgrad.reports.scores import lineage_label
from popgrad.reports.style import (
    CROSS,
    OTHERS,
    TICK_LENGTH,
    WINNER,
    Size,
    draw_frames,
    explain,
    ink,
    on_axes,
    paper,
    plain_text,
    recorded,
    rectangles,
    ring_mark,
    run_title,
)

MOST_ROWS = 200
"""Members above which the map is a heat map."""

_MOST_ARCS = 40
"""Members above which only copies with living descendants are drawn: the others would hide them."""

_MOST_LABELS = 60
"""Members above which not every row has a label."""

# Heights of bars, as a share of a row: of the lineage, of living branches, of extinct ones.
_HEIGHTS = (0.86, 0.62, 0.34)
_FAINT = 0.4
_MOST_LARGE_LABELS = 30  # members above which the labels of rows are smaller
_FEWEST_ROWS = 4
_GAP = 0.14  # of a segment, at each of its ends, for the curves
_MOST_GAPS = 120  # segments side by side above which bars have no gaps
_POINTS = 14  # of a curve from a donor to an heir
_THREAD: dict[str, Any] = {"color": WINNER, "linewidth": 2.6}


def lineage(
    record: Record,
    leaf: int | SegmentId | None = None,
    *,
    colour: str | None = None,
    axes: Axes | None = None,
    size: Size | None = None,
) -> Figure:
    """Draw the family tree of the population.

    Every member is a row, and each of its segments a bar; a curve leads from a donor to its heir.
    Rows are in an order that keeps the curves short, by roles if there are any. The winner's lineage
    is framed, branches without a living descendant are thin and faint, a cross marks a segment that
    failed, a ring one that started fresh in place of another, a diamond one whose weights were
    transformed. The horizontal axis counts training steps; if a member has returned to fewer steps,
    so that its bars would overlap, it counts intervals.

    Args:
        record: Record with at least one segment.
        leaf: Member or segment whose lineage is framed; None = the winner.
        colour: Hyperparameter that the bars show; None = the metric that ranks.
        axes: Axes to draw on; None = those of a new figure.
        size: Width and height of a new figure in inches; None = as the number of members suggests.

    Raises:
        UsageError: There is no segment, or no such member or hyperparameter.
        AllMembersFailedError: There is no winner.
    """
    recorded(record)
    line = record.lineage(leaf)
    colours = _colours(record, colour)
    layout = lay_out(record)
    rows = len(layout.rows)
    own = axes is None
    height = 8.0 if rows > MOST_ROWS else min(12.0, max(3.2, 1.6 + 0.3 * rows))
    axes, figure = on_axes(axes, (11.0, height), size)

    if rows > MOST_ROWS:
        marks = _draw_heat_map(axes, record, line, layout, colours)
    else:
        marks = _draw_bars(axes, record, line, layout, colours)
    _dress(axes, layout)
    axes.set_xlabel("interval" if rows > MOST_ROWS else layout.label, size=LABEL)
    axes.set_title(run_title(record), size=TITLE)
    colours.draw_bar(figure, [axes], pad=0.02, fraction=0.05)
    frame = Line2D([], [], label=lineage_label(record, line[-1]), **_THREAD)
    explain(axes, [frame, *marks], below=own)
    return figure


def _colours(record: Record, name: str | None) -> Colours:
    if name is None:
        return score_colours(record)
    if name not in record.space:
        raise UsageError(
            f"colour: there is no hyperparameter {name!r}{did_you_mean(name, record.space)}; "
            f"there is {', '.join(record.space)}"
        )
    return hparam_colours(record, name)


def _dress(axes: Axes, layout: Layout) -> None:
    """Set labels and ticks, and separate the roles."""
    members = sorted(layout.rows, key=layout.rows.__getitem__)
    # A few rows are not stretched over the whole height.
    margin = max(0.6, (_FEWEST_ROWS - len(members)) / 2)
    axes.set_ylim(len(members) - 1 + margin, -margin)
    axes.set_ylabel("member", size=LABEL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=TICKS)
    axes.tick_params(axis="y", length=0)
    every = -(-len(members) // _MOST_LABELS)
    shown = range(0, len(members), every)
    axes.yaxis.set_major_locator(FixedLocator(shown))
    axes.set_yticklabels([_row_label(row, members[row], layout) for row in shown])
    if len(members) > _MOST_LARGE_LABELS:
        axes.tick_params(axis="y", labelsize=TICKS - 3)
    for _, first, _ in layout.groups[1:]:
        axes.axhline(first - 0.5, color=ink(), linewidth=0.8)


def _row_label(row: int, member: int, layout: Layout) -> str:
    """Return the member, with its role before it in the first row of the role."""
    roles = [
        plain_text(role, TICK_LENGTH) for role, first, _ in layout.groups if first == row and role
    ]
    return "  ".join([*roles, str(member)])


# --- bars -----------------------------------------------------------------------------------------


def _draw_bars(
    axes: Axes, record: Record, line: Sequence[Segment], layout: Layout, colours: Colours
) -> list[Artist]:
    """Draw a bar for each segment and a curve for each inheritance; return entries of the legend."""
    segments = record.segments
    threads = {segment.id for segment in line}
    alive = ancestors(segments, [each.id for each in record.last.values() if not each.failed])
    kinds = np.array([0 if s.id in threads else 1 if s.id in alive else 2 for s in segments])
    times = np.array([layout.times[segment.id] for segment in segments])
    rows = np.array([layout.rows[segment.member] for segment in segments])
    gap = _GAP * float(np.median(times[:, 1] - times[:, 0]))
    if np.ptp(times) > _MOST_GAPS * gap / _GAP:
        gap = 0.0
    begins = times[:, 0] + np.minimum(gap, 0.2 * (times[:, 1] - times[:, 0]))
    ends = times[:, 1] - np.minimum(gap, 0.2 * (times[:, 1] - times[:, 0]))

    faces = colours.rgba()
    broken = ~np.isfinite(colours.values)
    faces[broken] = to_rgba(OTHERS, 0.5)
    faces[kinds == 2, 3] *= _FAINT
    axes.set_xlim(float(times.min()), float(times.max()))
    own = kinds == 0
    draw_frames(axes, begins[own], ends[own], rows[own], _HEIGHTS[0], faces[own])
    for kind in (1, 2):
        here = kinds == kind
        bars = rectangles(begins[here], ends[here], rows[here], _HEIGHTS[kind])
        axes.add_collection(PolyCollection(bars, facecolors=faces[here], zorder=5 - kind))

    place = {segment.id: number for number, segment in enumerate(segments)}
    _draw_threads(axes, segments, place, kinds, begins, ends, rows)
    marks = _draw_marks(axes, record, begins, ends, rows)
    if (kinds == 2).any():
        marks.append(Patch(label="extinct", facecolor=OTHERS, alpha=_FAINT))
    return marks


def _draw_threads(
    axes: Axes,
    segments: Sequence[Segment],
    place: Mapping[SegmentId, int],
    kinds: Floats,
    begins: Floats,
    ends: Floats,
    rows: Floats,
) -> None:
    """Draw a curve from the end of each segment to the start of each that continues from it."""
    crowded = len(set(rows.tolist())) > _MOST_ARCS
    curves: dict[int, list[Floats]] = {0: [], 1: [], 2: []}
    for heir, segment in enumerate(segments):
        donor = None if segment.source is None else place.get(segment.source)
        if donor is None:
            continue
        kind = int(kinds[heir])
        if crowded and kind == 2 and rows[donor] != rows[heir]:
            continue
        curves[kind].append(_curve(ends[donor], rows[donor], begins[heir], rows[heir]))

    styles: list[dict[str, Any]] = [
        {**_THREAD, "zorder": 4.5},
        {"color": ink(), "alpha": 0.6, "linewidth": 0.9, "zorder": 2},
        {"color": OTHERS, "alpha": _FAINT, "linewidth": 0.8, "zorder": 1},
    ]
    for kind, style in enumerate(styles):
        axes.add_collection(LineCollection(curves[kind], capstyle="round", **style))


def _curve(x: float, y: float, to_x: float, to_y: float) -> Floats:
    """Return [P, 2] points of a curve that leaves and arrives level; a straight line in a row."""
    at = np.linspace(0.0, 1.0, 2 if y == to_y else _POINTS)
    smooth = at * at * (3 - 2 * at)
    return np.stack([x + (to_x - x) * at, y + (to_y - y) * smooth], axis=1)


def _draw_marks(
    axes: Axes, record: Record, begins: Floats, ends: Floats, rows: Floats
) -> list[Artist]:
    """Mark failures, fresh members and transforms; return the entries of those that occur."""
    segments = record.segments
    failed = [i for i, segment in enumerate(segments) if segment.failed]
    fresh = [i for i, each in enumerate(segments) if each.source is None and each.interval > 0]
    changed = [i for i, segment in enumerate(segments) if segment.transform is not None]
    size = min(7.0, max(2.5, 180 / len(set(rows.tolist()))))
    cross: dict[str, Any] = {**CROSS, "color": ink(), "markersize": size}
    ring: dict[str, Any] = {**ring_mark(), "markersize": size}
    diamond: dict[str, Any] = {**ring, "marker": "D", "markersize": 0.8 * size}
    axes.plot(ends[failed], rows[failed], zorder=6, **cross)
    axes.plot(begins[fresh], rows[fresh], zorder=6, **ring)
    axes.plot(begins[changed], rows[changed], zorder=6, **diamond)

    handles: list[Artist] = []
    if any(each.id in record.copied for each in segments):
        handles.append(Line2D([], [], label="copied", color=ink(), alpha=0.6, linewidth=0.9))
    if failed:
        handles.append(Line2D([], [], label="failed", **cross))
    if fresh:
        handles.append(Line2D([], [], label="started fresh", **ring))
    if changed:
        handles.append(Line2D([], [], label="weights transformed", **diamond))
    return handles


# --- heat map -------------------------------------------------------------------------------------


def _draw_heat_map(
    axes: Axes, record: Record, line: Sequence[Segment], layout: Layout, colours: Colours
) -> list[Artist]:
    """Draw a cell for each segment and the lineage over them; return no entries of the legend."""
    segments = record.segments
    last = max(segment.interval for segment in segments)
    cells = np.full((len(layout.rows), last + 1), np.nan)
    for segment, value in zip(segments, colours.values.tolist(), strict=True):
        cells[layout.rows[segment.member], segment.interval] = value
    shown = np.ma.masked_invalid(cells)
    axes.imshow(
        shown,
        cmap=colours.map,
        norm=colours.norm,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, last + 0.5, len(layout.rows) - 0.5, -0.5),
    )

    xs = [edge for segment in line for edge in (segment.interval - 0.5, segment.interval + 0.5)]
    ys = [layout.rows[segment.member] for segment in line for _ in range(2)]
    axes.plot(xs, ys, color=paper(), linewidth=4.5, solid_capstyle="butt")
    axes.plot(xs, ys, solid_capstyle="butt", **_THREAD)
    axes.set_xlim(-0.5, last + 0.5)
    return []
