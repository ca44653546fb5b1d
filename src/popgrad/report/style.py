"""Colours, marks and titles that the figures share."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.population import Segment
from popgrad.core.seeding import Floats
from popgrad.record.record import Record

DPI = 150
# Ordered by lightness too, so that it survives colour blindness and grey print.
COLOURS = "viridis"
# Vermilion and blue of Okabe and Ito's palette: far from grey and from each other, to every eye.
WINNER = "#D55E00"
LIVE = "#0072B2"
OTHERS = "#9A9A9A"
# Percentile of the scores: a few bad ones must not take all the colours or all the height.
LOWEST_SHOWN = 5

DOT: dict[str, Any] = {"linestyle": "none", "marker": "o"}
FIRST: dict[str, Any] = {"markersize": 8.5, "markerfacecolor": "none", "markeredgewidth": 2.0}
LAST: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "markeredgewidth": 1.8}
CROSS: dict[str, Any] = {"linestyle": "none", "marker": "x", "color": OTHERS, "markersize": 6}
STAR: dict[str, Any] = {
    **{"linestyle": "none", "marker": "*", "color": WINNER, "markersize": 19},
    **{"markeredgecolor": "black", "markeredgewidth": 0.8},
}
TICK: dict[str, Any] = {"linestyle": "none", "marker": "|", "color": "black", "markersize": 11}
RING: dict[str, Any] = {**DOT, "color": "black", "markerfacecolor": "white", "markersize": 6}
THIN: dict[str, Any] = {"color": OTHERS, "linewidth": 0.8}
THICK: dict[str, Any] = {"color": WINNER, "linewidth": 2.6}
DASHED: dict[str, Any] = {"color": LIVE, "linewidth": 1.6, "linestyle": (0, (4, 1.5))}


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
    task = f"{PurePath(module).name}{colon}{name}"
    return f"{task}: {size}" if task else size
