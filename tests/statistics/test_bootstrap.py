"""Interquartile means, bootstrap intervals and probabilities of improvement, against SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from popgrad import UsageError
from popgrad.statistics.bootstrap import (
    Interval,
    bootstrap,
    interquartile_mean,
    iqm,
    probability_of_improvement,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 10, 101])
def test_the_interquartile_mean_is_the_mean_trimmed_by_a_quarter(count: int) -> None:
    scores = RNG.normal(size=(3, count))
    assert np.allclose(interquartile_mean(scores), stats.trim_mean(scores, 0.25, axis=-1))


def test_an_outlier_does_not_move_the_interquartile_mean() -> None:
    assert interquartile_mean(np.array([1.0, 2.0, 3.0, 4.0, -1e9])) == 2.0


def test_an_interval_agrees_with_scipys_percentile_bootstrap() -> None:
    scores = RNG.normal(size=12)
    ours = iqm(scores)
    theirs = stats.bootstrap(
        (scores,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)
    assert ours.low < ours.value < ours.high


def test_equal_scores_give_equal_intervals() -> None:
    scores = RNG.normal(size=6)
    assert iqm(scores) == iqm(scores.copy())
    assert iqm(scores, level=0.5).low > iqm(scores).low


def test_seeds_are_resampled_within_their_stratum() -> None:
    def means(strata: list[np.ndarray]) -> np.ndarray:
        assert [each.shape[1] for each in strata] == [2, 3]
        assert set(np.unique(strata[0])) <= {0.0, 1.0}
        assert set(np.unique(strata[1])) <= {100.0, 101.0}
        return np.mean([each.mean(axis=1) for each in strata], axis=0)

    estimate = bootstrap([np.array([0.0, 1.0]), np.array([100.0, 100.0, 101.0])], means)
    assert estimate.low >= 50.0
    assert estimate.high <= 51.0


def test_a_single_score_has_no_interval() -> None:
    estimate = iqm(np.array([0.5]))
    assert estimate.value == 0.5
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert not estimate.excludes_zero


@pytest.mark.parametrize("strata", [[], [np.array([])], [np.array([1.0, np.nan])]])
def test_scores_that_are_missing_are_refused(strata: list[np.ndarray]) -> None:
    with pytest.raises(UsageError, match="strata"):
        bootstrap(strata, lambda each: each[0].mean(axis=1))


def test_the_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    ours, theirs = (
        RNG.integers(0, 5, size=9).astype(float),
        RNG.integers(0, 5, size=7).astype(float),
    )
    expected = stats.mannwhitneyu(ours, theirs).statistic / (9 * 7)
    assert probability_of_improvement([ours], [theirs]).value == pytest.approx(expected)


def test_the_probability_of_improvement_is_a_mean_over_tasks() -> None:
    wins, losses = np.array([2.0, 3.0]), np.array([0.0, 1.0])
    assert probability_of_improvement([wins], [losses]) == Interval(1.0, 1.0, 1.0)
    assert probability_of_improvement([wins, losses], [losses, wins]).value == 0.5
    assert probability_of_improvement([wins], [wins]).value == 0.5
    with pytest.raises(UsageError, match="the same tasks"):
        probability_of_improvement([wins], [losses, wins])


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)]
)
def test_an_interval_excludes_zero_if_both_ends_have_one_sign(
    low: float, high: float, excludes: bool
) -> None:
    assert Interval((low + high) / 2, low, high).excludes_zero is excludes
    assert not Interval(0.0, 0.0, 0.1).excludes_zero


@pytest.mark.parametrize(
    ("interval", "decimals"),
    [
        (Interval(0.5, 0.4, 0.6), 2),
        (Interval(0.5, 0.49, 0.51), 3),
        (Interval(0.1, 0.08, 0.12), 3),
        (Interval(120.0, 80.0, 160.0), 0),
        (Interval(0.5), 4),
        (Interval(0.5, 0.5, 0.5), 4),
        (Interval(0.0, 0.0, 0.0), 2),
        (Interval(float("nan")), 2),
    ],
)
def test_an_estimate_has_the_decimals_that_its_interval_supports(
    interval: Interval, decimals: int
) -> None:
    assert interval.decimals == decimals


def test_the_size_of_a_difference_has_its_direction() -> None:
    assert Interval(0.2, -0.1, 0.5).size == Interval(0.2, -0.1, 0.5)
    assert Interval(-0.2, -0.5, 0.1).size == Interval(0.2, -0.1, 0.5)
    assert str(Interval(-0.2, -0.2, 0.0).size.low) == "0.0"
