"""Comparison of training curves: hand cases, and the two libraries that it equals."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.gaussian_process import GaussianProcessRegressor

from popgrad.strategies.curves import (
    Curve,
    best_score_difference,
    overlap,
    sign_test,
    smooth,
    upper_tail,
)


def plain(*scores):
    """Return a curve that is its own smooth version."""
    values = np.array(scores, dtype=np.float64)
    return Curve(values, values)


@pytest.mark.parametrize("trials", [1, 2, 9, 30, 100])
def test_the_tail_of_fair_tosses_is_that_of_scipy(trials):
    for successes in range(trials + 1):
        expected = binomtest(successes, trials, alternative="greater").pvalue
        assert upper_tail(successes, trials) == pytest.approx(expected, rel=1e-12)


def test_smoothing_is_the_regression_of_scikit_learn_with_its_kernel_fixed():
    rng = np.random.default_rng(0)
    for length in (1, 2, 10, 30):
        scores = np.cumsum(rng.normal(0.1, 0.3, length))
        positions = np.arange(length)[:, None] / length
        model = GaussianProcessRegressor(optimizer=None, normalize_y=True).fit(positions, scores)
        assert smooth(scores).smooth == pytest.approx(model.predict(positions), abs=1e-3)


def test_smoothing_removes_noise_and_keeps_a_trend():
    trend = np.linspace(0.0, 1.0, 40)
    noisy = trend + np.random.default_rng(1).normal(0, 0.1, 40)
    smoothed = smooth(noisy).smooth
    assert np.abs(smoothed - trend).mean() < 0.6 * np.abs(noisy - trend).mean()


def test_smoothing_commutes_with_a_shift():
    scores = np.random.default_rng(2).normal(size=20)
    moved = smooth(scores - 3.0)
    assert smooth(scores).minus(3.0).smooth == pytest.approx(moved.smooth, abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 1, 2, 3], [2, 3], (2, 0, 2)),  # the first reaches the second's start
        ([0, 1, 2, 3], [2, 3, 4, 5], (2, 0, 2)),  # the first ends first
        ([2, 3], [0, 1, 2, 3], (0, 2, 2)),  # the second reaches the first's start
        ([1, 2, 3], [1, 5], (0, 0, 2)),  # both start there
        ([0, 1], [2, 3], None),  # below as a whole
        ([2, 3], [0, 1], None),  # above as a whole
        ([5], [5], (0, 0, 1)),
        ([4], [5], None),
    ],
)
def test_an_overlap_starts_where_the_lower_curve_reaches_the_start_of_the_other(
    first, second, expected
):
    assert overlap(np.array(first, float), np.array(second, float)) == expected


def test_an_advantage_is_the_difference_of_the_best_scores_within_the_overlap():
    # The first reaches 2 at its third point: 2, 5, 6 against 2, 3, 4.
    assert best_score_difference(plain(0, 1, 2, 5, 6), plain(2, 3, 4)) == 2.0
    # The best score of the second lies behind the overlap, so that it does not count.
    assert best_score_difference(plain(2, 4), plain(2, 3, 9)) == 1.0
    assert best_score_difference(plain(2, 3, 4), plain(0, 1, 2, 5, 6)) == -2.0


def test_a_curve_below_another_as_a_whole_has_no_advantage():
    assert best_score_difference(plain(0, 1), plain(5, 6)) == 0.0


def test_a_curve_above_another_as_a_whole_is_moved_down_in_ten_steps():
    # From 10 - 4 = 6 on, in steps of 0.4, below 10 - 0: moved by 9.6, the first starts at 0.4 and
    # is compared with the second from its second point on: 2.4 - 3 ... the best shift is 6.
    above, below = plain(10, 12, 14, 16), plain(0, 1, 2, 3, 4)
    shifts = 6 + 0.4 * np.arange(10)
    expected = max(
        best_score_difference(above.minus(shift), below)
        for shift in shifts
        if overlap(above.smooth - shift, below.smooth)
    )
    assert best_score_difference(above, below) == pytest.approx(expected)
    assert expected > 0
    # One that does not rise gains nothing from any shift.
    assert best_score_difference(plain(10, 10, 10), below) == 0.0
    # A flat curve offers one shift only.
    assert best_score_difference(above, plain(1, 1, 1)) == 0.0


def test_the_sign_test_counts_the_points_of_the_overlap():
    first = plain(0, 1, 2, 5, 6, 7)
    second = plain(2, 3, 4, 9)
    expected = binomtest(2, 4, alternative="greater").pvalue
    assert sign_test(first, second) == pytest.approx(expected)


def test_without_an_overlap_the_sign_test_is_decided_or_compares_the_whole():
    assert sign_test(plain(8, 9), plain(1, 2)) == 0.0
    assert sign_test(plain(1, 2), plain(8, 9)) == 2.0
    # The scores cross, the smooth curves do not.
    crossed = Curve(np.array([1.0, 6.0, 1.0]), np.array([1.0, 2.0, 1.0]))
    flat = Curve(np.array([5.0, 5.0]), np.array([5.0, 5.0]))
    assert sign_test(crossed, flat) == upper_tail(1, 2)
