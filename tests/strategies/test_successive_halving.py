"""Successive halving: its rungs, its budget, and who trains on."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Budget, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space
from popgrad.strategies import successive_halving
from popgrad.strategies.successive_halving import next_rung, rung_sizes
from popgrad.tasks import ToyPlain
from strategies.simulation import simulate

SPACE = Space({"lr": LogUniform(1e-4, 1.0)})


def training(size: int, intervals: int, eta: int) -> list[tuple[int, int]]:
    """(members, intervals) of the first segments and of each plan, until the budget is spent."""
    sizes = rung_sizes(size, eta)
    total = size * intervals
    rounds = [(size, 1)]
    rung = -1
    while (spent := sum(members * length for members, length in rounds)) < total:
        rung, length = next_rung(sizes, rung, Budget(total, spent))
        rounds.append((sizes[rung], length))
    return rounds


@pytest.mark.parametrize(
    ("size", "eta", "sizes"),
    [
        (1, 3, [1]),
        (2, 3, [2, 1]),
        (8, 2, [8, 4, 2, 1]),
        (9, 3, [9, 3, 1]),
        (20, 3, [20, 6, 2, 1]),
        (81, 3, [81, 27, 9, 3, 1]),
        (64, 4, [64, 16, 4, 1]),
        (10, 100, [10, 1]),
    ],
)
def test_rungs_shrink_by_eta_down_to_one(size: int, eta: int, sizes: list[int]) -> None:
    assert rung_sizes(size, eta) == sizes


@pytest.mark.parametrize("eta", [2, 3, 4, 7])
def test_the_whole_budget_is_spent_and_never_more(eta: int) -> None:
    for size in [*range(1, 41), 64, 81, 100, 243]:
        for intervals in [*range(1, 31), 50, 100]:
            rounds = training(size, intervals, eta)
            assert sum(members * length for members, length in rounds) == size * intervals
            assert [members for members, _ in rounds] == sorted(
                (members for members, _ in rounds), reverse=True
            )
            assert len(rounds) <= len(rung_sizes(size, eta)) + 1


def test_rungs_share_the_budget_equally_if_it_can_be_divided() -> None:
    assert training(9, 9, 3) == [(9, 1), (9, 2), (3, 9), (1, 27)]
    assert training(8, 4, 2) == [(8, 1), (4, 2), (2, 4), (1, 8)]


def test_a_budget_below_one_interval_a_rung_goes_to_the_first() -> None:
    assert training(27, 1, 3) == [(27, 1)]
    assert training(27, 2, 3) == [(27, 1), (9, 1), (3, 3), (1, 9)]


# --- who trains on ------------------------------------------------------------------------------------


def step(scores: Any, budget: Budget, rung: int = -1, resting: Any = (), eta: int = 3) -> Any:
    n = len(scores)
    members = Population(
        np.array(scores, float),
        np.full(n, 1),
        np.full(n, 10),
        [{"lr": 0.01 * (1 + member)} for member in range(n)],
        resting=frozenset(resting),
        budget=budget,
    )
    return successive_halving(SPACE, eta=eta).step(Rng(0), members, np.arange(n), {"rung": rung})


def at_work(plan: Any) -> list[int]:
    return [member for member, rests in zip(plan.members, plan.rests, strict=True) if not rests]


def test_the_best_survive_with_their_own_weights_and_hyperparameters() -> None:
    plan, memory = step([3, 9, 1, 8, 2, 7, 4, 5, 6], Budget(36, 9))
    assert at_work(plan) == [1, 3, 5]
    assert plan.sources == plan.members
    assert [each["lr"] for each in plan.hparams] == [0.01 * (1 + member) for member in range(9)]
    assert memory == {"rung": 1}


def test_members_that_rest_do_not_come_back() -> None:
    """Member 0 has the highest score, and has been halted before."""
    plan, _ = step([99, 9, 1, 8, 2, 7, 4, 5, 6], Budget(36, 21), 1, resting=[0, 2, 4, 6, 7, 8])
    assert at_work(plan) == [1]


def test_equal_scores_are_told_apart_at_random() -> None:
    survivors = set()
    for seed in range(30):
        members = Population(
            np.zeros(9), np.full(9, 1), np.full(9, 10), [{"lr": 0.1}] * 9, budget=Budget(36, 9)
        )
        strategy = successive_halving(SPACE)
        plan, _ = strategy.step(Rng(seed), members, np.arange(9), strategy.init())
        survivors |= {*at_work(plan)}
    assert survivors == set(range(9))


def test_failed_members_do_not_survive() -> None:
    plan, _ = step([math.nan, math.inf, 1, math.nan, 2, *[-math.inf] * 4], Budget(36, 9))
    assert at_work(plan) == [2, 4]
    assert plan.lengths[2] * 2 <= 27 // 2


def test_if_a_rung_has_failed_the_best_that_rest_continue() -> None:
    scores = [5, math.nan, 1, math.nan, 2, math.nan, 4, 3, 6]
    plan, _ = step(scores, Budget(36, 21), 1, resting=[0, 2, 4, 6, 7, 8])
    assert at_work(plan) == [8]
    assert plan.lengths[8] == 15


def test_the_last_survivor_trains_what_a_longer_run_adds() -> None:
    plan, memory = step([3, 9, 1, 8], Budget(80, 40), 2, resting=[0, 2, 3], eta=2)
    assert (at_work(plan), plan.lengths[1], memory) == ([1], 40, {"rung": 2})


@pytest.mark.parametrize("size", [1, 2, 5, 9, 20])
@pytest.mark.parametrize("intervals", [1, 2, 5, 12])
def test_a_run_spends_its_budget_on_fewer_and_fewer(size: int, intervals: int) -> None:
    task = ToyPlain()
    run = simulate(successive_halving(task.space), task, size=size, intervals=intervals)
    rows = run.rows.values()
    assert sum(row.last_step - row.first_step for row in rows) == 20 * size * intervals
    assert all(row.source is None or row.source[0] == row.id[0] for row in rows)
    by_round = [sorted(row.id[0] for row in rows if row.id[1] == k) for k in range(len(run.plans))]
    assert all({*later} <= {*earlier} for earlier, later in itertools.pairwise(by_round))


def test_a_failed_rung_leaves_the_budget_to_the_rest_of_the_run() -> None:
    task = ToyPlain()
    run = simulate(
        successive_halving(task.space), task, size=9, intervals=6, fails=lambda s: s[1] == 2
    )
    assert sum(row.entry.length for row in run.rows.values()) == 54
    assert math.isfinite(run.best)


def test_it_cannot_decide_one_by_one_and_shares_its_budget() -> None:
    strategy = successive_halving(SPACE)
    assert (strategy.together, strategy.shares_budget, strategy.copies) == (True, True, False)


@pytest.mark.parametrize("eta", [1, 0, 2.5, True, "3"])
def test_an_eta_out_of_range_is_refused_by_name(eta: Any) -> None:
    with pytest.raises(UsageError, match=r"eta: expected a number of .*, 2 or more, got"):
        successive_halving(SPACE, eta=eta)
