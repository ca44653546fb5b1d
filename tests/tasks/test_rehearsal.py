"""A rehearsal: what a state loses, what training keeps outside of it, and what only prevents equal bits."""

import collections
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from popgrad import Context, Space, Uniform, UsageError
from popgrad.tasks.evaluation import seeded
from popgrad.tasks.rehearsal import Rehearsal

State = dict[str, Any]
HPARAMS = {"h": 0.5}


@dataclass(frozen=True)
class Made:
    """A task of three functions."""

    init: Callable[..., Any] = lambda hparams, ctx: {"x": torch.zeros(3)}
    train: Callable[..., Any] = lambda state, hparams, steps, ctx: {"x": state["x"] + hparams["h"]}
    evaluate: Callable[..., Any] = lambda state, hparams, split, ctx: {"m": 1.0}
    space: Space = Space({"h": Uniform(0.0, 1.0)})  # noqa: RUF009
    score: str = "m"


def rehearse(task: Any, hparams: Any = HPARAMS, **keywords: Any) -> None:
    ctx = Context()
    with seeded(ctx):
        Rehearsal(task, hparams, ctx, task.score.removeprefix("-"), **keywords).run()


def refusal(**methods: Callable[..., Any]) -> str:
    with pytest.raises(UsageError) as caught:
        rehearse(Made(**methods))
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- slips --------------------------------------------------------------------------------------


class Phase(enum.IntEnum):
    WARM = 0


def pops(state: State, hparams: dict[str, float], steps: int, ctx: Context) -> State:
    hparams.pop("h")
    return state


SLIPS: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    # slip: (methods, the line or its begin)
    "init returns nothing": (
        {"init": lambda hparams, ctx: None},
        "init: expected the state, got None; end it with return state",
    ),
    "train returns nothing": (
        {"train": lambda state, hparams, steps, ctx: None},
        "train: expected the state, got None; end it with return state",
    ),
    "train fails": (
        {"train": lambda state, hparams, steps, ctx: hparams["lr"]},
        "train: train(state, hparams, 1, ctx) fails with KeyError: 'lr' (test_rehearsal.py, line ",
    ),
    "train takes no context": (
        {"train": lambda state, hparams, steps: state},
        "train: train(state, hparams, 1, ctx) fails with TypeError: ",
    ),
    "train changes hyperparameters": (
        {"train": pops},
        "train: it changes hparams, which the record holds; change a copy, dict(hparams)",
    ),
    "an enum in the state": (
        {"init": lambda hparams, ctx: {"phase": Phase.WARM}},
        "init: state['phase'] is a Phase, which would come back as a plain int; keep int(...) of it in the "
        "state, and make the Phase again where it is used",
    ),
    "a module in the state": (
        {"init": lambda hparams, ctx: {"net": [nn.Linear(2, 2)]}},
        "init: state['net'][0] is a torch.nn.modules.linear.Linear: a state holds dictionaries, lists, "
        "tensors, ",
    ),
    "no metrics": (
        {"evaluate": lambda state, hparams, split, ctx: None},
        "metrics: expected numbers by name, such as {'accuracy': 0.9}, got None",
    ),
    "a metric in text": (
        {"evaluate": lambda state, hparams, split, ctx: {"m": 1.0, "note": "1.0"}},
        "metric 'note': expected a number, got '1.0'; return a float, or leave it out",
    ),
    "another score": (
        {"evaluate": lambda state, hparams, split, ctx: {"q": 1.0}},
        "the task's score is 'm', but it evaluates q",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_explained(slip: str) -> None:
    methods, line = SLIPS[slip]
    message = refusal(**methods)
    assert message == line or (message.startswith(line) and line.endswith(" "))


# --- states that lose something -----------------------------------------------------------------


def test_a_default_dictionary_comes_back_as_a_dictionary() -> None:
    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        state["seen"][f"step {ctx.first_step}"] += 1
        return state

    message = refusal(init=lambda hparams, ctx: {"seen": collections.defaultdict(int)}, train=train)
    assert "fails with KeyError: 'step 1'" in message
    assert message.endswith(
        "it trains a state in memory, but not the same state as a checkpoint gives it back: state['seen'] "
        "comes back as a dict, not a defaultdict"
    )


def test_a_parameter_comes_back_without_a_gradient() -> None:
    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        state["w"].sum().backward()
        return state

    message = refusal(init=lambda hparams, ctx: {"w": nn.Parameter(torch.zeros(2))}, train=train)
    assert message.endswith("state['w'] comes back as a plain tensor that requires no gradient")


@pytest.mark.parametrize("zeros", [torch.zeros, np.zeros])
def test_tensors_that_share_memory_come_back_apart(zeros: Callable[[int], Any]) -> None:
    def init(hparams: Any, ctx: Context) -> State:
        w = zeros(2)
        return {"w": w, "view": w}

    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        state["w"] += 1.0
        return state

    assert refusal(init=init, train=train) == (
        "train: a step from a state in memory differs from the same step from that state as a checkpoint "
        "gives it back, in state['view'] (up to 1): the state loses something that training needs: "
        "state['view'] shares the memory of state['w'] and comes back apart from it"
    )


def test_what_hangs_on_a_tensor_is_lost() -> None:
    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        w = state["w"] + getattr(state["w"], "momentum", 0.0)
        w.momentum = 1.0
        return {"w": w}

    message = refusal(init=lambda hparams, ctx: {"w": torch.zeros(2)}, train=train)
    assert "checkpoint gives it back, in state['w'] (up to 1)" in message


def test_rounding_by_another_layout_is_no_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(129, 65, generator=generator)
    x = torch.randn(7, 129, generator=generator)

    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        return {"w": state["w"].T.contiguous().T, "y": x @ state["w"]}

    rehearse(Made(init=lambda hparams, ctx: {"w": w.T.clone().T}, train=train))


# --- what is kept outside of the state ----------------------------------------------------------


class Keeping:
    """Keeps its momentum in itself."""

    space = Space({"h": Uniform(0.0, 1.0)})
    score = "m"

    def __init__(self) -> None:
        self.momentum = 0.0

    def init(self, hparams: Any, ctx: Context) -> State:
        return {"x": 0.0}

    def train(self, state: State, hparams: Any, steps: int, ctx: Context) -> State:
        self.momentum = 0.9 * self.momentum + 1.0
        return {"x": state["x"] + self.momentum}

    def evaluate(self, state: State, hparams: Any, split: str, ctx: Context) -> dict[str, float]:
        return {"m": state["x"]}


def test_training_that_keeps_something_in_the_task_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"gives two results, in state\['x'\] .* keeps something outside"
    ):
        rehearse(Keeping())


