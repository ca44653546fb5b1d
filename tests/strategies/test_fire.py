"""FIRE PBT: roles, evaluators in the plan, and what it is for."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Constant, Integer, LogUniform, Space, Uniform
from popgrad.strategies import fire, pbt
from popgrad.strategies.fire import divide

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 1.0),
        "width": Integer(1, 64, init_only=True),
        "batch": Constant(32),
    }
)


def population(scores, interval=1, curves=None):
    n = len(scores)
    rng = np.random.default_rng(7)
    if curves is None:
        curves = [np.array([score - 0.1, score]) for score in scores]
    return Population(
        np.array(scores, dtype=np.float64),
        np.full(n, interval),
        np.full(n, 10 * interval),
        [SPACE.sample(rng) for _ in range(n)],
        curves=curves,
        roles=divide(n),
    )


def decide(members, memory=None, seed=0, **settings):
    strategy = fire(SPACE, **settings)
    memory = strategy.init() if memory is None else memory
    return strategy.step(Rng(seed), members, np.arange(len(members)), memory)


@pytest.mark.parametrize(
    ("size", "shares"),
    [
        *((22, (8, 8, 6)), (50, (18, 18, 14)), (8, (3, 3, 2))),
        *((4, (2, 1, 1)), (5, (2, 2, 1)), (3, (3, 0, 0)), (1, (1, 0, 0))),
    ],
)
def test_the_population_is_divided_as_in_the_re_implementation(size, shares):
    roles = divide(size)
    assert tuple(roles.count(role) for role in ("p1", "p2", "evaluator")) == shares
    assert len(roles) == size


def test_there_is_a_parent_for_each_evaluator_at_every_size():
    for size in range(1, 300):
        roles = divide(size)
        assert roles.count("evaluator") <= roles.count("p2") <= roles.count("p1")


def test_the_first_members_have_roles_and_ten_evaluations():
    start = fire(SPACE).start(8)
    assert (start.size, start.evaluations, start.evaluated) == (8, 10, False)
    assert start.roles == divide(8)
    assert fire(SPACE).together
    assert not fire(SPACE).shares_budget


def test_the_plan_names_the_roles():
    plan, _ = decide(population(range(8)))
    assert plan.roles == ("p1", "p1", "p1", "p2", "p2", "p2", "evaluator", "evaluator")


def test_at_the_first_decision_evaluators_start_with_the_best_of_p1_as_their_child():
    members = population([1, 3, 2, 9, 9, 9, 0, 0])
    plan, memory = decide(members)
    assert plan.sources[6:] == (3, 4)
    assert memory["evaluations"] == {"6": [3, 1, 0], "7": [4, 1, 0]}
    for evaluator, parent in ((6, 3), (7, 4)):
        hparams = plan.hparams[evaluator]
        assert hparams["lr"] == members.hparams[1]["lr"]
        assert hparams["width"] == members.hparams[parent]["width"]
        assert set(plan.changes[evaluator].values()) == {"inherited"}
    # P2 has no fitness yet: all of it continues.
    assert plan.sources[3:6] == (3, 4, 5)
    # P1 is truncation by score.
    assert plan.sources[:3] == (1, 1, 2)


def test_an_evaluator_in_progress_keeps_weights_and_hyperparameters():
    below = [np.array([-100.0, -99.0]) for _ in range(8)]
    _, memory = decide(population([1, 3, 2, 9, 9, 9, 0, 0]))
    members = population([1, 3, 2, 9, 9, 9, -99, -99], 2, [*population([1] * 6).curves, *below[:2]])
    plan, after = decide(members, memory)
    # One of the two evaluated members of P2 is replaced, which ends its evaluation.
    lost = [parent for parent in (3, 4) if plan.sources[parent] != parent]
    assert len(lost) == 1
    kept = 6 if lost == [4] else 7
    assert plan.sources[kept] == kept
    assert set(plan.changes[kept].values()) == {"kept"}
    assert after["evaluations"][str(kept)][2] == 1
    # The other evaluator starts with the member that waits.
    assert plan.sources[13 - kept] == 5


def risen(slopes, points=30):
    return [slope * np.arange(1.0, points + 1) for slope in slopes]


def test_a_child_takes_the_weights_of_an_evaluator_that_succeeds_and_keeps_its_hyperparameters():
    first = population([1, 3, 2, 9, 9, 9, 0, 0])
    _, memory = decide(first)
    curves = [np.array([1.0]), *risen([1]), np.array([2.0]), *risen([0.1] * 3)]
    members = population([1, 30, 2, 3, 3, 3, 60, 45], 2, [*curves, *risen([2, 1.5])])
    # The evaluators train with the child's rate.
    hparams = [dict(each) for each in members.hparams]
    for evaluator in (6, 7):
        hparams[evaluator]["lr"] = hparams[1]["lr"]
    plan, after = decide(replace(members, hparams=hparams), {**memory, "curves": {}})
    assert plan.sources[1] == 6
    assert plan.hparams[1] == hparams[6]
    assert plan.hparams[1]["lr"] == members.hparams[1]["lr"]
    assert set(plan.changes[1].values()) == {"inherited"}
    assert after["curves"]["1"] == risen([2])[0].tolist()
    # Both evaluators are free again, and start with a parent in P2.
    assert set(plan.sources[6:]) <= {3, 4, 5}


def test_p2_is_ranked_by_its_evaluators_curves_and_not_by_score():
    _, memory = decide(population([1, 3, 2, 9, 9, 9, 0, 0]))
    curves = [np.array([1.0, 2.0])] * 6
    # Member 4 scores higher; the evaluator of 3 improves faster.
    members = population([1, 3, 2, 0, 99, 0, 4, 3], 2, [*curves, *risen([0.5, 0.3], 10)])
    plan, _ = decide(members, memory)
    assert plan.sources[3:6] == (3, 3, 5)


def test_failed_members_are_replaced_by_living_ones_in_every_role():
    rng = np.random.default_rng(3)
    for seed in range(20):
        _, memory = decide(population(rng.normal(size=22)), seed=seed)
        scores = rng.normal(size=22)
        scores[rng.permutation(22)[: 1 + seed]] = math.nan
        plan, _ = decide(population(scores, 2), memory, seed)
        assert np.isfinite(scores[list(plan.sources)]).all()
        assert all(SPACE.check(each) == each for each in plan.hparams)


@pytest.mark.parametrize("alive", [0, 4, 7])
def test_one_living_member_of_any_role_is_enough(alive):
    _, memory = decide(population(range(8)))
    scores = np.full(8, math.nan)
    scores[alive] = 1.0
    plan, _ = decide(population(scores, 2), memory)
    assert set(plan.sources) == {alive}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_small_population_is_pbt(size):
    members = population(range(size))
    other = pbt(SPACE, fraction=0.25, factors=(0.5, 2.0))
    expected, _ = other.step(Rng(0), members, np.arange(size), other.init())
    assert decide(members)[0] == replace(expected, roles=("p1",) * size)


def test_the_population_may_change_its_size():
    _, memory = decide(population(range(22)))
    for size in (8, 30, 2):
        plan, after = decide(population(range(size), 2), memory)
        assert plan.roles == divide(size)
        assert max(plan.sources) < size
        assert json.loads(json.dumps(after)) == after


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": 0.6}, "fraction"),
        ({"factors": ()}, "factors"),
        ({"max_rounds": 0}, "max_rounds: expected a number of intervals, 1 or more, got 0"),
        ({"max_rounds": True}, "max_rounds"),
        ({"significance": 0}, r"significance: expected a probability in \(0, 1\), got 0"),
        ({"significance": 2}, "significance"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        fire(SPACE, **settings)


def trained(state, h):
    """Train an interval of the time-linked toy of Chebykin et al. 2025 (TMLR): 20 steps.

    The best schedule falls from 1 to 0 and ends at 1.198; each departure from it slows all later
    training. A greedy choice of h is 0 at once, and ends at 0.83.
    """
    theta, penalty, interval = state
    penalty += abs(h - (1 - interval / 50))
    rate = max(2 - h - 0.2 * penalty, 0)
    thetas = theta * (1 - 0.002 * rate) ** np.arange(2, 22, 2)
    return (thetas[-1], penalty, interval + 1), 1.2 - thetas**2


def best_of_run(make, seed, size=22, intervals=50):
    """Return the best score of a run, and the longest memory in bytes."""
    strategy = make(Space({"h": Uniform(1e-4, 1.1)}))
    draw, rng = np.random.default_rng(seed), Rng(seed)
    hparams = [{"h": float(draw.uniform(0.9, 1.1))} for _ in range(size)]
    states = [(0.9, 0.0, 0)] * size
    memory, longest = strategy.init(), 0

    for interval in range(1, intervals + 1):
        results = [trained(state, own["h"]) for state, own in zip(states, hparams, strict=True)]
        curves = [curve for _, curve in results]
        count = np.full(size, interval)
        scores = np.array([curve[-1] for curve in curves])
        members = Population(scores, count, 20 * count, hparams, curves=curves)
        if interval < intervals:
            plan, memory = strategy.step(rng, members, np.arange(size), memory)
            states = [results[source][0] for source in plan.sources]
            hparams = list(plan.hparams)
            longest = max(longest, len(json.dumps(memory)))
    return scores.max(), longest


def test_it_is_less_greedy_than_pbt_and_its_memory_stays_small():
    greedy = [best_of_run(lambda s: pbt(s, factors=(0.5, 2.0)), seed)[0] for seed in range(5)]
    runs = [best_of_run(fire, seed) for seed in range(5)]
    # Measured over 10 seeds: 0.909 with a standard deviation of 0.016, and 1.152 with 0.015.
    assert 0.85 < np.mean(greedy) < 0.97
    assert 1.11 < np.mean([best for best, _ in runs]) < 1.198
    assert max(length for _, length in runs) < 22 * 100 * 25
