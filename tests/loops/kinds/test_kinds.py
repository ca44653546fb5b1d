"""Promises that every kind of tracked object keeps, each tried with several objects."""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import swa_utils

from loops.loops import network
from popgrad.loops.objects import TrackedObjects
from popgrad.state import digest, flatten, unflatten
from popgrad.tasks.multipliers import Reads


@dataclass(frozen=True)
class Subject:
    """An object to track, what is tracked with it, and a step that changes it."""

    objects: dict[str, Any]
    step: Callable[[], object]


def _trained(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> Subject:
    model = network()
    optimizer = make(list(model.parameters()))
    return Subject({"model": model, "optimizer": optimizer}, lambda: _step(model, optimizer))


def _step(model: nn.Module, optimizer: Any, *schedulers: Any) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 2)).square().mean().backward()
    optimizer.step()
    for scheduler in schedulers:
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(1.0)
        else:
            scheduler.step()


def _scheduled(make: Callable[[torch.optim.Optimizer], Any], lr: float = 0.1) -> Subject:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    objects = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    return Subject(objects, lambda: _step(model, optimizer, scheduler))


def _batch_norm() -> Subject:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return Subject({"model": model}, lambda: model(torch.randn(4, 2)))


def _buffers() -> Subject:
    model = network()
    model.register_buffer("hidden", torch.zeros(2), persistent=False)
    return Subject({"model": model}, lambda: model.hidden.add_(1.0))


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"count": self.count}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def _extra() -> Subject:
    layer = _Counting()
    return Subject(
        {"model": nn.Sequential(layer)}, lambda: setattr(layer, "count", layer.count + 1)
    )


def _frozen() -> Subject:
    model = network()

    def step() -> None:
        next(each for each in model.parameters() if each.requires_grad).requires_grad_(False)

    return Subject({"model": model}, step)


def _evaluating() -> Subject:
    model = network()
    return Subject({"model": model}, lambda: model[0].train(not model[0].training))


def _average() -> Subject:
    model = network()
    average = swa_utils.AveragedModel(model)

    def step() -> None:
        with torch.no_grad():
            model[0].weight.add_(1.0)
        average.update_parameters(model)

    return Subject({"model": model, "average": average}, step)


def _tensor() -> Subject:
    tensor = torch.zeros(3)
    return Subject({"temperature": tensor}, lambda: tensor.add_(1.0))


class _Sampler:
    """An object of another library, with more than plain data in its state."""

    def __init__(self) -> None:
        self.state = {"seen": {1}, "best": np.float32(0.5), "blob": b"\x01", 0.5: "half"}

    def state_dict(self) -> dict[Any, Any]:
        return dict(self.state)

    def load_state_dict(self, state: dict[Any, Any]) -> None:
        assert isinstance(state["seen"], set)
        self.state = dict(state)

    def step(self) -> None:
        self.state["seen"] = {*self.state["seen"], len(self.state["seen"]) + 1}


def _stateful() -> Subject:
    sampler = _Sampler()
    return Subject({"sampler": sampler}, sampler.step)


def _drawing(generator: Any, draw: Callable[[Any], object]) -> Subject:
    return Subject({"generator": generator}, lambda: draw(generator))


def _drawing(generator: Any, draw: Callable[[Any], object]) -> Subject:
    return Subject({"generator": generator}, lambda: draw(generator))


def _scaler() -> Subject:
    scaler = torch.amp.GradScaler("cpu", growth_interval=1)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        scaler.scale(model(torch.randn(4, 2)).mean()).backward()
        scaler.step(optimizer)
        scaler.update()

    return Subject({"model": model, "optimizer": optimizer, "scaler": scaler}, step)


S = torch.optim.lr_scheduler
SUBJECTS: dict[str, Callable[[], Subject]] = {
    "batch norm": _batch_norm,
    "buffers that are not persistent": _buffers,
    "extra state": _extra,
    "frozen parameters": _frozen,
    "evaluation mode": _evaluating,
    "average": _average,
    "tensor": _tensor,
    "stateful": _stateful,
    "scaler": _scaler,
    "torch generator": lambda: _drawing(torch.Generator(), lambda g: torch.rand(1, generator=g)),
    "numpy generator": lambda: _drawing(np.random.default_rng(1), lambda g: g.random()),
    "numpy legacy": lambda: _drawing(np.random.RandomState(1), lambda g: g.rand()),
    "python generator": lambda: _drawing(random.Random(1), lambda g: g.random()),
    "SGD": lambda: _trained(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "AdamW": lambda: _trained(lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True)),
    "RMSprop": lambda: _trained(lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True)),
    "cosine": lambda: _scheduled(lambda o: S.CosineAnnealingLR(o, 20, eta_min=0.01)),
    "lambda": lambda: _scheduled(lambda o: S.LambdaLR(o, lambda step: 0.9**step)),
    "step": lambda: _scheduled(lambda o: S.StepLR(o, 2)),
    "restarts": lambda: _scheduled(lambda o: S.CosineAnnealingWarmRestarts(o, 3)),
    "one cycle": lambda: _scheduled(lambda o: S.OneCycleLR(o, max_lr=0.5, total_steps=20)),
    "cyclic": lambda: _scheduled(lambda o: S.CyclicLR(o, 0.01, 0.1, step_size_up=3)),
    "sequential": lambda: _scheduled(
        lambda o: S.SequentialLR(o, [S.LinearLR(o), S.ExponentialLR(o, 0.9)], milestones=[2])
    ),
    "warm-up and steps": lambda: _scheduled(
        lambda o: S.SequentialLR(o, [S.LinearLR(o), S.MultiStepLR(o, [2])], milestones=[3])
    ),
    "chained": lambda: _scheduled(lambda o: S.ChainedScheduler([S.LinearLR(o), S.ExponentialLR(o, 0.9)], o)),
    "plateau": lambda: _scheduled(lambda o: S.ReduceLROnPlateau(o, patience=0)),
}  # fmt: skip


