"""The simulation that tests of strategies use: it and the engine make the same decisions."""

import math
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.core.plan import Plan
from popgrad.strategies import STRATEGIES
from popgrad.tasks import ToyTimeLinked, ToyTriangle
from strategies.simulation import simulate

SETTINGS: dict[str, dict[str, Any]] = {
    "pbt": {},
    "mf-pbt": {"frequencies": (1, 3)},
    "backtracking": {"fraction": 0.25},
    "successive-halving": {"eta": 2},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("task", [ToyTimeLinked(), ToyTriangle()], ids=["linked", "triangle"])
def test_the_engine_and_the_simulation_make_equal_decisions(name: str, task: Any) -> None:
    strategy = STRATEGIES[name](task.space, **SETTINGS[name])
    decisions: list[tuple[Plan, Any]] = []

    def step(*given: Any) -> Any:
        plan, memory = strategy.step(*given)
        decisions.append((plan, memory))
        return plan, memory

    result = popgrad.run(
        task, population=8, intervals=7, interval=20, seed=3, executor="serial",
        strategy=strategy._replace(step=step),
    )  # fmt: skip
    run = simulate(strategy, task, size=8, intervals=7, interval=20, seed=3)
    assert [plan for plan, _ in decisions] == run.plans
    assert [memory for _, memory in decisions] == run.memories
    assert {
        each.id: (each.score, each.source, each.hparams, each.role, each.length)
        for each in result.segments
    } == {
        row.id: (row.score, row.source, row.entry.hparams, row.entry.role, row.entry.length)
        for row in run.rows.values()
    }

    archived = sum(source >= 8 for plan in run.plans for source in plan.sources)
    assert bool(archived) == (name == "backtracking" and isinstance(task, ToyTriangle))


def stopped_and_resumed(name: str, directory: Path, mode: Any = "sync") -> tuple[Any, Any, Any]:
    """A whole run, one that stopped half-way, and that one after it was resumed: segments by id."""
    keys: dict[str, Any] = {
        "population": 8, "intervals": 8, "interval": 20, "seed": 3, "executor": "serial",
        "mode": mode, "strategy": name, "outputs": False, **SETTINGS[name],
    }  # fmt: skip
    stops = iter([False] * 3)
    whole = popgrad.run("toy-triangle", directory=directory / "whole", **keys)
    stopped = popgrad.run(
        "toy-triangle", directory=directory / "stopped",
        on_interval=lambda _: next(stops, True), **keys,
    )  # fmt: skip
    resumed = popgrad.resume(directory / "stopped")
    whole_segments, stopped_segments, resumed_segments = (
        {each.id: (each.score, each.source, each.hparams) for each in result.segments}
        for result in (whole, stopped, resumed)
    )
    return whole_segments, stopped_segments, resumed_segments


@pytest.mark.parametrize("name", ["mf-pbt", "backtracking", "successive-halving"])
def test_a_run_that_stopped_half_way_ends_as_one_that_did_not(name: str, tmp_path: Path) -> None:
    whole, stopped, resumed = stopped_and_resumed(name, tmp_path)
    assert len(stopped) < len(whole)
    assert resumed == whole


@pytest.mark.parametrize("name", ["mf-pbt", "backtracking"])
def test_one_by_one_a_resumed_run_keeps_what_is_recorded(name: str, tmp_path: Path) -> None:
    whole, stopped, resumed = stopped_and_resumed(name, tmp_path, "async")
    assert len(resumed) == len(whole) == 64
    assert {segment: resumed[segment] for segment in stopped} == stopped
    assert all(math.isfinite(score) for score, _, _ in resumed.values())
