"""Whole runs in which segments fail by exception or with their process: the record does not show it."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import pytest
import torch

import popgrad
from popgrad.core.population import Hparams
from popgrad.core.space import LogUniform, Space
from popgrad.executors.base import RETRIES
from popgrad.state import State
from popgrad.tasks import Context, Split
from spies import record

cloudpickle.register_pickle_by_value(sys.modules[__name__])


SPACE = Space({"lr": LogUniform(1e-3, 1.0)})
SEGMENT = (2, 1)


@dataclass(frozen=True)
class Unlucky:
    """Its first `times` attempts at one segment end half-way, by what `how` says.

    Attributes:
        folder: Where attempts are counted.
    """

    folder: str
    how: str = "raise"
    times: int = 0
    space: Space = SPACE
    score: str = "sum"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        return {"x": torch.rand(3)}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        state["x"] += float(hparams["lr"]) * torch.rand(3)
        if (ctx.member, ctx.interval) == SEGMENT:
            attempts = Path(self.folder) / "attempts"
            with attempts.open("a") as file:
                file.write(".")
            if attempts.stat().st_size <= self.times:
                if self.how == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError("the disk is away")
        state["x"] += torch.rand(3)
        return state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        return {"sum": float(state["x"].sum())}


def run(folder: Path, executor: str, how: str = "raise", times: int = 0) -> popgrad.Result:
    folder.mkdir()
    return popgrad.run(
        Unlucky(str(folder), how, times), population=4, intervals=3, interval=2, seed=3,
        executor=executor, workers=2, directory=folder / "run",
    )  # fmt: skip


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("untroubled") / "here"
    run(folder, "serial")
    return record(folder / "run")


CASES = [("serial", "raise"), ("processes", "raise"), ("processes", "die")]


@pytest.mark.parametrize(("executor", "how"), CASES)
def test_a_run_in_which_a_segment_was_trained_again_has_the_record_of_one_without(
    tmp_path: Path, untroubled: tuple[str, str], executor: str, how: str
) -> None:
    run(tmp_path / "here", executor, how, times=1)
    assert (tmp_path / "here" / "attempts").read_text() == ".."
    assert record(tmp_path / "here" / "run") == untroubled


@pytest.mark.parametrize(("executor", "how"), [CASES[0], CASES[-1]])
def test_a_run_goes_on_without_a_segment_that_fails_every_time(
    tmp_path: Path, executor: str, how: str
) -> None:
    result = run(tmp_path / "here", executor, how, times=99)
    (failed,) = (segment for segment in result.segments if segment.failed)
    assert failed.id == SEGMENT
    assert failed.error.startswith(
        "the worker process ended with code -9" if how == "die" else "Traceback"
    )
    assert (tmp_path / "here" / "attempts").read_text() == "." * (RETRIES + 1)
    assert len(result.segments) == 12
    assert result.stopped == "finished"
