"""Rankings and opponents."""

import math

import numpy as np

from popgrad.core.population import Population
from popgrad.core.ranking import draw_other, rank_members
from popgrad.core.seeding import Rng


def population(scores, intervals=3):
    n = len(scores)
    return Population(
        np.array(scores, float), np.full(n, intervals), np.full(n, 30), [{} for _ in range(n)]
    )


def test_failed_members_rank_last_and_equal_scores_in_any_order():
    members = population([1.0, math.nan, 2.0, math.inf, 1.0])
    orders = {tuple(rank_members(Rng(seed), members).tolist()) for seed in range(20)}
    assert {order[0] for order in orders} == {2}
    assert {order[1:3] for order in orders} == {(0, 4), (4, 0)}
    assert {frozenset(order[3:]) for order in orders} == {frozenset({1, 3})}


def test_another_member_is_drawn_uniformly_and_never_the_member_itself():
    members = population(np.zeros(4))
    among = np.array([0, 2, 3])
    ready = np.array([1, 2])
    draws = np.array(
        [draw_other(Rng(seed), "opponent", members, ready, among) for seed in range(3000)]
    )
    assert np.bincount(draws[:, 0], minlength=4)[1] == 0
    assert np.bincount(draws[:, 1], minlength=4)[[1, 2]].tolist() == [0, 0]
    # 3,000 draws: three standard errors are 0.026 and 0.027.
    assert np.abs(np.bincount(draws[:, 0], minlength=4)[among] / 3000 - 1 / 3).max() < 0.03
    assert np.abs(np.bincount(draws[:, 1], minlength=4)[[0, 3]] / 3000 - 1 / 2).max() < 0.03


def test_without_another_member_it_is_itself():
    members = population(np.zeros(3))
    ready = np.array([0, 1])
    assert draw_other(Rng(0), "x", members, ready, np.array([1])).tolist() == [1, 1]
    assert draw_other(Rng(0), "x", members, ready, np.array([], np.int64)).tolist() == [0, 1]
