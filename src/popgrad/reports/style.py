"""Colours, marks and titles that the figures share.

Ink and paper are matplotlib's own, so the figures are legible on a dark background too.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from popgrad.core.errors import UsageError
from popgrad.core.seeding import Floats
from popgrad.core.segment import Segment
from popgrad.record.record import Record
from popgrad.reports.escape import escape

Size = tuple[float, float]
"""Width and height of a figure in inches."""

DPI = 150
# Ordered by lightness too, so that it survives colour blindness and grey print.
COLOURS = "viridis"
# Vermilion and blue of Okabe and Ito's palette: far from grey and from each other, to every eye.
WINNER = "#D55E00"
LIVE = "#0072B2"
OTHERS = "#9A9A9A"
# The other colours of the palette, for kinds without an order.
KINDS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#0072B2", "#F0E442")
TICK_LENGTH = 24
"""Characters of a name beside an axis."""
_LEGEND = 10  # points
_SHORT = 0.04  # inches of a bar below which a frame would hide its colour
# Inches: with 150 dots an inch a page of this size takes 225 MB.
_LARGEST = 50
CROWD = 20
"""Members from which on the others are drawn as a band, since their lines would cover everything."""
# Percentile of the scores: a few bad ones must not take all the colours or all the height.
LOWEST_SHOWN = 5

DOT: dict[str, Any] = {"linestyle": "none", "marker": "o"}
FIRST: dict[str, Any] = {"markersize": 8.5, "markerfacecolor": "none", "markeredgewidth": 2.0}
CROSS: dict[str, Any] = {"linestyle": "none", "marker": "x", "color": OTHERS, "markersize": 6}
STAR: dict[str, Any] = {
    **{"linestyle": "none", "marker": "*", "color": WINNER, "markersize": 19},
    **{"markeredgecolor": "black", "markeredgewidth": 0.8},
}
THIN: dict[str, Any] = {"color": OTHERS, "linewidth": 0.8}
THICK: dict[str, Any] = {"color": WINNER, "linewidth": 2.6}
BOUND: dict[str, Any] = {"color": OTHERS, "linewidth": 1.2, "linestyle": (0, (1, 2))}
DASHED: dict[str, Any] = {"color": LIVE, "linewidth": 1.6, "linestyle": (0, (4, 1.5))}


def ink() -> str:
    """Return the colour of text and marks: black, or white on a dark background."""
    return str(matplotlib.rcParams["text.color"])


def paper() -> str:
    """Return the colour of the background."""
    return str(matplotlib.rcParams["axes.facecolor"])


def tick_mark() -> dict[str, Any]:
    """Return the mark of an inheritance on a line."""
    return {"linestyle": "none", "marker": "|", "color": ink(), "markersize": 11}


def ring_mark() -> dict[str, Any]:
    """Return the mark of an inheritance where a tick would hide in vertical strokes."""
    return {**DOT, "color": ink(), "markerfacecolor": paper(), "markersize": 6}


def last_mark() -> dict[str, Any]:
    """Return the mark of a member of the last interval, but for its face."""
    return {"markersize": 9, "markeredgecolor": ink(), "markeredgewidth": 1.8}


def new_figure(default: Size, size: Size | None = None) -> Figure:
    """Return an empty figure.

    Args:
        default: Size that suits the content.
        size: Size that was asked for; None = the default.

    Raises:
        UsageError: The size is not two numbers from 1 to 100.
    """
    if size is None:
        return Figure(figsize=default, dpi=DPI, layout="constrained")
    if len(size) != 2 or not all(1 <= length <= _LARGEST for length in size):
        raise UsageError(
            f"size: expected width and height, from 1 to {_LARGEST} inches, got {size}"
        )
    return Figure(figsize=size, dpi=DPI, layout="constrained")


def on_axes(axes: Axes | None, default: Size, size: Size | None = None) -> tuple[Axes, Figure]:
    """Return the axes to draw on, and their figure.

    Args:
        axes: Axes that were given; None = those of a new figure.
        default: Size that suits the content.
        size: Size of a new figure that was asked for; None = the default.
    """
    if axes is None:
        figure = new_figure(default, size)
        return figure.add_subplot(), figure
    if size is not None:
        raise UsageError("axes, size: given both; the size is that of the figure of the axes")
    owner: Any = axes.get_figure(root=True)
    return axes, owner


def explain(axes: Axes, handles: Sequence[Artist], *, below: bool, columns: int = 6) -> None:
    """Write a legend.

    Args:
        axes: Axes with the content.
        handles: Entries of the legend.
        below: Whether it goes below all axes of the figure, else on the axes.
        columns: Most entries side by side below the axes.
    """
    if not below:
        axes.legend(handles=list(handles), fontsize=_LEGEND, framealpha=0.8)
        return
    figure: Any = axes.get_figure(root=True)
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=_LEGEND,
    )


def rectangles(begins: Floats, ends: Floats, rows: Floats, height: float) -> Sequence[Any]:
    """Return the corners of [B] bars, each [4, 2], as a collection of polygons takes them.

    Args:
        begins: [B] left ends.
        ends: [B] right ends.
        rows: [B] centres.
        height: Height of every bar.
    """
    top = rows - height / 2
    bottom = rows + height / 2
    corners = [(begins, top), (ends, top), (ends, bottom), (begins, bottom)]
    bars: Any = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
    return bars  # type: ignore[no-any-return]


def draw_frames(
    axes: Axes, begins: Floats, ends: Floats, rows: Floats, height: float, faces: Floats
) -> None:
    """Draw bars with a frame in the winner's colour; short bars, which it would hide, between two lines.

    Args:
        axes: Axes with the bars, with their limits set.
        begins: [B] left ends.
        ends: [B] right ends.
        rows: [B] centres.
        height: Height of every bar.
        faces: [B, 4] colours of the bars.
    """
    left, right = axes.get_xlim()
    inches = axes.get_position().width * axes.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
    short = len(begins) and np.median(ends - begins) / (right - left) * inches < _SHORT
    bars = PolyCollection(
        rectangles(begins, ends, rows, height),
        facecolors=faces,
        edgecolors="none" if short else WINNER,
        linewidths=0.0 if short else 1.6,
        zorder=5,
    )
    axes.add_collection(bars)
    if short:
        edges = np.concatenate([rows - height / 2, rows + height / 2])
        lines: dict[str, Any] = {"colors": WINNER, "linewidth": 1.6, "capstyle": "projecting"}
        axes.hlines(edges, np.tile(begins, 2), np.tile(ends, 2), zorder=5.5, **lines)


def plain_text(text: str, longest: int = 80) -> str:
    """Return a name as matplotlib draws it as it is: it takes text between dollars for a formula.

    Control characters are escaped, and a long name is cut.

    Args:
        text: Name, which may come from a stranger.
        longest: Most characters of it.
    """
    text = escape(text.replace("\n", " ")).encode("utf-8", "backslashreplace").decode()
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return text.replace("$", r"\$")


def recorded(record: Record) -> tuple[Segment, ...]:
    """Return the segments of a record, at least one.

    Raises:
        UsageError: There is no segment.
    """
    if not record.segments:
        raise UsageError("there is nothing to draw yet: the record has no finished segment")
    return record.segments


def metric_values(segments: Sequence[Segment], record: Record) -> Floats:
    """Return [S] values of the metric that ranks, as it was evaluated; nan or infinite = failed."""
    shown = [record.ranking.shown(segment.score) for segment in segments]
    return np.array(shown, dtype=np.float64)


def worst_shown(scores: Floats) -> float:
    """Return the score from which on the scale begins: a percentile, or the worst if that is the best.

    Args:
        scores: [S] finite scores, higher is better; at least one.
    """
    low = float(np.percentile(scores, LOWEST_SHOWN))
    return low if low < scores.max() else float(scores.min())


def run_title(record: Record) -> str:
    """Return task, members and intervals in words: "digits: 10 members, 20 intervals"."""
    segments = record.segments
    counts = {"member": len({each.member for each in segments})}
    counts["interval"] = len({each.interval for each in segments})
    size = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items())

    module, colon, name = str(record.config.get("task", "")).rpartition(":")
    task = plain_text(f"{PurePath(module).name}{colon}{name}")
    return f"{task}: {size}" if task else size
