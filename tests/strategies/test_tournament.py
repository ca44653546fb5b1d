"""Tournaments: copy rates with and without noise, and who is replaced."""

import math

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space
from popgrad.strategies import tournament

SPACE = Space({"lr": LogUniform(1e-9, 1e9)})


def population(scores):
    n = len(scores)
    return Population(
        np.array(scores, float), np.full(n, 3), np.full(n, 30), [{"lr": 1.0 + i} for i in range(n)]
    )


def sources(members, seed=0, ready=None, **settings):
    ready = np.arange(len(members)) if ready is None else np.array(ready)
    strategy = tournament(SPACE, **settings)
    return np.array(strategy.step(Rng(seed), members, ready, strategy.init())[0].sources)


def test_noise_replaces_half_of_equal_members():
    scores = np.random.default_rng(0).normal(size=4000)
    copied = sources(population(scores)) != np.arange(4000)
    # Three standard errors of a share of 4,000 are 0.024.
    assert abs(copied.mean() - 0.5) < 0.025


def test_equal_scores_replace_none():
    assert (sources(population(np.zeros(1000))) == np.arange(1000)).all()


def test_only_a_better_member_is_inherited_from_and_then_explored():
    members = population([3.0, 1.0, 2.0])
    strategy = tournament(SPACE, factors=[0.5])
    for seed in range(20):
        plan, _ = strategy.step(Rng(seed), members, np.arange(3), strategy.init())
        for member, source in enumerate(plan.sources):
            assert source == member or members.scores[source] > members.scores[member]
            factor = 1.0 if source == member else 0.5
            assert plan.hparams[member]["lr"] == members.hparams[source]["lr"] * factor
        assert plan.sources[1] != 1  # the worst loses against either


def test_larger_tournaments_select_harder():
    # The best of k - 1 others is among the best tenth in 1 - 0.9^(k - 1) of the tournaments.
    members = population(np.arange(2000.0))
    for k in (2, 5):
        got = sources(members, k=k)[:1800]
        assert abs((got >= 1800).mean() - (1 - 0.9 ** (k - 1))) < 0.035


def test_the_elite_is_never_replaced():
    members = population([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    replaced = {
        elitism: {
            member
            for seed in range(60)
            for member, source in enumerate(sources(members, seed, elitism=elitism))
            if member != source
        }
        for elitism in (0, 1, 3)
    }
    assert replaced == {0: {1, 2, 3, 4, 5}, 1: {1, 2, 3, 4, 5}, 3: {3, 4, 5}}


def test_in_a_generational_one_all_but_the_elite_are_drawn_from_the_best_of_k():
    members = population([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    draws = np.array([sources(members, seed, generational=True, k=2) for seed in range(1000)])
    assert (draws[:, 0] == 0).all()
    # The best of six is the better of two drawn ones in 11 of 36 cases, the worst in 1 of 36.
    assert abs((draws[:, 1:] == 0).mean() - 11 / 36) < 0.02
    assert abs((draws[:, 1:] == 5).mean() - 1 / 36) < 0.01
    without = np.array([sources(members, s, generational=True, elitism=0) for s in range(200)])
    assert (without[:, 0] != 0).any()


@pytest.mark.parametrize("settings", [{}, {"generational": True}])
def test_a_failed_member_gets_a_living_donor(settings):
    members = population([math.nan, math.inf, 0.5, math.nan, 0.25])
    for seed in range(20):
        assert set(sources(members, seed, **settings)[[0, 1, 3]]) <= {2, 4}


def test_members_decide_one_by_one_as_they_do_together():
    members = population(np.random.default_rng(1).normal(size=8))
    together = sources(members)
    assert [sources(members, ready=[member])[0] for member in range(8)] == together.tolist()


def test_before_any_other_member_has_a_score_a_failed_one_waits():
    members = Population(
        np.array([math.nan, math.nan]), np.array([1, 0]), np.array([10, 0]), [{"lr": 1.0}] * 2
    )
    assert sources(members, ready=[0]).tolist() == [0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 1}, "k: expected a number of members, 2 or more, got 1"),
        ({"k": 2.5}, "k: expected a number of members, 2 or more, got 2.5"),
        ({"elitism": -1}, "elitism: expected a number of members, 0 or more, got -1"),
        ({"generational": 1}, "generational: expected true or false, got 1"),
        ({"factors": []}, "factors: expected at least one number"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        tournament(SPACE, **settings)
