"""Verdicts in words: what helped, by how much and how sure that is, or that the data do not show it."""

import math
from dataclasses import dataclass
from typing import Literal

from popgrad.statistics.bootstrap import ENOUGH, LEVEL, Interval

Outcome = Literal["better", "worse", "unclear", "few seeds", "no winner"]


@dataclass(frozen=True)
class Difference:
    """A strategy beside the baseline. Differences are such that positive is better.

    Attributes:
        strategy: Label of the strategy.
        baseline: Label of the baseline.
        metric: Metric that ranks.
        minimize: Whether a lower metric is better.
        split: Split that the scores of the winners are from: "validation" or "test".
        seeds: Pairs that share a seed, or the seeds of the smaller group if `paired` is false.
        paired: Whether the runs are compared by seed.
        interval: Mean difference with its interval; nan = nothing can be compared.
        level: Confidence level of the interval.
        comparisons: Comparisons with the same baseline, which the level accounts for.
        steps: Member-steps of a run of the strategy.
        baseline_steps: Member-steps of a run of the baseline.
        lost: Finished runs of either that have no winner.
    """

    strategy: str
    baseline: str
    metric: str
    minimize: bool
    split: str
    seeds: int
    paired: bool
    interval: Interval
    level: float = LEVEL
    comparisons: int = 1
    steps: tuple[int, ...] = ()
    baseline_steps: tuple[int, ...] = ()
    lost: int = 0

    @property
    def outcome(self) -> Outcome:
        """Outcome: it is "better" or "worse" only if the interval excludes zero, with enough seeds."""
        if self.lost:
            return "no winner"
        if self.seeds < ENOUGH or not math.isfinite(self.interval.low):
            return "few seeds"
        if not self.interval.excludes_zero:
            return "unclear"
        return "better" if self.interval.value > 0 else "worse"

    @property
    def equal_budgets(self) -> bool:
        """Whether all runs of both have trained as many member-steps."""
        return len({*self.steps, *self.baseline_steps}) <= 1


def sentence(difference: Difference) -> str:
    """Return a verdict in words.

    Example:
        >>> gain = Interval(0.0123, 0.004, 0.0206)
        >>> words = sentence(Difference("pbt", "random-search", "acc", False, "test", 5, True, gain))
        >>> print(words.partition(" (")[0])
        pbt helped: the test acc of its winner is on average 0.0123 higher than that of random-search
    """
    words = _outcome_words(difference)
    if difference.equal_budgets or difference.outcome == "no winner":
        return words
    ours = _steps_words(difference.steps)
    theirs = _steps_words(difference.baseline_steps)
    return (
        f"{words} The budgets differ, which may explain a difference: a run of {difference.strategy} "
        f"trained {ours} member-steps, one of {difference.baseline} {theirs}."
    )


def _outcome_words(difference: Difference) -> str:
    name = difference.strategy
    outcome = difference.outcome
    unclear = f"The data do not show whether {name} helps"
    if outcome == "no winner":
        runs = "1 run has" if difference.lost == 1 else f"{difference.lost} runs have"
        return (
            f"{unclear}: {runs} no winner, since all members failed, and the other runs are no fair "
            f"sample beside {difference.baseline}."
        )
    if outcome == "few seeds":
        return _few_seeds_words(difference)

    measured = _measured_words(difference)
    basis = f"({_basis(difference)})"
    if outcome == "better":
        return f"{name} helped: {measured} {basis}."
    if outcome == "worse":
        return f"{name} was worse: {measured} {basis}."
    return f"{unclear}: {measured}, but the interval includes zero {basis}."


def _few_seeds_words(difference: Difference) -> str:
    name = difference.strategy
    kind = "shared seeds" if difference.paired else "seeds of each"
    need = f"a verdict needs {ENOUGH} {kind}"
    if not difference.seeds:
        return (
            f"The data do not show whether {name} helps: it has no finished run, or "
            f"{difference.baseline} has none; {need}."
        )
    few = "1 seed" if difference.seeds == 1 else f"{difference.seeds} seeds"
    return f"{few} cannot show whether {name} helps: {_measured_words(difference)}; {need}."


def _measured_words(difference: Difference) -> str:
    """Return the size and the direction of a difference, as the metric has it."""
    winner = f"the {difference.split} {difference.metric} of its winner"
    value = difference.interval.value
    if value == 0:
        return f"{winner} is on average that of {difference.baseline}"
    upwards = (value > 0) != difference.minimize
    size = f"{abs(value):.{difference.interval.decimals}f}"
    direction = "higher" if upwards else "lower"
    return f"{winner} is on average {size} {direction} than that of {difference.baseline}"


def _basis(difference: Difference) -> str:
    """Return the interval and what it rests on, in the direction that the amount states."""
    size = difference.interval.size
    low, high = (f"{end:.{size.decimals}f}" for end in (size.low, size.high))

    several = ""
    if difference.comparisons > 1:
        together = f"{100 * LEVEL:.3g} %"
        several = f"; {together} over the {difference.comparisons} comparisons together"
    level = f"{100 * difference.level:.3g} %"
    seeds = f"{difference.seeds} {'shared seeds' if difference.paired else 'seeds or more of each'}"
    return f"{level} interval {low} to {high}, {seeds}{several}"


def _steps_words(steps: tuple[int, ...]) -> str:
    if not steps:
        return "no"
    if len(steps) == 1:
        return f"{steps[0]:,}"
    return f"{steps[0]:,} to {steps[-1]:,}"
