"""Tables of a comparison for a terminal."""

import math
from collections.abc import Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.text import Text

from popgrad.comparison.comparison import Comparison
from popgrad.comparison.groups import Group
from popgrad.comparison.summary import Report, Summary
from popgrad.core.score import Score
from popgrad.reports.tables import Column, FittedTable, numbers
from popgrad.statistics.bootstrap import Interval

LEGEND = (
    "Validation scores of the winners, interquartile means over seeds; P(better): probability that a "
    "winner beats one of the baseline (*)."
)

_SELECTED = (
    "The validation split has selected the winners, which flatters all of them; popgrad compare --test "
    "reads the test split."
)


def comparison_view(comparison: Comparison, *, every_run: bool = False) -> RenderableType:
    """Return a comparison as tables, with the verdicts below, where they stay in sight.

    Args:
        comparison: The comparison.
        every_run: Whether to add a table of all runs.
    """
    parts: list[RenderableType] = []
    for report in comparison.reports:
        parts.append(_summary_table(report))
        parts += [Text(line, style="yellow") for line in _notes(report)]
        if every_run:
            parts.append(_run_table(report))
    parts.append(Text(LEGEND, style="dim italic"))
    if not any(each.test is not None for report in comparison.reports for each in report.summaries):
        parts.append(Text(_SELECTED, style="dim italic"))
    if comparison.note:
        parts.append(Text(comparison.note, style="dim italic"))

    outcomes = [
        difference.outcome
        for report in comparison.reports
        for summary in report.summaries
        for difference in summary.differences
    ]
    styles = {"better": "bold green", "worse": "bold red"}
    for number, words in enumerate(comparison.sentences):
        outcome = outcomes[number] if number < len(outcomes) else ""
        parts += [Text(""), Text(words, style=styles.get(outcome, "bold"))]
    if not comparison.sentences:
        parts += [Text(""), Text("There is a single way to train, and nothing to compare it with.")]
    return Lines(*parts)


def _summary_table(report: Report) -> FittedTable:
    """Return a row for each group, the baseline marked."""
    ranking = report.problem.ranking
    summaries = report.summaries
    names = [
        f"{each.group.label}{' *' if each.group.label == report.baseline else ''}"
        for each in summaries
    ]
    winners, ends = _estimates([each.winner for each in summaries], ranking)
    columns = [
        Column("strategy", names, left=True),
        Column("seeds", [str(len(each.group.counted)) for each in summaries]),
        Column(ranking.heading, winners),
        Column("95 % interval", ends, priority=1),
    ]
    if any(each.test is not None for each in summaries):
        tests, ends = _estimates([each.test for each in summaries], ranking)
        columns.append(Column(f"test {ranking.heading}", tests))
        columns.append(Column("test interval", ends, priority=3))

    medians, _ = _estimates([each.median for each in summaries], ranking)
    columns += [
        Column("P(better)", [_probability(each.improvement) for each in summaries], priority=2),
        Column("median member", medians, priority=3),
        Column("member-steps", [_steps(each.group) for each in summaries], priority=4),
        Column("time", [_seconds(each.group) for each in summaries], priority=5),
    ]
    styles = ["bold" if each is _best(summaries) else "" for each in summaries]
    return FittedTable(report.problem.label, columns, styles=styles)


def _best(summaries: Sequence[Summary]) -> Summary | None:
    measured = [each for each in summaries if each.winner is not None]
    return max(measured, key=lambda each: each.winner.value if each.winner else 0.0, default=None)


def _estimates(intervals: Sequence[Interval | None], ranking: Score) -> tuple[list[str], list[str]]:
    """Return a column of estimates, and one of their intervals, such as "[0.941, 0.960]"."""
    places = max((each.decimals for each in intervals if each is not None), default=0)
    values = []
    ends = []
    for each in intervals:
        values.append("-" if each is None else f"{ranking.shown(each.value):.{places}f}")
        if each is None or math.isnan(each.low):
            ends.append("")
            continue
        low, high = sorted((ranking.shown(each.low), ranking.shown(each.high)))
        ends.append(f"[{low:.{places}f}, {high:.{places}f}]")
    return values, ends


def _probability(interval: Interval | None) -> str:
    """Return a probability with its interval; "" = single runs show none."""
    if interval is None or math.isnan(interval.low):
        return ""
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _steps(group: Group) -> str:
    steps = group.steps
    if not steps:
        return "-"
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"


def _seconds(group: Group) -> str:
    if not group.counted:
        return "-"
    seconds = sum(trial.seconds for trial in group.counted) / len(group.counted)
    return f"{seconds:.1f} s"


def _notes(report: Report) -> list[str]:
    """Return what a reader has to know about the runs before the numbers."""
    notes = []
    for summary in report.summaries:
        group = summary.group
        for count, words in (
            (group.unfinished, "not finished, and not counted yet"),
            (group.lost, "without a winner, since all members failed"),
        ):
            if count:
                notes.append(f"{group.label}: {count} run{'s' * (count > 1)} {words}")
    budgets = {steps for summary in report.summaries for steps in summary.group.steps}
    if len(budgets) > 1:
        notes.append("The runs have trained different numbers of member-steps.")
    return notes


def _run_table(report: Report) -> FittedTable:
    """Return a row for each run."""
    ranking = report.problem.ranking
    pairs = [(each.group, trial) for each in report.summaries for trial in each.group.trials]
    trials = [trial for _, trial in pairs]

    columns = [
        Column("strategy", [group.label for group, _ in pairs], left=True),
        Column("seed", [str(trial.seed) for trial in trials]),
        Column(ranking.heading, numbers(ranking.shown(trial.winner) for trial in trials)),
        Column(
            "median member", numbers(ranking.shown(trial.median) for trial in trials), priority=1
        ),
        Column("member-steps", [f"{trial.steps:,}" for trial in trials], priority=2),
        Column("time", [f"{trial.seconds:.1f} s" for trial in trials], priority=4),
        Column("directory", [str(trial.directory) for trial in trials], priority=3, left=True),
    ]
    return FittedTable("Runs", columns)
