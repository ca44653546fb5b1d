"""Pairwise learning: pairs, velocities, and the memory between decisions."""

import math

import numpy as np
import pytest

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Choice, Constant, Integer, LogUniform, Space, Uniform
from popgrad.strategies import pairwise

SPACE = Space({"u": Uniform(0.0, 1.0), "lr": LogUniform(1e-4, 1.0)})


def population(scores, hparams=None, intervals=3):
    n = len(scores)
    hparams = hparams or [{"u": (1 + i) / (n + 1), "lr": 10.0 ** -(i % 4)} for i in range(n)]
    return Population(np.array(scores, float), np.full(n, intervals), np.full(n, 30), hparams)


def step(members, seed=0, space=SPACE, memory=None, **settings):
    strategy = pairwise(space, **settings)
    return strategy.step(Rng(seed), members, np.arange(len(members)), memory or strategy.init())


def test_pairs_are_disjoint_and_random_and_the_better_one_is_the_source():
    members = population(np.arange(10.0))
    partners = set()
    for seed in range(200):
        plan, _ = step(members, seed)
        heirs = [(source, member) for member, source in enumerate(plan.sources) if source != member]
        assert len(heirs) == 5
        assert len({member for pair in heirs for member in pair}) == 10
        assert all(source > member for source, member in heirs)
        partners |= set(heirs)
    assert len(partners) == 45  # every pair of ten has met


def test_equal_scores_and_a_member_left_over_keep_what_they_have():
    plan, memory = step(population([1.0, 1.0, 1.0]))
    assert plan.sources == (0, 1, 2)
    assert all(set(changes.values()) == {"kept"} for changes in plan.changes)
    assert memory == {"velocities": [[0.0, 0.0]] * 3}
    plan, _ = step(population([1.0, 2.0, 3.0]))
    assert sum(source != member for member, source in enumerate(plan.sources)) == 1


def test_failed_members_get_living_donors_whichever_they_meet():
    members = population([math.nan, math.nan, math.nan, 1.0, math.inf])
    for seed in range(20):
        assert step(members, seed)[0].sources == (3, 3, 3, 3, 3)
    assert step(population([math.nan, 0.5, 0.6]), 0)[0].sources[0] in (1, 2)


def test_the_first_move_is_towards_the_winner_by_a_uniform_share_of_the_difference():
    members = population([1.0, 0.0], [{"u": 0.75, "lr": 0.01}, {"u": 0.25, "lr": 1.0}])
    shares = []
    for seed in range(1000):
        plan, memory = step(members, seed)
        assert plan.hparams[0] == members.hparams[0]
        assert plan.changes[1] == {"u": "moved", "lr": "moved"}
        u, lr = plan.hparams[1]["u"], plan.hparams[1]["lr"]
        shares.append(((u - 0.25) / 0.5, math.log10(lr) / -2))  # a rate moves in decades
        # The velocity is in unit space: two of the four decades are a half.
        assert memory["velocities"][1] == pytest.approx([u - 0.25, math.log10(lr) / 4])
        assert memory["velocities"][0] == [0.0, 0.0]
    shares = np.array(shares)
    assert (shares >= 0).all()
    assert (shares <= 1).all()
    assert np.abs(shares.mean(axis=0) - 0.5).max() < 0.03
    # Each hyperparameter has draws of its own.
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.1


def test_a_velocity_carries_on_and_values_stay_in_their_range():
    members = population([1.0, 0.0], [{"u": 0.5, "lr": 0.01}] * 2)
    memory = {"velocities": [[0.0, 0.0], [2.0, -0.25]]}
    moves = []
    for seed in range(1000):
        plan, after = step(members, seed, memory=memory)
        u, lr = plan.hparams[1]["u"], plan.hparams[1]["lr"]
        assert 0.5 <= u <= 1.0
        assert 0.001 * (1 - 1e-9) <= lr <= 0.01
        moves.append(after["velocities"][1])
    moves = np.array(moves)
    assert np.abs(moves.mean(axis=0) - [1.0, -0.125]).max() < 0.07
    assert moves.max(axis=0)[0] > 1.9  # of the velocity, not of what the range has left
    plan, after = step(members, memory=memory, inertia=0.0)
    assert after["velocities"][1] == [0.0, 0.0]
    assert plan.hparams[1]["u"] == 0.5


def test_what_has_no_order_is_imitated_and_what_is_not_explored_travels():
    space = Space(
        {
            "act": Choice(("relu", "elu", "tanh")),
            "width": Integer(1, 64, init_only=True),
            "batch": Constant(8),
        }
    )
    better = {"act": "relu", "width": 64, "batch": 8}
    worse = {"act": "tanh", "width": 1, "batch": 8}
    members = population([1.0, 0.0], [better, worse])
    acts = []
    for seed in range(400):
        plan, memory = step(members, seed, space)
        acts.append(plan.hparams[1]["act"])
        assert plan.hparams[1]["width"] == 64
        assert plan.changes[1]["width"] == plan.changes[1]["batch"] == "inherited"
        assert plan.changes[1]["act"] == ("inherited" if acts[-1] == "relu" else "kept")
        assert memory["velocities"][1] == [0.0, 0.0, 0.0]
    assert set(acts) == {"relu", "tanh"}
    assert abs(acts.count("relu") / 400 - 0.5) < 0.08


def test_resampling_replaces_the_move():
    plan, memory = step(population([1.0, 0.0]), resample_probability=1.0)
    assert set(plan.changes[1].values()) == {"resampled"}
    assert memory["velocities"] == [[0.0, 0.0]] * 2


def test_the_memory_fits_a_population_of_another_size():
    _, memory = step(population([0.0, 1.0, 2.0, 3.0]))
    _, grown = step(population([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), memory=memory)
    assert grown["velocities"] == [*memory["velocities"], [0.0, 0.0], [0.0, 0.0]]
    _, shrunk = step(population([0.0, 0.0]), memory=memory)
    assert shrunk["velocities"] == memory["velocities"][:2]


def test_a_run_that_is_resumed_carries_its_velocities_on(tmp_path):
    settings = {"population": 8, "interval": 10, "executor": "serial", "strategy": "pairwise"}
    whole = popgrad.run("quadratic", intervals=8, **settings)
    popgrad.run("quadratic", intervals=4, **settings, directory=tmp_path / "run")
    assert popgrad.resume(tmp_path / "run", intervals=8).segments == whole.segments
    moved = [segment for segment in whole.segments if "moved" in segment.changes.values()]
    assert len(moved) == 4 * 7  # half of the members at each of seven decisions


def test_it_needs_all_members_at_once():
    with pytest.raises(UsageError, match="pairwise"):
        popgrad.run(
            "quadratic", population=4, intervals=2, interval=1, strategy="pairwise", mode="async"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inertia": -1}, "inertia: expected a number 0 or more, got -1"),
        ({"attraction": math.nan}, "attraction: expected a finite number, got nan"),
        ({"resample_probability": 2}, r"resample_probability: expected a probability in \[0, 1\]"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        pairwise(SPACE, **settings)
