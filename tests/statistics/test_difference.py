"""Differences of means, against SciPy, and how often their intervals are wrong."""

import math

import numpy as np
import pytest
from scipy import stats

from popgrad import UsageError
from popgrad.statistics.bootstrap import Interval, bootstrap
from popgrad.statistics.difference import (
    independent_difference,
    paired_difference,
    student_quantile,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 31, 100])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99, 1 - 0.05 / 15])
def test_quantiles_are_those_of_students_distribution(degrees: int, level: float) -> None:
    expected = stats.t.ppf((1 + level) / 2, degrees)
    assert student_quantile(level, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_a_paired_difference_has_the_interval_of_the_paired_t_test(level: float) -> None:
    ours, theirs = RNG.normal(size=(2, 6))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(level)
    difference = paired_difference(ours, theirs, level=level)
    assert difference == pytest.approx((np.mean(ours - theirs), expected.low, expected.high))


def test_an_independent_difference_has_welchs_interval_or_a_little_more() -> None:
    ours, theirs = RNG.normal(size=7), 3 * RNG.normal(size=9)
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    difference = independent_difference(ours, theirs)
    assert difference.low <= expected.low
    assert difference.high - difference.low < 1.03 * (expected.high - expected.low)


def test_differences_that_do_not_vary_have_an_interval_without_width() -> None:
    same = np.array([1.0, 2.0, 3.0])
    assert paired_difference(same + 0.5, same) == Interval(0.5, 0.5, 0.5)
    assert independent_difference(np.ones(3), np.zeros(2)) == Interval(1.0, 1.0, 1.0)


def test_a_single_pair_has_no_interval() -> None:
    assert math.isnan(paired_difference(np.array([1.0]), np.array([0.0])).low)
    assert math.isnan(independent_difference(np.array([1.0]), np.array([0.0, 1.0])).high)


def test_unequal_numbers_of_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="as many pairs"):
        paired_difference(np.ones(3), np.ones(2))


def test_five_pairs_of_equals_are_rarely_set_apart_but_a_bootstrap_would() -> None:
    """The reason for Student's interval: 5 % of 1,000 comparisons of equals, give or take 2 %."""
    samples = np.random.default_rng(1).normal(size=(1000, 5))
    zeros = np.zeros(5)
    student = [paired_difference(each, zeros).excludes_zero for each in samples]
    assert 0.03 < np.mean(student) < 0.07
    resampled = [
        bootstrap([each], lambda strata: strata[0].mean(axis=1), resamples=200).excludes_zero
        for each in samples
    ]
    assert np.mean(resampled) > 0.12
