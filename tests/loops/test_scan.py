"""The scan for untracked objects: at the start of every run, by one setup and without training."""

import itertools
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import popgrad
from popgrad import Context, LogUniform, Member, UsageError
from popgrad.loops.loop import Loop
from popgrad.loops.scan import scan_setup

SPACE = {"lr": LogUniform(1e-3, 1e-1)}
DATA = TensorDataset(torch.zeros(8, 2))


class Parts:
    """A model and its optimizer, which are tracked unless a test leaves one out."""

    def __init__(self, m: Member) -> None:
        self.model = nn.Linear(2, 2)
        self.optimizer = SGD(self.model.parameters(), lr=m["lr"])


def loop(function: Callable[[Member], Any]) -> Loop:
    return popgrad.loop(function, space=SPACE, minimize="loss")


def scanned(
    setup: Callable[[Parts], Any], *, track: Callable[[Parts], dict[str, Any]] | None = None
) -> list[str]:
    """The untracked objects of a loop, each with its class."""

    def train(m: Member) -> None:
        parts = Parts(m)
        made = setup(parts)
        m.track(**(track(parts) if track else {"model": parts.model, "optimizer": parts.optimizer}))
        for _ in m:
            m.report(loss=float(bool(made)))

    found = scan_setup(loop(train), {"lr": 0.01}, Context())
    return [f"{each.name} ({each.type})" for each in found]


class Counting:
    """An exponential moving average in a class of the user's, without a state_dict."""

    def __init__(self, model: nn.Module) -> None:
        self.name = "average"
        self.shadow = [each.clone() for each in model.parameters()]


class WeightEMA(Counting):
    """One that is named for it."""


@pytest.mark.parametrize(
    ("setup", "found"),
    [
        (lambda p: StepLR(p.optimizer, 1), "made (StepLR)"),
        (lambda p: {"sched": ReduceLROnPlateau(p.optimizer)}, "made['sched'] (ReduceLROnPlateau)"),
        (lambda p: torch.amp.GradScaler("cpu"), "made (GradScaler)"),
        (lambda p: AveragedModel(p.model), "made (AveragedModel)"),
        (lambda p: WeightEMA(p.model), "made (WeightEMA)"),
        (lambda p: torch.Generator(), "made (Generator)"),
        (lambda p: np.random.default_rng(1), "made (Generator)"),
        (lambda p: random.Random(1), "made (Random)"),
        (lambda p: DataLoader(DATA, generator=torch.Generator()), "made.generator (Generator)"),
        (lambda p: iter(DataLoader(DATA)), "made (_SingleProcessDataLoaderIter)"),
        (lambda p: itertools.cycle(DataLoader(DATA)), "made (cycle)"),
        (lambda p: (batch for batch in DataLoader(DATA)), "made (generator)"),
    ],
)  # fmt: skip
def test_what_training_is_bound_to_change_is_found(
    setup: Callable[[Parts], Any], found: str
) -> None:
    assert scanned(setup) == [found]


@pytest.mark.parametrize(
    "setup",
    [
        lambda p: nn.CrossEntropyLoss(weight=torch.ones(2)),
        lambda p: nn.Linear(2, 2).requires_grad_(False),
        lambda p: DataLoader(DATA, shuffle=True),
        lambda p: torch.amp.GradScaler("cpu", enabled=False),
        lambda p: torch.default_generator,
        lambda p: [p.model, p.optimizer, p.model.weight, *p.model.parameters()],
        lambda p: nn.Sequential(p.model),
        lambda p: logging.getLogger("train"),
        lambda p: Counting(p.model),
        lambda p: (number for number in range(3)),
        lambda p: itertools.count(),
        lambda p: {"name": "run", "seen": [1.0, 2.0], "device": torch.device("cpu")},
    ],
)
def test_constants_and_parts_of_what_is_tracked_are_none(setup: Callable[[Parts], Any]) -> None:
    assert scanned(setup) == []


def test_an_optimizer_and_the_module_that_it_trains() -> None:
    found = scanned(lambda p: p, track=lambda p: {})
    assert found == ["parts.model (Linear)", "parts.optimizer (SGD)"]


