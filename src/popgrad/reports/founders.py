"""The figure of diversity: shares and effective number of the founders, and the spread of hyperparameters."""

import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import SegmentId
from popgrad.record.diversity import Diversity, diversity, warning
from popgrad.record.record import Record
from popgrad.reports.axes import LABEL, TICKS, TITLE, draw_grid
from popgrad.reports.style import (
    KINDS,
    OTHERS,
    WINNER,
    Size,
    explain,
    ink,
    new_figure,
    on_axes,
    paper,
    recorded,
    run_title,
)

_WIDTH = 9.0  # inches
_COLUMNS = 108  # characters of a line of the warning
_MOST_EDGES = 40  # founders above which edges would hide the bands
_MOST_LINES = len(KINDS) + 1  # lines of hyperparameters with a colour of their own


def founders(record: Record, *, axes: Axes | None = None, size: Size | None = None) -> Figure:
    """Draw the diversity of the population over the intervals, in three panels.

    On top the share of the members that descend from each founder, that of the winner in its
    colour; below the effective number of founders (the exponential of the entropy of the shares)
    and the number alive; then the spread of each hyperparameter, the middle 80 % of the members, in
    units of its range. If the diversity has collapsed, a line in words is above.

    Args:
        record: Record with at least one segment.
        axes: Axes to draw the shares alone on; None = all panels in a new figure.
        size: Width and height of a new figure in inches; None = 9 x 7.6.

    Raises:
        UsageError: There is no segment.
    """
    recorded(record)
    found = diversity(record.segments, record.space)
    if axes is not None:
        axes, figure = on_axes(axes, (_WIDTH, 4.0), size)
        explain(axes, _draw_shares(axes, found, record), below=False)
        axes.set_xlabel("interval", size=LABEL)
        return figure

    figure = new_figure((_WIDTH, 7.6), size)
    ratios = (2.2, 1.0, 1.2) if found.spread else (2.2, 1.0)
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    handles = _draw_shares(panels[0], found, record)
    _draw_numbers(panels[1], found)
    if found.spread:
        _draw_spread(panels[2], found)
    panels[-1].set_xlabel("interval", size=LABEL)
    figure.align_ylabels(panels)
    if handles:
        explain(panels[0], handles, below=True, columns=4)

    figure.suptitle(run_title(record), size=TITLE)
    words = warning(found, record.space, int(record.config.get("intervals", 0)))
    if words:
        text = textwrap.fill(words, int(_COLUMNS * figure.get_figwidth() / _WIDTH))
        panels[0].set_title(text, size=TICKS, color=WINNER, loc="left")
    return figure


def _draw_shares(axes: Axes, found: Diversity, record: Record) -> list[Artist]:
    """Draw the share of each founder as a band; return the entries of the legend."""
    founder = _founder_of_winner(record)
    colours = _colours(found, founder)
    xs, shares = _at_least_two(found)
    if found.founders:
        axes.stackplot(
            xs,
            shares.T,
            colors=[colours.get(each, _grey(number)) for number, each in enumerate(found.founders)],
            edgecolor=paper(),
            linewidth=0.5 if len(found.founders) <= _MOST_EDGES else 0.0,
        )
    axes.set_ylim(0, 1)
    axes.set_xlim(xs[0], xs[-1])
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("members by founder", size=LABEL)
    axes.tick_params(labelsize=TICKS)

    handles: list[Artist] = []
    for each, colour in colours.items():
        label = f"member {each[0]}"
        if each[1]:
            label += f", fresh in interval {each[1]}"
        label += " (the winner's)" if each == founder else ""
        handles.append(Patch(label=label, facecolor=colour))
    if len(colours) < len(found.founders):
        handles.append(Patch(label="others", facecolor=OTHERS, alpha=0.6))
    return handles


def _founder_of_winner(record: Record) -> SegmentId | None:
    with suppress(AllMembersFailedError):
        return record.lineage()[0].id
    return None


def _colours(found: Diversity, founder: SegmentId | None) -> dict[SegmentId, str]:
    """Return the colours of the founders with the largest shares, the winner's first."""
    total = found.shares.sum(axis=0)
    order = sorted(range(len(found.founders)), key=lambda number: -total[number])
    largest = [found.founders[number] for number in order if found.founders[number] != founder]
    chosen: dict[SegmentId, str] = {} if founder is None else {founder: WINNER}
    return chosen | dict(zip(largest, KINDS, strict=False))


def _grey(number: int) -> Any:
    """Return one of two greys, so that neighbours differ."""
    return to_rgba(OTHERS, 0.45 if number % 2 else 0.7)


def _at_least_two(found: Diversity) -> tuple[Any, Any]:
    """Return [I] intervals and [I, F] shares; a single interval twice, as wide as one."""
    xs = np.array(found.intervals, dtype=np.float64)
    if len(xs) > 1:
        return xs, found.shares
    return np.array([xs[0] - 0.5, xs[0] + 0.5]), np.repeat(found.shares, 2, axis=0)


def _draw_numbers(axes: Axes, found: Diversity) -> None:
    """Draw the effective number of founders, and the number of those with a living descendant."""
    alive = (found.shares > 0).sum(axis=1)
    lines: list[tuple[str, Any, dict[str, Any]]] = [
        ("alive", alive, {"color": OTHERS, "linewidth": 1.2}),
        ("effective", found.effective, {"color": ink(), "linewidth": 2.0}),
    ]
    for label, values, style in lines:
        axes.plot(found.intervals, values, marker=".", label=label, **style)
    axes.set_ylim(0, 1.08 * max(1.0, float(alive.max())))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_ylabel("founders", size=LABEL)
    _finish(axes, len(lines))


def _draw_spread(axes: Axes, found: Diversity) -> None:
    """Draw the spread of each hyperparameter."""
    colours = (WINNER, *KINDS)
    names: Sequence[str] = list(found.spread)
    for number, name in enumerate(names):
        named = number < _MOST_LINES
        axes.plot(
            found.intervals,
            found.spread[name],
            marker=".",
            color=colours[number] if named else OTHERS,
            linewidth=1.6 if named else 0.8,
            zorder=2.5 if named else 2.0,
        )
    handles = [
        Line2D([], [], label=name, color=colour, linewidth=1.6)
        for name, colour in zip(names, colours, strict=False)
    ]
    if len(names) > _MOST_LINES:
        more = f"{len(names) - _MOST_LINES} more"
        handles.append(Line2D([], [], label=more, color=OTHERS, linewidth=0.8))
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylabel("spread of\nthe range", size=LABEL)
    _finish(axes, 4, handles)


def _finish(axes: Axes, columns: int, handles: Sequence[Artist] | None = None) -> None:
    draw_grid(axes)
    axes.tick_params(labelsize=TICKS)
    given: dict[str, Any] = {} if handles is None else {"handles": list(handles)}
    axes.legend(
        loc="best", ncols=columns, fontsize=TICKS - 1, framealpha=0.8, borderpad=0.3, **given
    )
