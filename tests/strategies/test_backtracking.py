"""PBT with backtracking: which elites are kept, and when a replaced member gets one."""

import math
from typing import Any

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Archive, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space
from popgrad.strategies import backtracking, pbt
from popgrad.tasks import ToyPlain, ToyTriangle
from strategies.simulation import simulate, simulate_async

SPACE = Space({"lr": LogUniform(1e-9, 1e9)})
SCOPES = ["lineage", "best-ever"]


def population(scores: Any, archive: Any = None, intervals: int = 3) -> Population:
    """Members with the learning rate 1 + m; archived ones by segment, with the rate 100 + row."""
    n = len(scores)
    archive = archive or {}
    return Population(
        np.array(scores, float),
        np.full(n, intervals),
        np.full(n, 10 * intervals),
        [{"lr": 1.0 + member} for member in range(n)],
        segments=[(member, intervals - 1) for member in range(n)],
        archive=Archive(
            tuple(archive),
            tuple(archive.values()),
            tuple(10 * (interval + 1) for _, interval in archive),
            tuple({"lr": 100.0 + row} for row in range(len(archive))),
        ),
    )


def step(members: Population, ready: Any = None, seed: int = 0, **settings: Any) -> Any:
    strategy = backtracking(SPACE, **settings)
    ready = np.arange(len(members)) if ready is None else np.array(ready)
    return strategy.step(Rng(seed), members, ready, strategy.init())


# --- what is loaded -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_without_a_better_past_it_is_pbt(scope: Any) -> None:
    scores = np.random.default_rng(0).normal(size=20)
    members = population(scores, {(0, 0): scores.min(), (7, 1): np.sort(scores)[-4]})
    for seed in range(5):
        plan, _ = step(members, seed=seed, scope=scope)
        expected, _ = pbt(SPACE).step(Rng(seed), members, np.arange(20), {})
        assert (plan.sources, plan.hparams, plan.changes) == (
            expected.sources,
            expected.hparams,
            expected.changes,
        )


@pytest.mark.parametrize("scope", SCOPES)
def test_a_replaced_member_loads_an_elite_that_is_better_than_its_donor(scope: Any) -> None:
    plan, _ = step(population([1, 2, 3, 4], {(2, 0): 5.0}), scope=scope, fraction=0.25)
    assert plan.sources == (4, 1, 2, 3)
    assert plan.hparams[0]["lr"] == 100.0 * plan.changes[0]["lr"]
    assert plan.changes[0]["lr"] in (0.8, 1.25)


@pytest.mark.parametrize("scope", SCOPES)
def test_an_elite_as_good_as_the_donor_is_not_loaded(scope: Any) -> None:
    plan, _ = step(population([1, 2, 3, 4], {(2, 0): 4.0}), scope=scope, fraction=0.25)
    assert plan.sources == (3, 1, 2, 3)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_member_that_is_not_replaced_is_not_turned_back(scope: Any) -> None:
    archive = {(member, 0): 50.0 + member for member in range(4)}
    plan, _ = step(population([1, 2, 3, 4], archive), scope=scope, fraction=0.25)
    assert plan.sources[1:] == (1, 2, 3)
    assert plan.sources[0] == 7


def test_elites_are_drawn_from_the_best_fraction_of_the_lineages() -> None:
    archive = {(member, 0): 50.0 + member for member in range(10)}
    drawn = {
        step(population(np.arange(10.0), archive), seed=seed, fraction=0.2)[0].sources[0]
        for seed in range(40)
    }
    assert drawn == {18, 19}


def test_a_failed_member_gets_an_elite_too() -> None:
    plan, _ = step(population([math.nan, 2, 3, 4], {(0, 0): 9.0}), fraction=0.25)
    assert plan.sources[0] == 4


