"""The types of the public API, as strict mypy sees them in a user's script."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from program import SRC

SCRIPT = """\
from collections.abc import Mapping


import torch
from torch import nn

import popgrad


def plain(hparams: dict[str, float]) -> nn.Module:
    return nn.Linear(int(hparams["width"]), 1)


def mapping(hparams: Mapping[str, float]) -> nn.Module:
    return nn.Linear(int(hparams["width"]), 1)


def own(hparams: popgrad.Hparams) -> nn.Module:
    return nn.Linear(int(hparams["width"]), 1)


def sgd(module: nn.Module, hparams: dict[str, float]) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=hparams["lr"])


def loss(
    module: nn.Module, batch: tuple[torch.Tensor, ...], hparams: dict[str, torch.Tensor]
) -> torch.Tensor:
    return torch.sum(module(batch[0])) * hparams["scale"]


def data() -> popgrad.Splits:
    part = (torch.zeros(4, 1), torch.zeros(4))
    return popgrad.Splits(train=part, validation=part, test=part)


class Walk:
    space = popgrad.Space({"step": popgrad.Uniform(0.0, 1.0)})
    score = "x"

    def init(self, hparams: dict[str, float], ctx: popgrad.Context) -> dict[str, float]:
        return {"x": 0.0}

    def train(
        self, state: dict[str, float], hparams: dict[str, float], steps: int, ctx: popgrad.Context
    ) -> dict[str, float]:
        return {"x": state["x"] + steps * hparams["step"]}

    def evaluate(
        self, state: dict[str, float], hparams: Mapping[str, float], split: str, ctx: popgrad.Context
    ) -> dict[str, float]:
        return state


space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 0.1)})
first = popgrad.TorchTask(space=space, model=plain, optimizer=sgd, data=data, loss=loss)
second = popgrad.TorchTask(space=space, model=mapping, optimizer=lambda m, h: sgd(m, h), data=data)
third = popgrad.TorchTask(space=space, model=lambda h: own(h), optimizer=sgd, data=data)
fourth = popgrad.TorchTask(space=space, model=own, optimizer=sgd, data=data)
initial: list[dict[str, float]] = [{"lr": 0.1}]
dimensions: dict[str, popgrad.LogUniform] = {"lr": popgrad.LogUniform(1e-4, 0.1)}
result = popgrad.run(
    first, initial=initial, space=dimensions, executor="serial", strategy="pbt", fraction=0.25,
    mode="async", device="cuda:0,1", max_time="10m",
)
popgrad.run(Walk(), strategy=popgrad.pbt(space))
columns: list[str] = list(result.frame().columns)

popgrad.run(second, interals=3)  # refused: call-arg
popgrad.run(second, fractoin=0.3)  # refused: call-arg
popgrad.run(second, executor="procesess")  # refused: arg-type
popgrad.run(second, strategy="pbtt")  # refused: arg-type
popgrad.run(second, mode="asynch")  # refused: arg-type
popgrad.resume("here", seed=3)  # refused: call-arg
result.frame().no_such_method()  # refused: operator
popgrad.runn  # refused: attr-defined
popgrad.TorchTask(space=space, modle=own, optimizer=sgd, data=data)  # refused: call-arg
popgrad.TorchTask(space=space, model=3, optimizer=sgd, data=data)  # refused: arg-type
"""


@pytest.mark.slow
@pytest.mark.timeout(300)  # mypy reads torch the first time
def test_a_users_script_is_checked_as_its_author_expects(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    cache = Path(SRC).parent / ".mypy_cache" / "script"
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir",
        str(cache),
    ]
    checked = subprocess.run(
        [*command, str(script)],
        env={"MYPYPATH": SRC, "PATH": ""},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    found = re.findall(r"script\.py:(\d+): error: .*\[([\w-]+)\]", checked.stdout)
    lines = SCRIPT.splitlines()
    wanted = [
        (str(number), line.rpartition("# refused: ")[2])
        for number, line in enumerate(lines, start=1)
        if "# refused: " in line
    ]
    assert found == wanted, checked.stdout + checked.stderr
