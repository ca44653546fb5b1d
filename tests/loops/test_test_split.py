"""Loops on the test split: with a module, with states alone, and without an evaluation."""

from pathlib import Path

import pytest
import torch

import popgrad
from program import popgrad as program

SPACE = {"lr": popgrad.LogUniform(1e-3, 0.1)}
SMALL = {"population": 2, "intervals": 2, "executor": "serial", "progress": False}


def train(m: popgrad.Member) -> None:
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=m["lr"], momentum=0.5)
    m.track(optimizer=optimizer, network=network, scale=torch.ones(1))
    for _ in m:
        loss = (network(torch.ones(4, 2)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        m.report(loss=loss)


def test_without_a_module_the_states_hold_all_tensors() -> None:
    seen = []

    def evaluate(states: dict, split: str) -> dict[str, float]:
        seen.append((states, split))
        return {"loss": 0.5}

    result = popgrad.run(
        popgrad.loop(train, space=SPACE, minimize="loss", evaluate=evaluate), **SMALL
    )
    assert result.test() == {"loss": 0.5}
    states, split = seen[-1]
    assert split == "test"
    assert list(states) == ["optimizer", "network", "scale"]
    weight = result.winner.state["model"]["weight"]
    assert torch.equal(states["network"]["tensors"]["weight"], weight)
    assert states["network"]["tensors"]["weight"] is not weight
    assert states["scale"]["tensor"].item() == 1


LOOP = """
import popgrad

@popgrad.loop(space={"lr": popgrad.LogUniform(1e-3, 1.0)}, minimize="loss")
def train(m):
    for _ in m:
        m.report(loss=m["lr"])
"""


def test_a_run_without_a_test_split_ends_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.py").write_text(LOOP)
    small = ("--population", "2", "--intervals", "2", "--executor", "serial")
    done = program("run", "loop.py:train", *small, "--dir", "here")
    assert done.code == 0, done.err
    assert "Schedule" in done.out
    assert "test split" not in done.out
    assert "popgrad replay here" in done.out
    assert "popgrad test" not in done.out

    asked = program("test", "here")
    assert asked.code == 2
    assert "no evaluation on the test split" in asked.err
