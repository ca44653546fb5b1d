"""The figure of a comparison: scores over seeds with their intervals, curves, and ranks over tasks.

It is drawn on `matplotlib.figure.Figure` alone, so nothing global is touched, and equal arguments
give equal files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from popgrad.comparison.groups import Group
from popgrad.comparison.summary import Ranking, Report, Summary
from popgrad.core.score import Score
from popgrad.core.seeding import Floats
from popgrad.reports.axes import GRID, LABEL, TICKS, TITLE
from popgrad.reports.style import DPI, OTHERS
from popgrad.statistics.bootstrap import Interval, iqm

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of the strategies, from Okabe and Ito's palette; the baseline is grey."""

_GRID_POINTS = 40
"""Points of a mean curve if the runs have been evaluated after different member-steps."""

_START = 0.25
"""Share of the member-steps that counts as the start of a curve."""

_SEED: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "alpha": 0.45}
_MEAN: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8}
_TEST: dict[str, Any] = {
    **{"linestyle": "none", "marker": "D", "markersize": 7},
    **{"markerfacecolor": "white", "markeredgewidth": 1.6},
}
_WIDTH = 11.0
"""Width of the figure in inches."""


def draw(reports: Sequence[Report], ranking: Ranking | None = None) -> Figure:
    """Draw a comparison: for each task the scores and the curves of its groups, then the ranks.

    Args:
        reports: Problems with their groups in numbers, at least one.
        ranking: Ranks over the tasks; None = no diagram.
    """
    heights = [max(2.8, 1.4 + 0.55 * len(report.summaries)) for report in reports]
    if ranking is not None:
        heights.append(0.9 + 0.28 * len(ranking.labels))
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.6), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(1.0, 1.15))

    tested = False
    for row, report in enumerate(reports):
        tested |= any(summary.test is not None for summary in report.summaries)
        colours = _colours(report)
        _draw_scores(figure.add_subplot(grid[row, 0]), report, colours)
        _draw_curves(figure.add_subplot(grid[row, 1]), report, colours)
    if ranking is not None:
        draw_ranks(figure.add_subplot(grid[len(reports), :]), ranking)

    _legend(figure, tested=tested)
    return figure


def _colours(report: Report) -> list[str]:
    """Return the colour of each group."""
    colours = []
    used = 0
    for summary in report.summaries:
        if summary.group.label == report.baseline:
            colours.append(OTHERS)
        else:
            colours.append(COLOURS[used % len(COLOURS)])
            used += 1
    return colours


def _legend(figure: Figure, *, tested: bool) -> None:
    grey: dict[str, Any] = {"color": "#555555"}
    handles = [
        Line2D([], [], label="interquartile mean, 95 % interval", **_MEAN, **grey),
        Line2D([], [], label="a run", **_SEED, **grey),
        Line2D([], [], label="best member", linewidth=2.0, **grey),
        Line2D([], [], label="median member", linewidth=1.6, linestyle=(0, (4, 1.5)), **grey),
    ]

    if tested:
        handles.insert(1, Line2D([], [], label="on the test split", **_TEST, **grey))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=TICKS,
    )


# --- scores ---------------------------------------------------------------------------------------


