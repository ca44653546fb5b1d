"""What tests of the program begin with: an empty folder with a task in it, and a run that nobody changes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from program import SMALL, popgrad

TASK = """
import os, signal
from pathlib import Path
from popgrad import Space, Uniform

class Toy:
    space = Space({"h": Uniform(0.0, 1.0)})
    score = "q"

    def init(self, hparams, ctx):
        return {"x": 0.0}

    def train(self, state, hparams, steps, ctx):
        print("the task says hello")
        while "HOLD" in os.environ and ctx.interval == 2:
            signal.pause()
        return {"x": state["x"] + steps * hparams["h"]}

    def evaluate(self, state, hparams, split, ctx):
        with Path("splits.txt").open("a") as file:
            file.write(split + "\\n")
        return {"q": state["x"], "broken": float("nan")}

class Failing(Toy):
    def train(self, state, hparams, steps, ctx):
        raise ZeroDivisionError("what the task ran into")

ready_made = Toy()
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder with a task file; modules of tasks are forgotten afterwards."""
    (tmp_path / "toy.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("POPGRAD_DATA", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("toy", "popgrad_task_")):
            del sys.modules[name]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nobody changes."""
    place = tmp_path_factory.mktemp("finished") / "run"
    assert popgrad("run", "quadratic", *SMALL, "--dir", str(place)).code == 0
    return place