def test_one_by_one_no_elite_is_older_than_the_member_that_loads_it() -> None:
    members = population([1, 2, 3, 4], {(2, 4): 50.0, (3, 1): 40.0})
    assert step(members, [0], fraction=0.25)[0].sources == (5,)
    members.intervals[0] = 5
    assert step(members, [0], fraction=0.25)[0].sources == (4,)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_last_segment_is_no_past_even_if_it_is_archived(scope: Any) -> None:
    """One by one, the archive may hold what is a member's last segment still."""
    members = population([1, 9, 2, 3], {(1, 2): 9.0})
    sources = {
        step(members, seed=seed, scope=scope, fraction=0.5)[0].sources[0] for seed in range(20)
    }
    assert sources == {1, 3}


# --- what is kept -------------------------------------------------------------------------------------


def test_each_slot_keeps_its_best_and_drops_what_was_beaten() -> None:
    archive = {(0, 0): 5.0, (1, 1): 1.0, (3, 0): 4.0}
    plan, memory = step(population([1, 2, 3, 4], archive))
    assert plan.keep == ((0, 0), (1, 2), (2, 2), (3, 0))
    assert memory == {"elites": [[0, 0], [1, 2], [2, 2], [3, 0]]}


def test_the_best_ever_is_one() -> None:
    plan, memory = step(population([1, 2, 3, 4], {(0, 0): 5.0}), scope="best-ever")
    assert plan.keep == ((0, 0),)
    assert memory == {"elites": [[0, 0]]}
    plan, _ = step(population([1, 2, 3, 6], {(0, 0): 5.0}), scope="best-ever")
    assert plan.keep == ((3, 2),)


def test_a_failed_segment_is_no_elite() -> None:
    plan, _ = step(population([math.nan, math.inf, 3, 4]))
    assert plan.keep == ((2, 2), (3, 2))


def test_a_slot_that_is_gone_has_no_elite() -> None:
    plan, _ = step(population([1, 2], {(5, 0): 9.0}, intervals=2))
    assert plan.keep == ((0, 1), (1, 1))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("run_in", [simulate, simulate_async])
def test_during_a_whole_run_the_archive_holds_the_best_so_far(scope: Any, run_in: Any) -> None:
    task = ToyTriangle()
    strategy = backtracking(task.space, scope=scope, fraction=0.25, resample_probability=0.25)
    run = run_in(strategy, task, size=8, intervals=12, seed=1, fails=lambda s: s == (5, 3))
    turned_back = 0

    seen: dict[tuple[int, int], float] = {}
    for before, plan in zip(run.populations, run.plans, strict=True):
        scores = zip(before.segments, before.scores, strict=True)
        seen |= {segment: score for segment, score in scores if np.isfinite(score)}
        best = {}
        for segment, score in seen.items():
            slot = segment[0] if scope == "lineage" else 0
            best[slot] = max(best.get(slot, -math.inf), score)
        assert [seen[segment] for segment in plan.keep] == [best[slot] for slot in sorted(best)]
        turned_back += sum(source >= 8 for source in plan.sources)
    assert turned_back > 0


def test_an_heir_continues_from_the_elites_state() -> None:
    task = ToyTriangle()
    strategy = backtracking(task.space, fraction=0.25, resample_probability=0.25)
    run = simulate(strategy, task, size=8, intervals=12, seed=4)
    older = [
        row for row in run.rows.values() if row.source is not None and row.source[1] < row.id[1] - 1
    ]
    assert older
    for row in older:
        elite = run.rows[row.source]
        assert row.first_step == elite.last_step
        assert row.state["steps"] == elite.state["steps"] + 20


def test_on_a_score_that_only_rises_nothing_is_turned_back() -> None:
    strategy = backtracking(ToyPlain().space, fraction=0.25)
    run = simulate(strategy, ToyPlain(), size=8, intervals=10)
    assert all(source < 8 for plan in run.plans for source in plan.sources)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scope": "elite"}, "scope: expected 'lineage' or 'best-ever', got 'elite'"),
        ({"fraction": 0.6}, "fraction"),
        ({"factors": ()}, "factors"),
        ({"resample_probability": -1}, "resample_probability"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        backtracking(SPACE, **settings)
