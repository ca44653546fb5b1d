"""The mini edition is held to the library: equal scores and equal draws give equal runs, bit for bit."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import popgrad
from popgrad import mini
from popgrad.core.seeding import Rng
from popgrad.tasks import Quadratic


@dataclass(frozen=True)
class Traced(Quadratic):
    """The toy, with its weights among the metrics."""

    def evaluate(self, state: Any, hparams: Any, split: Any, ctx: Any) -> Mapping[str, float]:
        a, b = state["theta"]
        return {**super().evaluate(state, hparams, split, ctx), "a": a, "b": b}


class One:
    """The library's single draws, which take no generator, asked for like a generator."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number


def streams(seed: int, purpose: str, member: int, done: int) -> Any:
    rng = Rng(seed)
    if purpose in ("ties", "donor"):
        return One(float(rng.uniform(purpose, np.array([member]), np.array([done]))[0]))
    return rng.generator(purpose, member, done)


def library(
    seed: int, size: int, intervals: int, first: Any, **strategy: Any
) -> list[list[tuple[Any, ...]]]:
    result = popgrad.run(
        Traced(), population=size, intervals=intervals, interval=4, seed=seed, executor="serial",
        initial=[{"h0": h0, "h1": h1} for h0, h1 in first], **strategy,
    )  # fmt: skip
    rows: list[list[tuple[Any, ...]]] = [[] for _ in range(intervals)]
    for s in result.segments:
        source = s.member if s.source is None else s.source[0]
        h = s.hparams["h0"], s.hparams["h1"]
        rows[s.interval].append((source, h, (s.metrics["a"], s.metrics["b"]), s.score))
    return rows


def told(history: list[list[mini.Member]]) -> list[list[tuple[Any, ...]]]:
    return [[(m.source, m.h, m.theta, m.score) for m in population] for population in history]


CORNERS = ((1.0, 0.0), (0.0, 1.0))
SETTINGS = [
    pytest.param(
        2, CORNERS, {"fraction": 0.5, "resample_probability": 1.0}, id="the paper's two workers"
    ),
    pytest.param(
        2, CORNERS, {"fraction": 0.5, "resample_probability": 0.0}, id="perturbation, from zero"
    ),
    pytest.param(2, CORNERS, {"fraction": 0.0}, id="nobody copies"),
    pytest.param(10, (), {"resample_probability": 0.25}, id="ten, by default"),
    pytest.param(4, (), {"fraction": 0.25}, id="one donor of three"),
    pytest.param(7, CORNERS, {"fraction": 0.35, "factors": (0.5, 1.2, 3.0)}, id="odd numbers"),
]


@pytest.mark.parametrize(("size", "first", "strategy"), SETTINGS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_decides_and_trains_as_the_library_does(
    seed: int, size: int, first: Any, strategy: dict[str, Any]
) -> None:
    ours = {name: value for name, value in strategy.items() if name != "resample_probability"}
    resample = strategy.get("resample_probability", 0.0)
    history = mini.pbt(
        partial(streams, seed), size=size, intervals=30, first=first, resample=resample, **ours
    )
    assert told(history) == library(seed, size, 30, first, **strategy)


def test_other_draws_give_another_run() -> None:
    """So that the equality above says something: it notices a seed, and a single step."""
    strategy: dict[str, Any] = {"fraction": 0.5, "resample_probability": 1.0}
    given = library(0, 2, 30, CORNERS, **strategy)
    one = {"size": 2, "intervals": 30, "first": CORNERS, "fraction": 0.5, "resample": 1.0}
    assert told(mini.pbt(partial(streams, 0), **one)) == given
    assert told(mini.pbt(partial(streams, 1), **one)) != given
    assert told(mini.pbt(partial(streams, 0), steps=3, **one)) != given
    assert any(source != i for rows in given for i, (source, *_) in enumerate(rows))


def test_it_runs_and_prints_what_a_population_gains() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(Path(mini.__file__))],
        capture_output=True,
        text=True,
        check=True,
    )
    alone, together = (float(line.split(": ")[1].split()[0]) for line in run.stdout.splitlines())
    assert alone == pytest.approx(0.3897, abs=1e-4)
    assert together > 1.19