def _draw_scores(axes: Axes, report: Report, colours: Sequence[str]) -> None:
    """Draw each group as a row: its runs, and their mean with its interval."""
    ranking = report.problem.ranking
    rows = len(report.summaries)
    for row, (summary, colour) in enumerate(zip(report.summaries, colours, strict=True)):
        _draw_row(axes, rows - 1 - row, summary, colour, ranking)

    labels = [_row_label(summary.group, report) for summary in reversed(report.summaries)]
    axes.set_yticks(range(rows), labels)
    axes.set_ylim(-0.6, rows - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(f"{ranking.label} of the winner", size=LABEL)
    axes.set_title(report.problem.label, size=TITLE, loc="left")
    _dress(axes, "x")


def _row_label(group: Group, report: Report) -> str:
    count = len(group.counted)
    seeds = f"{count} seed{'' if count == 1 else 's'}"
    role = "baseline, " if group.label == report.baseline else ""
    return f"{group.label}\n{role}{seeds}"


def _draw_row(axes: Axes, y: float, summary: Summary, colour: str, ranking: Score) -> None:
    group = summary.group
    scores = [ranking.shown(score) for score in group.scores().tolist()]
    # Spread a little, by the order of the seeds, so that equal scores do not cover each other.
    spread = np.linspace(-0.12, 0.12, len(scores)) if len(scores) > 1 else np.zeros(len(scores))
    axes.plot(scores, y + spread, color=colour, zorder=2, **_SEED)
    if summary.winner is not None:
        _draw_interval(axes, y, summary.winner, ranking, colour, _MEAN)
    if summary.test is not None:
        _draw_interval(axes, y - 0.28, summary.test, ranking, colour, _TEST)


def _draw_interval(
    axes: Axes, y: float, interval: Interval, ranking: Score, colour: str, mark: dict[str, Any]
) -> None:
    ends = [ranking.shown(interval.low), ranking.shown(interval.high)]
    axes.plot(ends, [y, y], color=colour, linewidth=2.6, solid_capstyle="butt", zorder=3)
    axes.plot([ranking.shown(interval.value)], [y], color=colour, zorder=4, **mark)


# --- curves ---------------------------------------------------------------------------------------


def _draw_curves(axes: Axes, report: Report, colours: Sequence[str]) -> None:
    """Draw the best and the median member of each group against member-steps, means over seeds."""
    ranking = report.problem.ranking
    drawn: list[Floats] = []
    for summary, colour in zip(report.summaries, colours, strict=True):
        best = mean_curve(summary.group, 1)
        median = mean_curve(summary.group, 2)
        _draw_band(axes, best, ranking, colour, linewidth=2.0)
        _draw_band(axes, median, ranking, colour, linewidth=1.6, linestyle=(0, (4, 1.5)))
        drawn += [best, median]

    axes.set_ylabel(ranking.label, size=LABEL)
    _limit_height(axes, np.concatenate(drawn), ranking)
    axes.set_xlabel("member-steps of a run", size=LABEL)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlim(left=0)
    _dress(axes, "both")


def mean_curve(group: Group, column: int) -> Floats:
    """Return the interquartile mean of a group's curves with its interval, as scores.

    Args:
        group: Group of runs; those that do not count are left out, unless no run counts.
        column: 1 = the best member, 2 = the median member.

    Returns:
        [P, 4] member-steps, mean, low and high; nan where a run has no score, or is alone.
    """
    curves = [trial.curve for trial in group.counted or group.trials if len(trial.curve)]
    if not curves:
        return np.empty((0, 4))
    steps = curves[0][:, 0]
    if not all(np.array_equal(curve[:, 0], steps) for curve in curves):
        first = max(curve[0, 0] for curve in curves)
        last = max(first, min(curve[-1, 0] for curve in curves))
        steps = np.linspace(first, last, _GRID_POINTS)

    at_steps = np.array([np.interp(steps, curve[:, 0], curve[:, column]) for curve in curves])
    points = []
    for step, scores in zip(steps, at_steps.T, strict=True):
        interval = iqm(scores) if np.isfinite(scores).all() else Interval(np.nan)
        points.append((step, *interval))
    return np.array(points)


def _draw_band(axes: Axes, curve: Floats, ranking: Score, colour: str, **line: Any) -> None:
    steps, mean, low, high = curve.T
    sign = -1.0 if ranking.minimize else 1.0
    axes.plot(steps, sign * mean, color=colour, zorder=3, **line)
    axes.fill_between(steps, sign * low, sign * high, color=colour, alpha=0.18, linewidth=0)


def _limit_height(axes: Axes, points: Floats, ranking: Score) -> None:
    """Cut the start off, in which all strategies are bad, if it would take half of the height.

    Args:
        axes: Panel of the curves.
        points: [P, 4] points of all curves, as of `mean_curve`.
        ranking: Metric that ranks.
    """
    points = points[np.isfinite(points[:, 1])]
    if not len(points):
        return
    means = points[:, 1]
    low = float(means[points[:, 0] >= _START * points[:, 0].max()].min())
    high = float(means.max())
    if 0 < 2 * (high - low) < high - float(means.min()):
        margin = 0.08 * (high - low)
        axes.set_ylim(*sorted((ranking.shown(low - margin), ranking.shown(high + margin))))
        axes.yaxis.label.set_text(f"{axes.get_ylabel()}\n(the start is off the scale)")


def _dress(axes: Axes, grid: Any) -> None:
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=TICKS, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


# --- ranks ----------------------------------------------------------------------------------------


def draw_ranks(axes: Axes, ranking: Ranking) -> None:
    """Draw a critical-difference diagram: mean ranks on a line, bars join what does not differ.

    The form is that of Demsar 2006, figure 1.
    """
    count = len(ranking.labels)
    axes.plot([1, count], [0, 0], color="black", linewidth=1.2)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.18], color="black", linewidth=1.2)
        axes.text(tick, 0.3, str(tick), ha="center", va="bottom", size=TICKS)

    bars = len(ranking.cliques)
    for row, clique in enumerate(ranking.cliques):
        ends = [ranking.ranks[clique[0]] - 0.03, ranking.ranks[clique[-1]] + 0.03]
        axes.plot(ends, [-0.25 - 0.3 * row] * 2, color=COLOURS[1], linewidth=4)

    half = (count + 1) // 2
    for row, (label, rank) in enumerate(zip(ranking.labels, ranking.ranks, strict=True)):
        left = row < half
        depth = -0.5 - 0.3 * bars - 0.55 * (row if left else count - 1 - row)
        edge = 0.8 if left else count + 0.2
        axes.plot([rank, rank, edge], [0, depth, depth], color="black", linewidth=0.9)
        side = "right" if left else "left"
        place = edge - 0.03 if left else edge + 0.03
        axes.text(place, depth, f"{label}  {rank:.2f}", ha=side, va="center", size=TICKS)

    axes.set_title(
        f"mean rank over {ranking.tasks} tasks (1 = best); a bar joins what does not differ",
        size=TITLE,
        loc="left",
    )
    axes.set_xlim(-0.2 * count, 1 + 1.2 * count)
    axes.set_ylim(top=1.0)
    axes.axis("off")
