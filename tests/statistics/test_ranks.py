"""Ranks, Friedman's test and signed ranks, against SciPy, every sign by hand, and Demsar's table."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from popgrad.statistics.ranks import (
    chi_square_tail,
    cliques,
    friedman,
    holm,
    ranks,
    signed_rank,
    tasks_needed,
)

RNG = np.random.default_rng(0)


def test_ranks_share_ties_and_the_best_is_first() -> None:
    scores = RNG.integers(0, 4, size=(6, 5)).astype(float)
    assert np.array_equal(ranks(scores), stats.rankdata(-scores, axis=1))


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("x", [0.0, 0.3, 2.0, 9.5, 40.0])
def test_the_tail_is_that_of_chi_square(x: float, degrees: int) -> None:
    assert chi_square_tail(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("strategies", [3, 4, 6])
def test_friedmans_test_agrees_with_scipy(strategies: int, ties: bool) -> None:
    scores = RNG.normal(size=(9, strategies))
    if ties:
        scores = scores.round(0)
    expected = stats.friedmanchisquare(*scores.T)
    assert friedman(scores) == pytest.approx((expected.statistic, expected.pvalue))


def test_friedmans_test_of_scores_that_are_all_equal_finds_nothing() -> None:
    assert friedman(np.ones((4, 3))) == (0.0, 1.0)


@pytest.mark.parametrize("count", [1, 2, 5, 9, 20])
def test_signed_ranks_without_ties_agree_with_scipy(count: int) -> None:
    differences = RNG.normal(0.3, 1.0, size=count)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank(differences) == pytest.approx(expected)


def test_signed_ranks_with_ties_and_zeros_count_every_sign() -> None:
    differences = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, 0.0])
    sizes = stats.rankdata(np.abs(differences[:-1]))
    present = sizes[differences[:-1] > 0].sum()
    extreme = min(present, sizes.sum() - present)
    sums = [sizes[np.array(signs, dtype=bool)].sum() for signs in product([0, 1], repeat=6)]
    expected = 2 * np.mean([total <= extreme for total in sums])
    assert signed_rank(differences) == pytest.approx(expected)
    assert signed_rank(np.zeros(3)) == 1.0


def test_holms_correction_is_that_of_a_hand_case() -> None:
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_strategies_that_do_not_differ_are_in_one_clique() -> None:
    tasks = np.arange(10.0)[:, None]
    noise = 0.01 * RNG.normal(size=(10, 2))
    scores = np.hstack([tasks + noise, tasks - 5.0])
    (together,) = cliques(scores)
    assert set(together) == {0, 1}
    assert cliques(np.hstack([tasks, tasks - 1, tasks - 2])) == []


def test_cliques_overlap_if_only_the_ends_differ() -> None:
    noise = np.random.default_rng(6).normal(0.0, 0.5, size=(9, 3))
    assert cliques(np.array([1.0, 0.5, 0.0]) + noise) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("strategies", [2, 3, 4, 5])
def test_fewer_tasks_than_needed_can_set_no_two_apart(strategies: int) -> None:
    needed = tasks_needed(strategies)
    values = np.arange(strategies, 0.0, -1.0)

    def apart(tasks: int) -> bool:
        return cliques(values + np.arange(float(tasks))[:, None]) == []

    assert apart(needed)
    assert not apart(needed - 1)
