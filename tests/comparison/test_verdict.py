"""Verdicts in words: each outcome has one sentence, and none claims more than the data show."""

import math
from typing import Any

import pytest

from popgrad.comparison.verdict import Difference, sentence
from popgrad.statistics.bootstrap import ENOUGH, Interval

GAIN = Interval(0.0123, 0.004, 0.0206)


def difference(interval: Interval = GAIN, **changes: Any) -> Difference:
    values: dict[str, Any] = {
        "strategy": "pbt",
        "baseline": "random-search",
        "metric": "accuracy",
        "minimize": False,
        "split": "validation",
        "seeds": 5,
        "paired": True,
        "steps": (400,),
        "baseline_steps": (400,),
    }
    return Difference(interval=interval, **values | changes)


BEGIN = "the validation accuracy of its winner is on average"
SENTENCES = {
    f"pbt helped: {BEGIN} 0.0123 higher than that of random-search (95 % interval 0.0040 to 0.0206, "
    "5 shared seeds).": difference(),
    f"pbt was worse: {BEGIN} 0.0123 lower than that of random-search (95 % interval 0.0040 to 0.0206, "
    "5 shared seeds).": difference(Interval(-0.0123, -0.0206, -0.004)),
    f"The data do not show whether pbt helps: {BEGIN} 0.012 higher than that of random-search, but the "
    "interval includes zero (95 % interval -0.004 to 0.028, 5 shared seeds).": difference(
        Interval(0.012, -0.004, 0.028)
    ),
    f"The data do not show whether pbt helps: {BEGIN} 0.012 lower than that of random-search, but the "
    "interval includes zero (95 % interval -0.004 to 0.028, 5 shared seeds).": difference(
        Interval(-0.012, -0.028, 0.004)
    ),
    "pbt helped: the test loss of its winner is on average 0.20 lower than that of random-search (95 % "
    "interval 0.10 to 0.30, 7 shared seeds).": difference(
        Interval(0.2, 0.1, 0.3), metric="loss", minimize=True, split="test", seeds=7
    ),
    f"4 seeds cannot show whether pbt helps: {BEGIN} 0.0123 higher than that of random-search; a verdict "
    "needs 5 shared seeds.": difference(seeds=4),
    f"1 seed cannot show whether pbt helps: {BEGIN} 0.5000 lower than that of random-search; a verdict "
    "needs 5 shared seeds.": difference(Interval(-0.5), seeds=1),
    "The data do not show whether pbt helps: it has no finished run, or random-search has none; a "
    "verdict needs 5 seeds of each.": difference(Interval(math.nan), seeds=0, paired=False),
    "The data do not show whether pbt helps: 1 run has no winner, since all members failed, and the "
    "other runs are no fair sample beside random-search.": difference(lost=1),
    f"pbt helped: {BEGIN} 0.0123 higher than that of random-search (98.3 % interval 0.0040 to 0.0206, 9 "
    "seeds or more of each; 95 % over the 3 comparisons together).": difference(
        seeds=9, paired=False, level=1 - 0.05 / 3, comparisons=3
    ),
    f"pbt helped: {BEGIN} 0.0123 higher than that of random-search (95 % interval 0.0040 to 0.0206, "
    "5 shared seeds). The budgets differ, which may explain a difference: a run of pbt trained 1,200 "
    "to 1,300 member-steps, one of random-search 400.": difference(steps=(1200, 1300)),
    f"The data do not show whether pbt helps: {BEGIN} that of random-search, but the interval includes "
    "zero (95 % interval -1.0 to 1.0, 5 shared seeds).": difference(Interval(0.0, -1.0, 1.0)),
}


@pytest.mark.parametrize(("words", "given"), SENTENCES.items(), ids=range(len(SENTENCES)))
def test_the_sentence_of(words: str, given: Difference) -> None:
    assert sentence(given) == words


@pytest.mark.parametrize("seeds", range(10))
@pytest.mark.parametrize(
    "interval", [GAIN, Interval(-0.1, -0.2, -0.05), Interval(0.1, -0.1, 0.3), Interval(0.1)]
)
def test_a_difference_is_claimed_only_with_enough_seeds_and_an_interval_without_zero(
    seeds: int, interval: Interval
) -> None:
    given = difference(interval, seeds=seeds)
    claimed = "helped" in sentence(given) or "was worse" in sentence(given)
    assert claimed == (seeds >= ENOUGH and interval.excludes_zero)
    assert claimed == (given.outcome in ("better", "worse"))
