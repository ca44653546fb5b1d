"""The figure of an ablation: the scores of each arm by seed, and how much better the schedule is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from popgrad.record.ablation import Ablation
from popgrad.record.arm import Arm
from popgrad.reports.axes import GRID, LABEL, TICKS, TITLE
from popgrad.reports.style import DASHED, DOT, DPI, OTHERS, WINNER
from popgrad.statistics.bootstrap import Interval

_MEAN: dict[str, Any] = {**DOT, "markersize": 8, "markeredgecolor": "black", "markeredgewidth": 0.8}
_SEED: dict[str, Any] = {**DOT, "markersize": 5, "alpha": 0.55, "markeredgewidth": 0}
_SPREAD = 0.14
"""Height over which the seeds of an arm are spread, so that equal scores do not cover each other."""


def figure(ablation: Ablation) -> Figure:
    """Draw an ablation: on the left the models of each arm, on the right the schedule beside each.

    The dashed line is the run's winner, whose weights were selected.
    """
    rows = len(ablation.arms)
    drawn = Figure(figsize=(11.0, 2.2 + 0.62 * rows), dpi=DPI, layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True, width_ratios=(1.3, 1.0))
    for row, arm in enumerate(ablation.arms):
        _draw_arm(left, rows - 1 - row, arm, ablation)
        if arm is not ablation.schedule:
            _draw_gain(right, rows - 1 - row, ablation.gain(arm), ablation)

    label = ablation.ranking.label
    left.axvline(ablation.ranking.shown(ablation.winner_score), zorder=1, **DASHED)
    left.set_yticks(range(rows), [arm.name.replace(", ", ",\n") for arm in reversed(ablation.arms)])
    left.set_ylim(-0.6, rows - 0.4)
    left.set_xlabel(f"validation {label}", size=LABEL)
    right.axvline(0.0, color="black", linewidth=1.0, zorder=1)
    right.set_xlabel(f"schedule minus constants: {label}", size=LABEL)
    for axes in (left, right):
        _dress(axes)
    drawn.suptitle(_title(ablation), size=TITLE)
    drawn.legend(
        handles=_legend(ablation.seeds),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=TICKS,
    )
    return drawn


def _title(ablation: Ablation) -> str:
    words = {
        "schedule": "The schedule helped beyond constants",
        "constants": "The schedule did not help: constants are better",
        "selection": "Selection of weights helped; the schedule is not seen to",
        "constant": "The winner's schedule is constant",
    }
    return words.get(ablation.outcome, "Schedule or selection: the data do not show it")


def _draw_arm(axes: Axes, y: float, arm: Arm, ablation: Ablation) -> None:
    """Draw the models of an arm, and their mean with its interval; failed ones are a note."""
    shown = ablation.ranking.shown
    colour = WINNER if arm is ablation.schedule else OTHERS
    offsets = np.linspace(_SPREAD, -_SPREAD, len(arm.scores)) if len(arm.scores) > 1 else [0.0]
    points = [
        (shown(score), y + offset)
        for score, offset in zip(arm.scores, offsets, strict=True)
        if np.isfinite(score)
    ]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, zorder=2, **_SEED)
    if arm.failed:
        note = f"{arm.failed} of {len(arm.scores)} failed"
        axes.annotate(note, (0.02, y), xycoords=("axes fraction", "data"), va="center", size=TICKS)
        return
    mean = arm.mean
    _draw_interval(axes, y, [shown(value) for value in mean], colour)


def _draw_gain(axes: Axes, y: float, gain: Interval, ablation: Ablation) -> None:
    """Draw the difference in the metric's own direction."""
    if np.isfinite(gain.value):
        _draw_interval(axes, y, [ablation.ranking.shown(value) for value in gain], OTHERS)


def _draw_interval(axes: Axes, y: float, numbers: Sequence[float], colour: str) -> None:
    value, low, high = numbers
    axes.plot([low, high], [y, y], color=colour, linewidth=2.6, solid_capstyle="butt", zorder=3)
    axes.plot([value], [y], color=colour, zorder=4, **_MEAN)


def _dress(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=TICKS, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(seeds: Sequence[int]) -> list[Line2D]:
    grey: dict[str, Any] = {"color": "#555555"}
    count = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
    return [
        Line2D([], [], label=f"a model, {count}", **_SEED, **grey),
        Line2D([], [], label="left: interquartile mean; right: mean by seed", **_MEAN, **grey),
        Line2D([], [], label="95 % interval", linewidth=2.6, **grey),
        Line2D([], [], label="winner of the run", **DASHED),
    ]
