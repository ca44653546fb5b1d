"""The figure of workers against the clock: what each trained when, and how long it waited."""

from collections.abc import Mapping
from contextlib import suppress

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.record.record import Record
from popgrad.record.timeline import Timeline
from popgrad.record.timeline import timeline as timeline_of
from popgrad.reports.axes import LABEL, TICKS, TITLE, draw_grid
from popgrad.reports.colours import Colours
from popgrad.reports.duration import duration
from popgrad.reports.style import (
    COLOURS,
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
    run_title,
)

_HEIGHT = 0.7  # of a row
_MOST_LABELS = 50  # workers above which not every row has a label
_MOST_EDGES = 60  # segments of a worker above which bars have no edges
_UNITS = ((7200.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""(seconds from which on a unit is used, its seconds, its name)."""


def timeline(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    *,
    axes: Axes | None = None,
    size: Size | None = None,
) -> Figure:
    """Draw workers against the clock: a row for each worker, a bar for each segment that it trained.

    The colour is the interval, segments of the winner's lineage are framed, and blank is waiting. On
    the right is the share of the time in which a worker trained. The clock stands still while the
    run is interrupted, at a dotted line.

    Args:
        record: Record with at least one segment.
        telemetry: Telemetry by segment.
        axes: Axes to draw on; None = those of a new figure.
        size: Width and height of a new figure in inches; None = as the number of workers suggests.

    Raises:
        UsageError: There is no segment, or no clock time of any.
    """
    recorded(record)
    found = timeline_of(telemetry)
    if not found.spans:
        raise UsageError(
            "timeline: there is no clock time in the record: a study knows none, and development "
            "versions of popgrad wrote none"
        )
    workers = list(found.spans)
    own = axes is None
    axes, figure = on_axes(axes, (11.0, min(12.0, max(2.8, 1.8 + 0.32 * len(workers)))), size)

    unit, name = next((unit, name) for least, unit, name in _UNITS if found.seconds >= least)
    colours = _draw_spans(axes, record, found, unit)
    for at, length in found.pauses:
        axes.axvline(at / unit, color=ink(), linewidth=1.0, linestyle=(0, (1, 2)), zorder=4)
        axes.annotate(
            f"paused {duration(length)}",
            (at / unit, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            size=TICKS - 2,
            zorder=5,
        )
    _dress(axes, found, name)

    words = f"workers trained {1 - found.waiting:.0%} of the time, and waited {found.waiting:.0%}"
    if own:
        figure.suptitle(run_title(record), size=TITLE)
    axes.set_title(words, size=TICKS + 1)
    colours.draw_bar(figure, [axes], pad=0.01, fraction=0.05)
    frame = Line2D([], [], label="lineage of the winner", color=WINNER, linewidth=2.6)
    explain(axes, [frame], below=own)
    return figure


def _draw_spans(axes: Axes, record: Record, found: Timeline, unit: float) -> Colours:
    """Draw a bar for each segment; return their colours."""
    spans = [(row, span) for row, group in enumerate(found.spans.values()) for span in group]
    intervals = np.array([float(span.segment[1]) for _, span in spans])
    norm = Normalize(0.0, max(1.0, float(intervals.max())))
    colours = Colours(intervals, matplotlib.colormaps[COLOURS], norm, "interval")

    rows = np.array([float(row) for row, _ in spans])
    begins = np.array([span.begin / unit for _, span in spans])
    ends = np.array([span.end / unit for _, span in spans])
    faces = colours.rgba()
    bars = rectangles(begins, ends, rows, _HEIGHT)
    # The edges of many short bars would read as waits.
    edge = 0.5 if len(spans) <= _MOST_EDGES * len(found.spans) else 0.0
    axes.add_collection(PolyCollection(bars, facecolors=faces, edgecolors=paper(), linewidths=edge))

    threads: set[SegmentId] = set()
    with suppress(AllMembersFailedError):
        threads = {segment.id for segment in record.lineage()}
    framed = np.array([span.segment in threads for _, span in spans])
    axes.set_xlim(0, found.seconds / unit or 1.0)
    draw_frames(axes, begins[framed], ends[framed], rows[framed], _HEIGHT, faces[framed])
    return colours


def _dress(axes: Axes, found: Timeline, name: str) -> None:
    """Set limits, labels and ticks; the right axis has the share of the time of each worker."""
    workers = list(found.spans)
    every = -(-len(workers) // _MOST_LABELS)
    shown = range(0, len(workers), every)
    axes.yaxis.set_major_locator(FixedLocator(shown))
    axes.set_yticklabels([plain_text(workers[row] or "worker", TICK_LENGTH) for row in shown])
    axes.set_ylim(len(workers) - 0.4, -0.6)
    axes.set_xlabel(f"{name} of training", size=LABEL)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10))
    draw_grid(axes, "x")
    axes.tick_params(labelsize=TICKS)
    axes.tick_params(axis="y", length=0)

    right = axes.secondary_yaxis("right")
    right.yaxis.set_major_locator(FixedLocator(shown))
    right.set_yticklabels([f"{found.busy(workers[row]):.0%}" for row in shown])
    right.tick_params(labelsize=TICKS - 1, length=0)
    right.set_ylabel("trained", size=TICKS)