def test_a_scheduler_does_not_own_its_optimizer() -> None:
    def train(m: Member) -> None:
        parts = Parts(m)
        sched = StepLR(parts.optimizer, 1)
        m.track(model=parts.model, sched=sched)
        for _ in m:
            m.report(loss=1.0)

    (found,) = scan_setup(loop(train), {"lr": 0.01}, Context())
    assert str(found) == (
        "parts.optimizer (SGD) is not tracked: heirs and resumed runs would lose it; "
        "m.track(optimizer=parts.optimizer)"
    )


STEPS: list[StepLR] = []


def test_what_helpers_and_closures_hold_is_found() -> None:
    def train(m: Member) -> None:
        parts = Parts(m)
        sched = StepLR(parts.optimizer, 1)
        STEPS[:] = [StepLR(parts.optimizer, 2)]

        def advance() -> None:
            sched.step()
            STEPS[0].step()

        m.track(model=parts.model, optimizer=parts.optimizer)
        for _ in m:
            advance()
            m.report(loss=1.0)

    found = scan_setup(loop(train), {"lr": 0.01}, Context())
    assert {each.name for each in found} == {"sched", "STEPS[0]"}


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")
def test_a_loader_with_a_position() -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    assert scanned(lambda p: stateful.StatefulDataLoader(DATA)) == ["made (StatefulDataLoader)"]


class Odd:
    """An object whose attributes raise."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_objects_that_raise_are_left_alone() -> None:
    assert scanned(lambda p: Odd()) == []


@pytest.mark.slow
def test_what_hangs_below_a_trainer_is_no_finding() -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Net(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

    def train(m: Member) -> None:
        model = Net()
        optimizer = SGD(model.parameters(), lr=m["lr"])
        trainer = lightning.Trainer(
            logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
        )
        trainer.strategy.optimizers = [optimizer]
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            m.report(loss=float(bool(trainer)))

    assert scan_setup(loop(train), {"lr": 0.01}, Context()) == []


# --- at the start of a run ------------------------------------------------------------------------

KEYS: dict[str, Any] = {
    "population": 2, "intervals": 1, "executor": "serial", "strategy": "random-search", "progress": False,
}  # fmt: skip

ROUNDS: list[int] = []


def forgotten(m: Member) -> None:
    parts = Parts(m)
    sched = StepLR(parts.optimizer, 1)
    m.track(model=parts.model, optimizer=parts.optimizer)
    for _ in m:
        ROUNDS.append(1)
        sched.step()
        m.report(loss=1.0)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("executor", ["serial", "auto"])
def test_every_run_warns_once_and_trains_nothing_before(
    executor: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        ROUNDS.clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "popgrad"):
            popgrad.run(loop(forgotten), **{**KEYS, "executor": executor})
        assert [record.getMessage() for record in caplog.records] == [
            "sched (StepLR) is not tracked: heirs and resumed runs would lose it; m.track(sched=sched)"
        ]
        # One round of each member, and those of workers in their own processes.
        assert len(ROUNDS) == (2 if executor == "serial" else 0)


def fails(m: Member) -> None:
    {}["missing"]


def test_an_error_of_the_setup_is_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"loop fails: the setup fails with KeyError: 'missing' \("
    ) as error:
        popgrad.run(loop(fails), **KEYS)
    assert f"{Path(__file__).name}, line" in str(error.value)
    assert "\n" not in str(error.value)


def fails_for_one(m: Member) -> None:
    if m.seed("x") == Context(member=0).seed("x"):
        raise OSError("busy")
    for _ in m:
        m.report(loss=1.0 + m["lr"])


def test_a_second_member_decides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "popgrad"), pytest.raises(popgrad.AllMembersFailedError):
        popgrad.run(loop(fails_for_one), **{**KEYS, "population": 1, "check": False})
    with caplog.at_level(logging.WARNING, "popgrad"):
        popgrad.run(loop(fails_for_one), **KEYS)
    assert "in the check of the task, one member of 2 failed: loop fails_for_one" in caplog.text
