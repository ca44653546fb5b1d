"""Initiator-based evolution: one comparison for each segment, among the last two generations."""

import math

import numpy as np
import pytest

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.population import Archive, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space, Uniform
from popgrad.strategies import initiator

SPACE = Space({"lr": LogUniform(1e-9, 1e9)})


def population(scores, archived=(), interval=2):
    """N members after `interval` segments, and the scores of their segments before."""
    n = len(scores)
    archive = Archive(
        tuple((member, interval - 2) for member in range(len(archived))),
        tuple(archived),
        (20,) * len(archived),
        tuple({"lr": 100.0 + member} for member in range(len(archived))),
    )
    return Population(
        np.array(scores, float),
        np.full(n, interval),
        np.full(n, 30),
        [{"lr": 1.0 + member} for member in range(n)],
        segments=[(member, interval - 1) for member in range(n)],
        archive=archive,
    )


def step(members, seed=0, ready=None, **settings):
    ready = np.arange(len(members)) if ready is None else np.array(ready)
    strategy = initiator(SPACE, **settings)
    return strategy.step(Rng(seed), members, ready, strategy.init())[0]


def test_an_opponent_is_any_other_segment_of_the_last_two_generations():
    members = population([1.0, 5.0, 6.0], archived=[7.0, 8.0, 9.0])
    met = [{step(members, seed).sources[member] for seed in range(100)} for member in range(3)]
    # Rows 3, 4, 5 are the segments before. Every opponent of member 0 wins, and so on.
    assert met == [{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {2, 3, 4, 5}]
    counts = np.bincount([step(members, seed).sources[0] for seed in range(1500)], minlength=6)
    assert np.abs(counts / 1500 - [0, 0.2, 0.2, 0.2, 0.2, 0.2]).max() < 0.035


def test_the_heir_of_either_explores_the_winners_hyperparameters():
    members = population([1.0, 5.0], archived=[0.5, 9.0])
    for seed in range(30):
        plan = step(members, seed, factors=[0.5])
        for member, source in enumerate(plan.sources):
            before = [*members.hparams, *members.archive.hparams][source]["lr"]
            assert plan.hparams[member] == {"lr": before * 0.5}
            assert plan.changes[member] == {"lr": 0.5}


def test_among_equal_scores_the_initiator_wins():
    assert step(population([1.0, 1.0, 1.0], archived=[1.0] * 3)).sources == (0, 1, 2)


def test_a_failed_segment_loses_and_is_no_opponent():
    members = population([math.nan, math.inf, 0.1], archived=[math.nan, 0.2, math.nan])
    for seed in range(30):
        plan = step(members, seed)
        assert set(plan.sources) <= {2, 4}
        assert plan.keep == ((2, 1),)


def test_what_stays_loadable_are_the_last_segments_of_the_members_that_go_on():
    members = population([1.0, 5.0], archived=[0.5, 9.0])
    assert step(members).keep == ((0, 1), (1, 1))
    # One by one, the others keep their segment before last until they decide themselves.
    assert step(members, ready=[0]).keep == ((0, 1), (1, 0))


def test_a_new_member_without_a_segment_inherits():
    members = population([1.0, math.nan])
    members = Population(
        members.scores, members.intervals, members.steps, members.hparams, segments=[(0, 1)]
    )
    plan = step(members)
    assert plan.sources == (0, 0)
    assert plan.keep == ((0, 1),)


class Noise:
    """A task with random scores, which sometimes fails."""

    space = Space({"lr": Uniform(0.0, 1.0)})
    score = "score"

    def init(self, hparams, ctx):
        return {"line": [(ctx.member, -1)]}

    def train(self, state, hparams, steps, ctx):
        return {"line": [*state["line"], (ctx.member, ctx.interval)]}

    def evaluate(self, state, hparams, split, ctx):
        score = np.random.default_rng([7, ctx.member, ctx.interval]).normal()
        return {"score": math.nan if score < -1.5 else float(score)}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_continues_from_the_last_two_generations_and_no_older_one(mode):
    result = popgrad.run(
        Noise(),
        population=6,
        intervals=12,
        interval=1,
        executor="serial",
        strategy="initiator",
        mode=mode,
    )
    by_id = {segment.id: segment for segment in result.segments}
    assert len(by_id) == 72
    ages = []
    for segment in result.segments:
        if segment.source is None:
            continue
        # Each segment initiates once: its member's next segment has the better of two as its source.
        before = by_id[segment.member, segment.interval - 1]
        source = by_id[segment.source]
        assert not source.failed
        assert source is before or before.failed or source.score > before.score
        # If members decide one by one, those of another member may be of any interval.
        if mode == "sync" or source.member == segment.member:
            ages.append(segment.interval - source.interval)
    assert set(ages) == {1, 2}
    # A state that was loaded is the one that its segment had ended with.
    line = result.state(result.winner.segment.id)["line"]
    assert [tuple(each) for each in line][1:] == [
        each.id for each in result.lineage(result.winner.member)
    ]


def test_settings_out_of_range_are_refused_by_name():
    with pytest.raises(
        UsageError, match=r"resample_probability: expected a probability in \[0, 1\]"
    ):
        initiator(SPACE, resample_probability=2)
