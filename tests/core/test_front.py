"""Pareto fronts against a brute force."""

import numpy as np
import pytest

from popgrad.core.front import front, non_dominated_ranks, scattered_order


def dominates(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(
        x > y for x, y in zip(a, b, strict=True)
    )


def brute_force_ranks(rows):
    ranks = {}
    rank = 0
    while len(ranks) < len(rows):
        left = [i for i in range(len(rows)) if i not in ranks]
        best = [i for i in left if not any(dominates(rows[j], rows[i]) for j in left)]
        ranks.update(dict.fromkeys(best, rank))
        rank += 1
    return [ranks[i] for i in range(len(rows))]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_ranks_and_front_equal_those_of_a_brute_force(objectives):
    rng = np.random.default_rng(objectives)
    for _ in range(40):
        # Few distinct values, so that many rows are equal in an objective, and some in all of them.
        rows = rng.integers(0, 6, size=(rng.integers(1, 15), objectives)).astype(float)
        ranks = brute_force_ranks(rows.tolist())
        assert non_dominated_ranks(rows).tolist() == ranks
        assert front(rows).tolist() == [i for i, rank in enumerate(ranks) if rank == 0]


def test_a_row_that_is_not_finite_ranks_behind_all_and_dominates_nothing():
    rows = np.array([[np.inf, 9.0], [1.0, 1.0], [0.0, 0.0], [np.nan, 9.0], [-np.inf, 1.0]])
    assert non_dominated_ranks(rows).tolist() == [2, 0, 1, 2, 2]
    assert front(rows).tolist() == [1]
    assert front(np.full((2, 2), np.nan)).tolist() == []
    assert non_dominated_ranks(np.full((2, 2), np.nan)).tolist() == [0, 0]


def test_without_rows_there_is_no_front():
    assert front(np.zeros((0, 2))).tolist() == []
    assert non_dominated_ranks(np.zeros((0, 2))).tolist() == []
    assert scattered_order(np.zeros((0, 2)), np.zeros(0, np.int64)).tolist() == []


def test_within_a_front_the_ends_come_first_then_the_largest_gap():
    a = np.array([0.0, 0.1, 0.45, 0.5, 1.0])
    rows = np.stack([a, 1 - a], axis=1)
    assert scattered_order(rows, non_dominated_ranks(rows)).tolist() == [4, 0, 3, 1, 2]


def test_a_later_front_is_measured_from_the_former_ones_too():
    # Row 2 and 3 are on front 1; row 3 is next to row 0, so row 2 comes first.
    rows = np.array([[1.0, 0.5], [0.5, 1.0], [0.4, 0.45], [0.95, 0.3]])
    ranks = non_dominated_ranks(rows)
    assert ranks.tolist() == [0, 0, 1, 1]
    assert scattered_order(rows, ranks).tolist() == [0, 1, 2, 3]


def test_the_unit_of_an_objective_does_not_matter():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.random((12, 2))
        ranks = non_dominated_ranks(rows)
        scaled = scattered_order(rows * [1.0, 2.0**20], ranks)
        assert scaled.tolist() == scattered_order(rows, ranks).tolist()
        assert (np.diff(ranks[scaled]) >= 0).all()
