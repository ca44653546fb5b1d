"""A population that changes its size: who stays, where it goes, and what new members begin with."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.resize import extended, grown, sampled, shrunk
from popgrad.core.seeding import Rng
from popgrad.core.space import Choice, Integer, LogUniform, Space
from popgrad.strategies import STRATEGIES

SPACE = Space(
    {"lr": LogUniform(1e-4, 0.1), "width": Integer(1, 8, init_only=True), "act": Choice(("a", "b"))}
)
SCORES = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.just(math.nan), st.just(math.inf)),
    min_size=2,
    max_size=9,
)


def population(scores, interval=3):
    n = len(scores)
    hparams = [SPACE.sample(np.random.default_rng(member)) for member in range(n)]
    return Population(np.array(scores), np.full(n, interval), np.full(n, 10 * interval), hparams)


def plan(*sources):
    """A plan whose hyperparameters say for whom they were."""
    n = len(sources)
    return Plan(
        tuple(range(n)), sources, tuple({"for": m} for m in range(n)), tuple({} for _ in range(n))
    )


def decided(name, members):
    strategy = STRATEGIES[name](SPACE)
    return strategy.step(Rng(0), members, np.arange(len(members)), strategy.init())[0]


# --- shrink -------------------------------------------------------------------------------------------


def test_the_best_stay_and_those_above_the_new_size_take_the_lowest_free_slots():
    got = shrunk(plan(0, 1, 2, 3, 4, 5), np.array([1.0, 9.0, 2.0, 3.0, 8.0, 7.0]), 3)
    assert got.members == (0, 1, 2)
    assert got.sources == (4, 1, 5)
    assert [each["for"] for each in got.hparams] == [4, 1, 5]


def test_who_was_to_inherit_still_does_also_in_another_slot_and_from_one_that_leaves():
    got = shrunk(plan(0, 2, 2, 1), np.array([math.nan, 5.0, 1.0, 4.0]), 2)
    assert got.sources == (1, 2)
    assert [each["for"] for each in got.hparams] == [3, 1]


def test_of_equal_scores_the_lower_member_stays_and_failed_ones_stay_last():
    assert shrunk(plan(0, 1, 2, 3), np.array([math.inf, 1.0, 1.0, 1.0]), 2).sources == (2, 1)
    assert shrunk(plan(0, 1, 2, 3), np.array([math.nan, 1.0, math.nan, 2.0]), 3).sources == (
        0,
        1,
        3,
    )


@given(SCORES, st.data())
def test_whoever_leaves_has_no_better_score_than_whoever_stays(scores, data):
    size = data.draw(st.integers(1, len(scores) - 1))
    got = shrunk(plan(*range(len(scores))), np.array(scores), size)
    assert got.members == tuple(range(size))
    stays = got.sources  # everybody keeps here, so that the source is who stays
    assert len(set(stays)) == size
    rank = [
        (not math.isfinite(s), -s if math.isfinite(s) else 0.0, m) for m, s in enumerate(scores)
    ]
    assert set(stays) == {m for *_, m in sorted(rank)[:size]}
    assert all(source == member for member, source in enumerate(stays) if member in stays)
    moved = [source for member, source in enumerate(stays) if source != member]
    assert moved == sorted(moved)
    assert all(source >= size for source in moved)


@given(
    SCORES.filter(lambda scores: any(map(math.isfinite, scores))),
    st.data(),
    st.sampled_from(["pbt", "random-search"]),
)
def test_a_strategys_plan_is_shrunk_to_one_of_members_that_exist(scores, data, name):
    members, size = population(scores), data.draw(st.integers(1, len(scores) - 1))
    before = decided(name, members)
    got = shrunk(before, members.scores, size)
    assert got == shrunk(before, members.scores, size)
    assert got.members == tuple(range(size))
    assert set(got.sources) <= set(range(len(scores)))
    assert all(SPACE.check(hparams) == hparams for hparams in got.hparams)
    assert all(
        entry in zip(before.hparams, before.changes, strict=True)
        for entry in zip(got.hparams, got.changes, strict=True)
    )


# --- grow ---------------------------------------------------------------------------------------------


def test_new_members_are_shown_as_failed_ones_behind_the_old():
    old = population([1.0, 2.0])
    fresh = sampled(SPACE, Rng(0), {2: 3, 3: 5})
    got = extended(old, fresh, [3, 5])
    assert got.scores.tolist()[:2] == [1.0, 2.0]
    assert np.isnan(got.scores[2:]).all()
    assert got.intervals.tolist() == [3, 3, 3, 5]
    assert got.steps.tolist() == [30, 30, 0, 0]
    assert got.hparams == [*old.hparams, *fresh]


def test_what_new_members_draw_is_their_own():
    draws = [
        sampled(SPACE, Rng(seed), {member: first})[0]["lr"]
        for seed in (0, 1)
        for member in (4, 5)
        for first in (1, 2)
    ]
    assert len(set(draws)) == 8
    assert sampled(SPACE, Rng(0), {4: 1, 5: 2}) == sampled(SPACE, Rng(0), {4: 1}) + sampled(
        SPACE, Rng(0), {5: 2}
    )


def test_new_members_of_whom_the_plan_does_not_know_start_fresh():
    got = grown(plan(1, 1), 2, [{"for": 7}, {"for": 8}])
    assert got.members == (0, 1, 2, 3)
    assert got.sources == (1, 1, 2, 3)
    assert [each["for"] for each in got.hparams] == [0, 1, 7, 8]
    assert got.changes[2:] == ({"for": "sampled"}, {"for": "sampled"})


def test_new_members_with_a_donor_inherit_and_those_without_start_fresh():
    got = grown(plan(0, 1, 0, 3), 2, [{"for": 7}, {"for": 8}])
    assert got.sources == (0, 1, 0, 3)
    assert [each["for"] for each in got.hparams] == [0, 1, 2, 8]
    assert got.changes == ({}, {}, {}, {"for": "sampled"})


@given(SCORES.filter(lambda scores: any(map(math.isfinite, scores))), st.integers(1, 9))
def test_pbt_gives_every_new_member_a_donor_that_is_alive(scores, new):
    old, before = population(scores), len(scores)
    intervals = dict.fromkeys(range(before, before + new), 3)
    fresh = sampled(SPACE, Rng(0), intervals)
    got = grown(decided("pbt", extended(old, fresh, intervals.values())), before, fresh)
    assert got.members == tuple(range(before + new))
    assert all(math.isfinite(scores[source]) for source in got.sources[before:])
    assert all(SPACE.check(hparams) == hparams for hparams in got.hparams)
    assert [h["width"] for h in got.hparams[before:]] == [
        old.hparams[s]["width"] for s in got.sources[before:]
    ]


def test_a_plan_in_another_order_is_put_in_order():
    turned = Plan((1, 0), (1, 1), ({"for": 1}, {"for": 0}), ({}, {}))
    assert grown(turned, 2, [{"for": 7}]).sources == (1, 1, 2)
    assert shrunk(turned, np.array([1.0, 2.0]), 1).hparams == ({"for": 1},)


def test_new_members_lengthen_the_columns_that_are_known_and_no_others():
    members = population([0.1, 0.2])
    new = extended(members, [SPACE.sample(np.random.default_rng(9))], [3])
    assert (new.segments, new.metrics, new.samples, new.roles) == ((), (), (), ())

    known = replace(
        members,
        segments=[(0, 2), (1, 2)],
        metrics=[{"q": 0.1}, {"q": 0.2}],
        samples=[np.array([0.1]), np.array([0.2])],
        roles=["a", "b"],
    )
    new = extended(known, [SPACE.sample(np.random.default_rng(9))], [3])
    assert [len(column) for column in (new.segments, new.metrics, new.samples, new.roles)] == [
        3
    ] * 4
    assert new.roles == ["a", "b", ""]
    assert new.curves == ()
