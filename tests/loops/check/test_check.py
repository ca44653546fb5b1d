"""The check as a function: what it takes, what it leaves alone, and tasks that are no loops."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import popgrad
from popgrad import Context, LogUniform, Member, Space, TorchTask, Uniform, UsageError
from popgrad.loops.check import leaks
from popgrad.tasks import digits
from popgrad.tasks.comparison import same
from popgrad.tasks.evaluation import generator_states

SPACE = {"lr": LogUniform(1e-3, 1e-1)}


def loop(function: Callable[[Member], Any], **options: Any) -> Any:
    return popgrad.loop(function, **{"space": SPACE, "minimize": "loss", **options})


def clean(m: Member) -> None:
    for _ in m:
        m.report(loss=m["lr"] * random.random())


SEEN: list[dict[str, Any]] = []


def test_generators_and_settings_are_restored() -> None:
    before = generator_states()
    threads = torch.get_num_threads()
    assert popgrad.check(loop(clean)) == []
    assert before[0] == generator_states()[0]
    assert same(before[2], generator_states()[2])
    assert np.array_equal(before[1][1], generator_states()[1][1])
    assert torch.get_num_threads() == threads


def noting(m: Member) -> None:
    for _ in m:
        SEEN.append({**m.hparams, "member": m._turn.ctx.member, "steps": m.steps})
        m.report(loss=m["lr"])


def test_members_have_the_hyperparameters_that_a_run_would_sample() -> None:
    SEEN.clear()
    popgrad.check(loop(noting), seed=7, interval="2 reports")
    result = popgrad.run(
        loop(noting),
        population=2,
        intervals=1,
        seed=7,
        executor="serial",
        progress=False,
        check=False,
    )
    rates = {segment.id[0]: segment.hparams["lr"] for segment in result.segments}
    assert {each["lr"] for each in SEEN[:2]} == {rates[0]}
    assert all(each["steps"] == 2 for each in SEEN[:2])
    assert {each["member"]: each["lr"] for each in SEEN} == rates


def sized(m: Member) -> None:
    """Its batch size is only read in setup, so that a loop serves one value alone."""
    size = m["batch"]
    SEEN.append(dict(m.hparams))
    for _ in m:
        m.report(loss=m["lr"] * size)


def test_a_loop_is_lent_only_to_members_that_it_can_serve() -> None:
    SEEN.clear()
    task = loop(sized, space={**SPACE, "batch": Uniform(1.0, 9.0)})
    assert popgrad.check(task) == []


def of_others(m: Member) -> None:
    best = [9.0]
    for _ in m:
        best[0] = min(best[0], m["lr"])
        m.report(loss=best[0])


def test_leaks_from_a_member_with_other_hyperparameters() -> None:
    low, high = {"lr": 0.01}, {"lr": 0.1}
    (found,) = leaks(loop(of_others), (high, low), Context())
    assert (found.kind, found.parts) == ("leak", ("metrics: 1 of 1",))
    assert found.variables == ("best[0]: 0.01 / 9",)
    assert leaks(loop(of_others), (low, high), Context()) == []
    assert leaks(loop(clean), (low, high), Context()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected an integer, at least 1, got 0"),
        ({"steps": True}, "steps: expected an integer"),
        ({"steps": 1, "interval": 2}, "give one"),
        ({"interval": "1 epoch"}, "counts no epochs"),
        ({"interval": "soon"}, "interval: expected a number of steps"),
    ],
)
def test_wrong_lengths(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        popgrad.check(loop(clean), **options)


def ends(m: Member) -> None:
    """A loop that is over after one interval, as a trainer at its last epoch."""
    next(m)
    m.report(loss=m["lr"])


def test_a_loop_that_ends_after_an_interval_is_compared_as_far_as_it_goes() -> None:
    assert popgrad.check(loop(ends)) == []


def test_a_task_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named.py").write_text(
        "import popgrad\n"
        "@popgrad.loop(space={'h': popgrad.Uniform(0.0, 1.0)}, score='x')\n"
        "def train(m):\n"
        "    x = 0.0\n"
        "    for _ in m:\n"
        "        x += m['h']\n"
        "        m.report(x=x)\n"
    )
    found = popgrad.check("named.py:train")
    assert [finding.kind for finding in found] == ["lost", "leak"]


# --- tasks that are no loops ----------------------------------------------------------------------


class Toy:
    space = Space({"h": Uniform(0.0, 1.0)})
    score = "x"

    def init(self, hparams: Any, ctx: Context) -> dict[str, Any]:
        return {"x": 0.0}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Context) -> dict[str, Any]:
        return {"x": state["x"] + steps * self.increment(hparams)}

    def increment(self, hparams: Any) -> float:
        return float(hparams["h"])

    def evaluate(self, state: Any, hparams: Any, split: str, ctx: Context) -> dict[str, float]:
        return {"x": state["x"]}


class Keeping(Toy):
    def __init__(self) -> None:
        self.total = 0.0

    def increment(self, hparams: Any) -> float:
        self.total += hparams["h"]
        return self.total


class Unseeded(Toy):
    def increment(self, hparams: Any) -> float:
        return float(np.random.default_rng().random())


@pytest.mark.parametrize(
    ("task", "kinds"), [(Toy(), []), (Keeping(), ["leak"]), (Unseeded(), ["repeat"])]
)
def test_tasks_of_three_methods(task: Any, kinds: list[str]) -> None:
    assert [finding.kind for finding in popgrad.check(task, steps=3)] == kinds


class Forgetful(nn.Module):
    """Counts its calls in an attribute, which no state holds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x) * (1.0 + 0.1 * self.calls)  # type: ignore[no-any-return]


def test_a_torch_task_that_loses_something() -> None:
    inputs = torch.linspace(-1.0, 1.0, 64).reshape(16, 4)
    labels = torch.arange(16) % 2
    task = TorchTask(
        space={"lr": LogUniform(1e-3, 1e-1)},
        model=lambda hparams: Forgetful(),
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=hparams["lr"]),
        loss=lambda module, batch, hparams: nn.functional.cross_entropy(module(batch[0]), batch[1]),
        data=lambda: popgrad.Splits((inputs, labels), (inputs, labels), (inputs, labels)),
        batch_size=8,
        metrics=popgrad.metrics.accuracy,
        score="accuracy",
    )
    (found,) = popgrad.check(task)
    assert found.kind == "lost"
    assert "calls" in found.text


@pytest.mark.slow
def test_a_built_in_task_in_another_process() -> None:
    assert popgrad.check(digits()) == []


@pytest.mark.slow
def test_what_cannot_be_sent_to_another_process_is_a_finding() -> None:
    lock = threading.Lock()

    def train(m: Member) -> None:
        for _ in m:
            m.report(loss=m["lr"] + lock.locked())

    (found,) = popgrad.check(loop(train))
    assert found.kind == "process"
    assert "cannot be sent to worker processes" in found.text
