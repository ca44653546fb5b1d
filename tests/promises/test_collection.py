"""Under every strategy checkpoints may be few, and garbage be collected: the record stays the same.

A run is interrupted, its garbage is collected, and it continues; then members are retrained from nothing.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import popgrad
from popgrad.core.segment import Segment
from popgrad.core.space import Choice, LogUniform, Space, Uniform
from popgrad.store.retention import collect
from popgrad.strategies import STRATEGIES
from program import record
from rounds import fitting_size

SETTINGS: dict[str, dict[str, Any]] = {
    "mo-pbt": {"objectives": ["reward", "-act"]},
    "mf-pbt": {"frequencies": (1, 3)},
    "backtracking": {"fraction": 0.25},
    "schedule": {"phases": [{"step": 6, "lr": 0.01}]},
    "t-test": {"alpha": 0.5},
}
"""Settings with which a strategy makes use of what it has in a short run."""


class Walk:
    """A random walk, so that a state tells every bit of its past; every tenth segment or so fails."""

    space = Space(
        {"lr": LogUniform(1e-3, 1.0), "bias": Uniform(-0.1, 1.0), "act": Choice(("relu", "elu"))}
    )
    score = "reward"

    def __init__(self) -> None:
        self.trained: list[tuple[int, int, int]] = []

    def init(self, hparams: Any, ctx: Any) -> Any:
        return {"place": _draws(ctx.seed("init"))}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        self.trained.append((ctx.member, ctx.interval, ctx.part))
        place = state["place"]
        for draw in _draws(ctx.seed("train"), steps):
            place = place + hparams["lr"] * (draw + hparams["bias"])
        return {"place": place}

    def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> Any:
        samples = (state["place"].mean() + 0.1 * _draws(ctx.seed("evaluate"))).tolist()
        if ctx.seed("failure") % 10 == 0:
            samples[0] = math.nan
        return {"reward": samples, "act": float(hparams["act"] == "elu")}

    def transform(self, state: Any, fresh: Any, transform: Any) -> Any:
        keep, noise = transform.settings["keep"], transform.settings["noise"]
        return {"place": keep * state["place"] + noise * fresh["place"]}


def _draws(seed: int, count: int = 1) -> torch.Tensor:
    draws = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return draws if count > 1 else draws[0]


def given(name: str) -> dict[str, Any]:
    return {
        "strategy": name,
        "population": fitting_size(STRATEGIES[name](Walk.space)),
        "intervals": 7,
        "interval": 2,
        "seed": 2,
        "executor": "serial",
        "outputs": False,
        "progress": False,
        "check": False,
        **SETTINGS.get(name, {}),
    }


@cache
def whole(name: str, parent: Path) -> tuple[Any, int]:
    """Return the record of a run that is never interrupted, and the number of its segments."""
    result = popgrad.run(Walk(), directory=parent / name, **given(name))
    return record(parent / name), len(result.segments)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_without_its_garbage_ends_as_one_with_it(
    name: str, every: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected, count = whole(name, tmp_path_factory.getbasetemp())
    left = [count // 3]

    def stop(_: Segment) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    directory = tmp_path / "run"
    task = Walk()
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(
            task, directory=directory, checkpoint_every=every, on_segment=stop, **given(name)
        )
    collect(directory)
    left[0] = count // 3
    with pytest.raises(KeyboardInterrupt):
        popgrad.resume(directory, task=task, on_segment=stop, progress=False)
    collect(directory)
    popgrad.resume(directory, task=task, progress=False)
    assert record(directory) == expected
    # With a checkpoint of each interval, the states that were needed are still there.
    again = len(task.trained) - len(set(task.trained))
    assert again == 0 if every == 1 else again > 0

    # What is retrained from nothing: the winner, and a segment in the middle of the run.
    collect(directory, only_winner=True)
    assert popgrad.replay(directory, task=Walk()).identical
    done = [each.id for each in popgrad.load(directory, task=Walk()).segments if not each.broke]
    member, interval = done[len(done) // 2]
    assert popgrad.replay(directory, member, interval=interval, task=Walk()).identical