@pytest.fixture(params=SUBJECTS)
def make(request) -> Callable[[], tuple[Subject, TrackedObjects]]:
    def made() -> tuple[Subject, TrackedObjects]:
        torch.manual_seed(0)
        subject = SUBJECTS[request.param]()
        tracked = TrackedObjects()
        tracked.add(subject.objects)
        tracked.begin({}, {}, Reads())
        return subject, tracked

    return made


def test_what_training_changes_is_captured(make):
    subject, tracked = make()
    before = digest(tracked.capture({}))
    assert digest(tracked.capture({})) == before
    subject.step()
    assert digest(tracked.capture({})) != before


def test_a_capture_is_a_copy(make):
    subject, tracked = make()
    captured = tracked.capture({})
    before = digest(captured)
    subject.step()
    assert digest(captured) == before


def test_another_loop_continues_from_a_capture_as_from_a_checkpoint(make):
    subject, tracked = make()
    for _ in range(2):
        subject.step()
    saved = tracked.capture({})

    heir, loaded = make()
    loaded.load(unflatten(*flatten(saved)), {})
    assert digest(loaded.capture({})) == digest(saved)
    for each in (subject, heir):
        torch.manual_seed(1)
        each.step()
    assert digest(loaded.capture({})) == digest(tracked.capture({}))


def test_a_load_changes_no_identity_and_leaves_the_state_alone(make):
    _, tracked = make()
    saved = tracked.capture({})
    before = digest(saved)
    subject, loaded = make()
    groups = [id(g) for o in loaded.optimizers.values() for g in o.param_groups]
    memory = [p.data_ptr() for m in loaded.modules.values() for p in m.parameters()]
    loaded.load(saved, {})
    subject.step()
    assert digest(saved) == before
    assert [id(g) for o in loaded.optimizers.values() for g in o.param_groups] == groups
    assert [p.data_ptr() for m in loaded.modules.values() for p in m.parameters()] == memory


@pytest.mark.parametrize(
    "schedule", ["cosine", "lambda", "step", "restarts", "sequential", "chained", "plateau"]
)
def test_a_scheduler_keeps_its_progress_and_takes_the_base_of_the_heir(schedule):
    def make(lr: float) -> tuple[Subject, TrackedObjects]:
        torch.manual_seed(0)
        subject = SUBJECTS[schedule]()
        optimizer = subject.objects["optimizer"]
        for group in optimizer.param_groups:
            group["lr"] = lr
            group.pop("initial_lr", None)
        model = subject.objects["model"]
        scheduler = FACTORIES[schedule](optimizer)
        objects = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        tracked = TrackedObjects()
        tracked.add(objects)
        tracked.begin({}, {}, Reads())
        return Subject(objects, lambda: _step(model, optimizer, scheduler)), tracked

    def rates(subject: Subject, steps: int) -> list[float]:
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(steps):
                subject.step()
                found.append(subject.objects["optimizer"].param_groups[0]["lr"])
        return found

    donor, tracked = make(0.1)
    rates(donor, 4)
    saved = tracked.capture({})
    heir, loaded = make(0.3)
    loaded.load(saved, {})
    alone, _ = make(0.3)
    expected = rates(alone, 8)[4:]
    assert rates(heir, 4) == pytest.approx(expected, rel=1e-12)


FACTORIES: dict[str, Callable[[Any], Any]] = {
    "cosine": lambda o: S.CosineAnnealingLR(o, 20, eta_min=0.01),
    "lambda": lambda o: S.LambdaLR(o, lambda step: 0.9**step),
    "step": lambda o: S.StepLR(o, 2),
    "restarts": lambda o: S.CosineAnnealingWarmRestarts(o, 3),
    "sequential": lambda o: S.SequentialLR(o, [S.LinearLR(o), S.ExponentialLR(o, 0.9)], milestones=[2]),
    "chained": lambda o: S.ChainedScheduler([S.LinearLR(o), S.ExponentialLR(o, 0.9)], o),
    "plateau": lambda o: S.ReduceLROnPlateau(o, patience=0),
}  # fmt: skip