def test_one_tensor_for_all_members_is_refused() -> None:
    shared = torch.zeros(2)

    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        state["w"] += 1.0
        return state

    message = refusal(init=lambda hparams, ctx: {"w": shared}, train=train)
    assert message.startswith(
        "init: a fresh member begins with other values after another has trained, in state['w'] "
    )


def test_one_module_for_all_members_is_refused(make_task) -> None:
    network = nn.Linear(33, 3)
    with pytest.raises(
        UsageError, match=r"after another has trained, in state\['model'\]\['weight'\]"
    ):
        rehearse(make_task(model=lambda hparams: network), {"lr": 0.1})


def test_a_frozen_module_may_be_shared(make_task) -> None:
    body = nn.Linear(33, 8).requires_grad_(False)

    def model(hparams: Any) -> nn.Module:
        return nn.Sequential(body, nn.Linear(8, 3))

    rehearse(make_task(model=model), {"lr": 0.1})


# --- what only prevents equal bits --------------------------------------------------------------


def test_draws_without_a_seed_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def noise(*_: Any) -> State:
        return {"x": float(np.random.default_rng().normal())}

    with caplog.at_level(logging.WARNING, "popgrad"):
        rehearse(Made(init=noise, train=noise))
    train, init = caplog.messages
    assert train.startswith("the task's train is not repeatable: ")
    assert "in state['x']" in train
    assert init.startswith("the task's init is not repeatable: ")


def test_seeded_draws_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    def train(state: State, hparams: Any, steps: int, ctx: Context) -> State:
        own = np.random.default_rng(ctx.seed("noise")).normal()
        return {"x": state["x"] + torch.rand(3) + float(own)}

    rehearse(Made(train=train))
    assert not caplog.messages


def test_an_evaluation_that_changes_the_state_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def evaluate(state: State, hparams: Any, split: str, ctx: Context) -> dict[str, float]:
        state["x"] += 1.0
        return {"m": 1.0}

    rehearse(Made(evaluate=evaluate))
    assert caplog.messages[0].startswith(
        "the task's evaluate changes the state, in state['x'] (up to 1)"
    )


# --- its length ---------------------------------------------------------------------------------


def test_a_slow_step_is_not_repeated() -> None:
    steps: list[int] = []

    def train(state: State, hparams: Any, count: int, ctx: Context) -> State:
        steps.append(count)
        return state

    rehearse(Made(train=train), patience=0.0)
    assert steps == [1]

    rehearse(Made(train=train))
    assert steps == [1] * 5
