"""Summaries of groups: their scores over seeds, each beside the baseline, and ranks over tasks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from popgrad.comparison.groups import Group, Problem
from popgrad.comparison.verdict import Difference
from popgrad.core.errors import UsageError
from popgrad.core.seeding import Floats
from popgrad.statistics.bootstrap import (
    ENOUGH,
    LEVEL,
    Interval,
    interquartile_mean,
    iqm,
    probability_of_improvement,
)
from popgrad.statistics.difference import independent_difference, paired_difference
from popgrad.statistics.ranks import cliques, friedman, ranks, tasks_needed

BASELINE = "random-search"
"""Strategy that the others are compared with, unless another is named."""

_MOST_PAIRS = 6
"""Most pairs that a sentence names; more are counted, and the diagram shows them."""


@dataclass(frozen=True)
class Summary:
    """A group in numbers. Scores are such that higher is better; means are interquartile.

    Attributes:
        group: The group.
        winner: Mean validation score of the winners; None = no trial counts.
        median: Mean validation score of the median members; None = as for `winner`.
        test: Mean test score of the winners; None = one of them is not on record.
        improvement: Probability that its winner beats that of the baseline; None = it is the
            baseline, or nothing can be compared.
        differences: Its winners beside those of the baseline: on the validation split, and on the
            test split if both are tested.
    """

    group: Group
    winner: Interval | None
    median: Interval | None
    test: Interval | None
    improvement: Interval | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Report:
    """A problem with its groups in numbers.

    Attributes:
        problem: The problem.
        baseline: Label of the group that the others are compared with.
        summaries: Summaries in the order of the groups.
    """

    problem: Problem
    baseline: str
    summaries: tuple[Summary, ...]


def summarise(problem: Problem, baseline: str | None = None) -> Report:
    """Return a problem in numbers.

    Args:
        problem: The problem.
        baseline: Label of the group, or name of the strategy, to compare with; None = random-search,
            else the first group.

    Raises:
        UsageError: There is no such group, or there are several.
    """
    reference = _find_baseline(problem, baseline)
    comparisons = len(problem.groups) - 1
    summaries = tuple(_summary(group, reference, problem, comparisons) for group in problem.groups)
    return Report(problem, reference.label, summaries)


def _find_baseline(problem: Problem, name: str | None) -> Group:
    labels = [group.label for group in problem.groups]
    wanted = BASELINE if name is None else name
    if wanted in labels:
        return problem.groups[labels.index(wanted)]

    matching = [
        group
        for group in problem.groups
        if group.trials[0].setting["strategy"].get("name") == wanted
    ]
    if name is None:
        return (matching or problem.groups)[0]
    if len(matching) != 1:
        raise UsageError(
            f"--baseline: expected one of {', '.join(map(repr, labels))}, got {name!r:.100}"
        )
    return matching[0]


def _summary(group: Group, reference: Group, problem: Problem, comparisons: int) -> Summary:
    if not group.counted:
        own = Summary(group, None, None, None)
    else:
        test = iqm(group.scores("test")) if group.tested else None
        own = Summary(group, iqm(group.scores()), iqm(group.scores("median")), test)
    if group is reference:
        return own

    improvement = None
    if group.counted and reference.counted:
        improvement = probability_of_improvement([group.scores()], [reference.scores()])
    kinds = ["winner", "test"] if group.tested and reference.tested else ["winner"]
    differences = tuple(_difference(group, reference, problem, kind, comparisons) for kind in kinds)
    return Summary(group, own.winner, own.median, own.test, improvement, differences)


def _difference(
    group: Group, reference: Group, problem: Problem, kind: str, comparisons: int
) -> Difference:
    """Return the difference of a group from the baseline: by seed if enough are shared."""
    ours = {
        trial.seed: score for trial, score in zip(group.counted, group.scores(kind), strict=True)
    }
    theirs = {
        trial.seed: score
        for trial, score in zip(reference.counted, reference.scores(kind), strict=True)
    }
    shared = [seed for seed in ours if seed in theirs]
    fewest = min(len(ours), len(theirs))
    paired = len(shared) >= ENOUGH or (bool(shared) and fewest < ENOUGH)
    level = 1 - (1 - LEVEL) / comparisons  # Bonferroni: all intervals together hold with LEVEL

    interval = Interval(np.nan)
    if paired:
        own, other = (np.array([scores[seed] for seed in shared]) for scores in (ours, theirs))
        interval = paired_difference(own, other, level=level)
    elif fewest:
        own, other = group.scores(kind), reference.scores(kind)
        interval = independent_difference(own, other, level=level)

    return Difference(
        strategy=group.label,
        baseline=reference.label,
        metric=problem.ranking.metric,
        minimize=problem.ranking.minimize,
        split="test" if kind == "test" else "validation",
        seeds=len(shared) if paired else fewest,
        paired=paired,
        interval=interval,
        level=level,
        comparisons=comparisons,
        steps=group.steps,
        baseline_steps=reference.steps,
        lost=group.lost + reference.lost,
    )


# --- several tasks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """Ranks of strategies over several tasks.

    Attributes:
        labels: Strategies, the best mean rank first.
        ranks: Mean rank of each over the tasks; 1 = best.
        tasks: Number of tasks.
        p_value: Probability of ranks as unequal if all were equal, by Friedman's test.
        cliques: Groups of neighbours of which no two differ significantly, as rows of `labels`.
    """

    labels: tuple[str, ...]
    ranks: tuple[float, ...]
    tasks: int
    p_value: float
    cliques: tuple[tuple[int, ...], ...]

    @property
    def sentence(self) -> str:
        """The result in words."""
        places = ", ".join(
            f"{label} {rank:.2f}" for label, rank in zip(self.labels, self.ranks, strict=True)
        )
        words = f"Mean ranks over {self.tasks} tasks: {places} (Friedman p = {self.p_value:.2g})"

        inside = {row for clique in self.cliques for row in clique}
        apart = [
            f"{self.labels[a]} and {self.labels[b]}"
            for a, b in combinations(range(len(self.labels)), 2)
            if not any({a, b} <= set(clique) for clique in self.cliques)
        ]

        if not apart:
            return f"{words}; no two differ significantly."
        if not inside:
            return f"{words}; all differ significantly."
        if len(apart) > _MOST_PAIRS:
            pairs = math.comb(len(self.labels), 2)
            return (
                f"{words}; {len(apart)} of the {pairs} pairs differ significantly: see the diagram."
            )
        return f"{words}; these differ significantly: {', '.join(apart)}."


def rank_over_tasks(reports: Sequence[Report]) -> tuple[Ranking | None, str]:
    """Return the ranks of the strategies over tasks, and a note on why there are none.

    The note is empty if there are ranks, or nothing to rank: a single task, or a single strategy.
    """
    labels = [
        summary.group.label
        for summary in reports[0].summaries
        if all(summary.group.label in _enough(report) for report in reports)
    ]
    if len(reports) < 2 or max(len(report.summaries) for report in reports) < 2:
        return None, ""
    if len(labels) < 2:
        return None, (
            f"Ranks over tasks need two strategies or more with {ENOUGH} finished runs on every task."
        )
    if len({report.problem.ranking.text for report in reports}) > 1:
        return None, (
            "Ranks over tasks need one metric, since signed ranks compare differences between tasks."
        )
    needed = tasks_needed(len(labels))
    if len(reports) < needed:
        return None, (
            f"Ranks over tasks need {needed} tasks for {len(labels)} strategies, got {len(reports)}: with "
            "fewer, no difference could be significant, even if one strategy won on all."
        )

    scores: Floats = np.array(
        [
            [float(interquartile_mean(_enough(report)[label])) for label in labels]
            for report in reports
        ]
    )
    means = ranks(scores).mean(axis=0)
    order = np.argsort(means, kind="stable").tolist()
    place = {column: row for row, column in enumerate(order)}
    joined = tuple(tuple(place[column] for column in clique) for clique in cliques(scores))
    ordered = tuple(labels[column] for column in order)
    return Ranking(
        ordered, tuple(means[order].tolist()), len(reports), friedman(scores)[1], joined
    ), ""


def _enough(report: Report) -> dict[str, Floats]:
    """Return the scores of the groups with enough seeds, by label."""
    return {
        summary.group.label: summary.group.scores()
        for summary in report.summaries
        if len(summary.group.counted) >= ENOUGH
    }
