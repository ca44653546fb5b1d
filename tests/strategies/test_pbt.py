"""PBT as its settings promise."""

import math

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space
from popgrad.strategies import pbt, random_search

SPACE = Space({"lr": LogUniform(1e-9, 1e9)})


def population(scores, intervals=3):
    n = len(scores)
    return Population(
        np.array(scores), np.full(n, intervals), np.full(n, 30), [{"lr": 1.0 + i} for i in range(n)]
    )


def plan(members, seed=0, **settings):
    strategy = pbt(SPACE, **settings)
    return strategy.step(Rng(seed), members, np.arange(len(members)), strategy.init())[0]


def heirs(got):
    return [
        member for member, source in zip(got.members, got.sources, strict=True) if member != source
    ]


def test_by_default_the_worst_fifth_inherits_and_moves_by_four_fifths_or_its_inverse():
    members = population(np.arange(10.0))
    got = plan(members)
    assert heirs(got) == [0, 1]
    for heir in (0, 1):
        assert got.changes[heir]["lr"] in (0.8, 1.25)
        assert (
            got.hparams[heir]["lr"]
            == members.hparams[got.sources[heir]]["lr"] * got.changes[heir]["lr"]
        )


def test_a_fraction_of_zero_is_random_search_while_all_are_finite():
    members = population(np.arange(10.0))
    other = random_search(SPACE)
    assert (
        plan(members, fraction=0.0) == other.step(Rng(0), members, np.arange(10), other.init())[0]
    )


def test_during_burn_in_only_failed_members_are_replaced():
    scores = [math.nan, *np.arange(9.0)]
    assert heirs(plan(population(scores, intervals=1), burn_in=2)) == [0]
    assert heirs(plan(population(scores, intervals=2), burn_in=2)) == [0, 1]


def test_burn_in_counts_each_members_own_intervals():
    members = population(np.arange(10.0))
    members.intervals[1] = 1
    assert heirs(plan(members, burn_in=2)) == [0]


def test_resampling_can_replace_perturbation():
    got = plan(population(np.arange(10.0)), resample_probability=1.0)
    assert [got.changes[heir]["lr"] for heir in heirs(got)] == ["resampled"] * 2


def test_factors_may_be_given_by_name():
    got = plan(population(np.arange(10.0)), factors={"lr": [3.0], "default": [0.8]})
    assert [got.changes[heir]["lr"] for heir in heirs(got)] == [3.0] * 2
    assert got == plan(population(np.arange(10.0)), factors=[3.0])


def test_two_heirs_and_two_runs_draw_differently():
    members = population(np.arange(40.0))
    values = [
        tuple(h["lr"] for h in plan(members, seed, resample_probability=1.0).hparams[:8])
        for seed in (0, 1)
    ]
    assert len(set(values[0] + values[1])) == 16


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fraction": 0.6}, r"fraction: expected .* in \[0, 0.5\] .*, got 0.6"),
        ({"factors": (1.0,)}, "factors"),
        ({"factors": {"rl": [2.0]}}, "factors: unknown hyperparameter 'rl'"),
        ({"factors": {"lr": [1.0]}}, r"factors\.lr: expected numbers above 0 and other than 1"),
        ({"resample_probability": 2}, r"resample_probability: expected .* in \[0, 1\], got 2"),
        ({"burn_in": -1}, "burn_in: expected a number of intervals, 0 or more, got -1"),
        ({"burn_in": 1.5}, "burn_in: expected .*, got 1.5"),
        ({"burn_in": True}, "burn_in: expected .*, got True"),
    ],
)
def test_settings_out_of_range_are_refused_by_name_when_the_strategy_is_built(settings, says):
    with pytest.raises(UsageError, match=says):
        pbt(SPACE, **settings)


def aged(scores, intervals, steps=None):
    n = len(scores)
    steps = [10 * each for each in intervals] if steps is None else steps
    return Population(
        np.array(scores), np.array(intervals), np.array(steps), [{"lr": 1.0 + i} for i in range(n)]
    )


def asked(members, ready, seed=0, **settings):
    strategy = pbt(SPACE, **settings)
    return strategy.step(Rng(seed), members, np.array(ready), strategy.init())[0]


def test_with_same_age_a_member_is_ranked_among_its_elders_only():
    members = aged([0.9, 0.1, 0.2, 0.3], [1, 3, 3, 3])
    for seed in range(20):
        assert (
            asked(members, [1], seed, fraction=0.25, same_age=True).sources[0] == 3
        )  # not the young best
        assert asked(members, [1], seed, fraction=0.25).sources[0] == 0
        assert asked(members, [2], seed, fraction=0.25, same_age=True).sources[0] == 2
    young = aged([0.1, 0.5, 0.9], [1, 2, 2])
    assert asked(young, [0], fraction=0.34, same_age=True).sources[0] == 2
    alone = aged([0.1, 0.5, 0.9], [3, 2, 2])
    assert asked(alone, [0], fraction=0.5, same_age=True).sources[0] == 0  # nobody is as old
    failed = aged([math.nan, 0.5, 0.9], [3, 2, 2])
    assert (
        asked(failed, [0], fraction=0.5, same_age=True).sources[0] == 0
    )  # it waits for one who is


def test_where_all_are_of_one_age_same_age_makes_no_difference():
    members = aged(np.random.default_rng(0).random(20), [4] * 20)
    for seed in range(10):
        assert plan(members, seed, same_age=True) == plan(members, seed)


def test_nobody_inherits_from_weights_that_are_too_young():
    members = aged([0.1, 0.9, 0.8, 0.7], [2] * 4, steps=[40, 10, 50, 60])
    for seed in range(20):
        assert asked(members, [0], seed, fraction=0.5, min_donor_steps=50).sources[0] == 2
        assert asked(members, [0], seed, fraction=0.25, min_donor_steps=55).sources[0] == 3
    assert asked(members, [0], fraction=0.5, min_donor_steps=61).sources[0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"same_age": 1}, "same_age: expected true or false, got 1"),
        ({"min_donor_steps": -1}, "min_donor_steps: expected a number of steps, 0 or more, got -1"),
        (
            {"min_donor_steps": True},
            "min_donor_steps: expected a number of steps, 0 or more, got True",
        ),
    ],
)
def test_what_these_settings_cannot_be_is_said(settings, message):
    with pytest.raises(UsageError, match=message):
        pbt(SPACE, **settings)
