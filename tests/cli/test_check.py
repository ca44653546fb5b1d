"""The command that checks a task: its report, its JSON, and its exit codes."""

import json
from pathlib import Path

import pytest

from popgrad.loops.check import process
from program import popgrad, refused

LOOPS = """
import torch
import popgrad

space = {"lr": popgrad.LogUniform(1e-3, 1e-1)}

@popgrad.loop(space=space, minimize="loss")
def clean(m):
    x = torch.ones(2)
    m.track(x=x)
    for _ in m:
        x -= m["lr"] * x
        print("the loop says hello")
        m.report(loss=x.sum())

@popgrad.loop(space=space, minimize="loss")
def lossy(m):
    counter = 0
    for _ in m:
        counter += 1
        m.report(loss=counter * m["lr"])

@popgrad.loop(space=space, minimize="loss")
def batched(m):
    seen = [0]
    for _ in m:
        for batch in m.batches([torch.ones(1)]):
            seen[0] += 1
        m.report(loss=min(seen[0], 6) * m["lr"])

@popgrad.loop(space=space, minimize="loss")
def broken(m):
    raise ValueError("a mistake in setup")
"""


@pytest.fixture(autouse=True)
def loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loops.py").write_text(LOOPS)
    # A new interpreter takes seconds; tests/loops/check starts some.
    monkeypatch.setattr(process, "train_elsewhere", process.first_interval)


def test_a_clean_loop() -> None:
    done = popgrad("check", "loops.py:clean")
    assert (done.code, done.out) == (0, "nothing found\n")


def test_findings_are_named_with_their_cure() -> None:
    done = popgrad("check", "loops.py:lossy")
    assert done.code == 1
    for words in (
        "lost",
        "leak",
        "counter: 1 / 0",
        "metrics: 1 of 1",
        "docs/checks/lost.md",
        "2 findings",
    ):
        assert words in done.out


def test_json() -> None:
    done = popgrad("check", "loops.py:lossy", "--json")
    lost, leak = json.loads(done.out)
    assert done.code == 1
    assert (lost["kind"], lost["variables"]) == ("lost", ["counter: 1 / 0"])
    assert leak["page"] == "docs/checks/leak.md"
    assert json.loads(popgrad("check", "loops.py:clean", "--json").out) == []


def test_an_interval_in_batches_has_that_length() -> None:
    """Its count ends to differ after six batches."""
    assert popgrad("check", "loops.py:batched", "--interval", "6").code == 0
    assert popgrad("check", "loops.py:batched", "--interval", "3").code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["loops.py:broken"],
            "loop broken: it fails with ValueError: a mistake in setup (loops.py, line",
        ),
        (["loops.py:nothing"], "nothing"),
        (["loops.py:clean", "--steps", "0"], "steps: expected an integer, at least 1, got 0"),
        (["loops.py:clean", "--steps", "1", "--interval", "2"], "both set the length"),
        (["loops.py:clean", "--interval", "1 epoch"], "a training loop counts no epochs"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    assert message in refused("check", *arguments)


def test_a_task_that_is_no_loop() -> None:
    assert popgrad("check", "quadratic").code == 0
