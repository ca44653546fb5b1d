"""The check of a task at the start of a run: when it is done, and what it leaves alone."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import popgrad
from popgrad import Context, Space, Uniform, UsageError
from popgrad.config import parse
from popgrad.core.score import Score
from popgrad.runs import seen
from popgrad.runs.check import check_task

KEYS: dict[str, Any] = {
    "population": 2, "intervals": 1, "interval": 1, "executor": "serial", "strategy": "random-search",
}  # fmt: skip


TRAINED: list[int] = []
"""Members of all training steps of a test, those of the check too."""


@pytest.fixture(autouse=True)
def count_from_zero() -> None:
    TRAINED.clear()


class Counting:
    """Counts its training steps, by the member that takes them.

    Attributes:
        broken: Members whose training fails.
    """

    space = Space({"h": Uniform(0.0, 1.0)})
    score = "m"

    def __init__(self, *broken: int) -> None:
        self.broken = broken
        self.steps: list[int] = []

    def init(self, hparams: Any, ctx: Context) -> dict[str, Any]:
        return {"x": torch.rand(2)}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Context) -> dict[str, Any]:
        self.steps += [ctx.member] * steps
        TRAINED.extend([ctx.member] * steps)
        if ctx.member in self.broken:
            raise ZeroDivisionError("broken on purpose")
        return {"x": state["x"] + hparams["h"] * torch.rand(2)}

    def evaluate(self, state: Any, hparams: Any, split: str, ctx: Context) -> dict[str, float]:
        return {"m": float(state["x"].sum()), "threads": torch.get_num_threads()}


class Returning(Counting):
    """Its training returns nothing."""

    def train(self, state: Any, hparams: Any, steps: int, ctx: Context) -> Any:
        del state


def test_a_mistake_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^train: expected the state, got None; end it with return state$"
    ):
        popgrad.run(Returning(), directory=tmp_path / "run", **KEYS)
    assert not (tmp_path / "run").exists()


def test_a_metric_that_is_no_number_is_named_without_the_check(tmp_path: Path) -> None:
    class Text(Counting):
        def evaluate(self, *_: Any) -> Any:
            return {"m": 1.0, "note": "good"}

    with pytest.raises(UsageError, match=r"^metric 'note': expected a number, got 'good'"):
        popgrad.run(Text(), check=False, **KEYS)


def test_a_missing_state_is_named_without_the_check() -> None:
    with pytest.raises(UsageError, match=r"^train: expected the new state, got None"):
        popgrad.run(Returning(), check=False, **KEYS)


def test_a_task_that_has_passed_is_not_checked_again() -> None:
    counts = []
    for task in (Counting(), Counting(), Counting(7)):  # the last has another value
        TRAINED.clear()
        popgrad.run(task, **KEYS)
        counts.append(len(TRAINED))
    assert counts[0] > counts[1] == 2
    assert counts[2] == counts[0]


def test_what_a_task_counts_is_that_of_the_run_alone() -> None:
    task = Counting()
    popgrad.run(task, **KEYS)
    assert task.steps == [0, 1]
    assert len(TRAINED) > 2


def test_other_processes_know_a_task_that_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    popgrad.run(Counting(), **KEYS)
    monkeypatch.setattr(seen, "_in_process", set())
    task = Counting()
    popgrad.run(task, **KEYS)
    assert len(task.steps) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(seen, "_folder", lambda: tmp_path / "file" / "cache")
    popgrad.run(Counting(), **KEYS)


def test_the_check_can_be_turned_off() -> None:
    task = Counting()
    popgrad.run(task, check=False, **KEYS)
    assert task.steps == [0, 1]


def test_built_in_tasks_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popgrad.runs.check, "Rehearsal", None)
    popgrad.run("quadratic", **KEYS)
    popgrad.run(popgrad.tasks.Quadratic(lr=0.1), **KEYS)


def test_the_record_is_that_of_a_run_without_a_check() -> None:
    checked = popgrad.run(Counting(), **KEYS)
    unchecked = popgrad.run(Counting(), check=False, **KEYS)
    assert checked.segments == unchecked.segments


# --- an exception of one member -----------------------------------------------------------------


def test_an_exception_of_one_member_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "popgrad"):
        result = popgrad.run(Counting(0), **KEYS)
    assert [segment.failed for segment in result.segments].count(True) == 1
    assert caplog.messages[0].startswith(
        "in the check of the task, one member of 2 failed: train: train(state, hparams, 1, ctx) fails with "
        "ZeroDivisionError: broken on purpose (test_check.py, line "
    )


def test_an_exception_of_two_members_ends_the_run_at_once() -> None:
    task = Counting(0, 1, 2, 3)
    with pytest.raises(
        UsageError, match=r"broken on purpose .*; check=False \(--no-check\) starts"
    ) as caught:
        popgrad.run(task, **{**KEYS, "population": 4})
    assert TRAINED == [0, 1]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# --- what it leaves alone -----------------------------------------------------------------------


class Meddling(Counting):
    """Changes settings of the process."""

    def train(self, state: Any, hparams: Any, steps: int, ctx: Context) -> Any:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False)
        random.seed(0)
        raise ZeroDivisionError("broken on purpose")


@pytest.fixture
def settings() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("settings")
def test_generators_and_settings_are_restored() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)

    def state() -> list[Any]:
        return [
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
        ]

    before = state()
    with pytest.raises(UsageError):
        popgrad.run(Meddling(), **KEYS)
    assert state() == before


# --- tasks of the protocol ----------------------------------------------------------------------


def test_a_dictionary_is_no_space() -> None:
    task = Counting()
    task.space = {"h": Uniform(0.0, 1.0)}  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"^space: expected a Space, got a dict; write Space"):
        popgrad.run(task, **KEYS)


def test_a_score_is_a_name() -> None:
    task = Counting()
    task.score = max  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"score: expected the name of a metric"):
        popgrad.run(task, **KEYS)


def test_on_a_cluster_a_missing_device_leaves_the_check_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = parse({"task": "own", "executor": "ray", "device": "cuda:7", "gpus": 1})
    with caplog.at_level(logging.INFO, "popgrad"):
        check_task(Returning(), config, Score("m"))
    assert caplog.messages == ["the task is not checked: this machine has no cuda:7"]


def test_a_slip_is_named_before_executors_are_timed() -> None:
    with pytest.raises(UsageError, match=r"^train: expected the state, got None"):
        popgrad.run(Returning(), **{**KEYS, "executor": "auto"})
