"""Stagnation: the two rules, and the smoothing between them."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from popgrad.strategies.stagnation import matern, rounds_without_gain, smooth_series

RULES = {"stagnant_rounds": 3, "slow_rounds": 15}


def counts(scores, **rules):
    """Return the count after each round of a series."""
    found = [0]
    for end in range(1, len(scores) + 1):
        found.append(rounds_without_gain(scores[:end], found[-1], **RULES | rules))
    return found[1:]


def test_a_rising_series_has_no_round_without_a_gain():
    assert counts(np.linspace(0, 1, 12).tolist()) == [0] * 12


def test_a_falling_series_reaches_patience_after_as_many_rounds():
    assert counts([5.0, 4.0, 3.0, 2.0]) == [0, 1, 2, 3]


def test_a_constant_series_has_no_gain():
    assert counts([1.0] * 5) == [0, 1, 2, 3, 4]


def test_a_gain_starts_the_count_again():
    series = [*np.linspace(0, 1, 8), 0.9, 0.7, *np.linspace(0.9, 3, 6)]
    found = counts(series)
    assert max(found) >= 1
    assert found[-1] == 0


def test_a_noisy_trend_counts_fewer_rounds_than_fall():
    rng = np.random.default_rng(0)
    series = (np.linspace(0, 10, 30) + rng.normal(0, 0.5, 30)).tolist()
    falls = sum(after < before for before, after in pairwise(series))
    without_gain = sum(count > 0 for count in counts(series, slow_rounds=100))
    assert without_gain < falls / 2


def test_from_fifteen_rounds_on_a_slow_gain_is_a_stagnation_at_once():
    # A jump at the start, and then a gain of 0.5 in 14 rounds; the standard deviation is above 2.
    series = [0.0, *np.linspace(9.5, 10, 15)]
    assert rounds_without_gain(series, 0, **RULES) == 3
    # The maximum of all rounds but the last 14 is that of the first: the gain is large.
    assert rounds_without_gain(series[:15], 0, **RULES) <= 1
    assert rounds_without_gain(series[:14], 0, **RULES) <= 1
    assert rounds_without_gain(series[:15], 0, stagnant_rounds=3, slow_rounds=14) == 3


def test_the_standard_deviation_is_unbiased():
    # The gain in the last 3 of 4 rounds is 0.65: 1.10 deviations if biased, 0.95 if not.
    series = [0.0, -1.0, 0.0, 0.65]
    assert 0.65 / np.std(series, ddof=1) < 1 < 0.65 / np.std(series)
    assert rounds_without_gain(series, 0, stagnant_rounds=3, slow_rounds=3) == 3
    assert rounds_without_gain([*series[:3], 0.75], 0, stagnant_rounds=3, slow_rounds=3) == 0


def test_the_smooth_series_is_that_of_the_likeliest_matern_process():
    series = np.sin(np.linspace(0, 3, 20)) + np.random.default_rng(3).normal(0, 0.3, 20)
    series = (series - series.mean()) / series.std(ddof=1)
    positions = np.linspace(0, 1, 20)[:, None]
    kernel = ConstantKernel() * Matern(nu=2.5) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, random_state=0).fit(positions, series)
    assert smooth_series(series) == pytest.approx(model.predict(positions), abs=0.15)


def test_the_kernel_is_that_of_scikit_learn():
    positions = np.random.default_rng(0).normal(size=(6, 1))
    distances = np.abs(positions - positions.T)
    assert matern(distances / 0.7) == pytest.approx(Matern(0.7, nu=2.5)(positions))
