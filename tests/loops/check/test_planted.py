"""Faults that are planted into a loop, each found by the comparison that it breaks, with its name."""

import copy
import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import popgrad
from popgrad import Finding, LogUniform, Member

SPACE = {"lr": LogUniform(1e-3, 1e-1)}

INPUTS = torch.linspace(-1.0, 1.0, 128).reshape(32, 4).sin()
DATA = TensorDataset(INPUTS, INPUTS.sum(dim=1, keepdim=True))

WORDS = [
    "ash",
    "birch",
    "cedar",
    "elm",
    "fir",
    "gum",
    "hazel",
    "ivy",
    "juniper",
    "kauri",
    "larch",
    "maple",
]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loader(**options: Any) -> "DataLoader[Any]":
    return DataLoader(DATA, batch_size=8, shuffle=True, **options)


def step(model: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> float:
    loss = (model(x) - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def findings(train: Callable[[Member], Any], **options: Any) -> dict[str, Finding]:
    """The findings of a loop by their kinds, of which there is one each."""
    found = popgrad.check(popgrad.loop(train, space=SPACE, minimize="loss"), **options)
    by_kind = {finding.kind: finding for finding in found}
    assert len(by_kind) == len(found), found
    return by_kind


def forgotten_scheduler(m: Member) -> None:
    model, batches = net(), loader()
    optimizer = AdamW(model.parameters(), lr=m["lr"])
    sched = CosineAnnealingLR(optimizer, 100)
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        for x, y in batches:
            loss = step(model, optimizer, x, y)
            sched.step()
        m.report(loss=loss)


def test_a_forgotten_scheduler_is_lost_and_named() -> None:
    found = findings(forgotten_scheduler)
    assert found.keys() == {"lost", "leak", "untracked"}
    assert any(each.startswith("sched.last_epoch: 4 / 0") for each in found["lost"].variables)
    assert any(each.startswith("model: ") for each in found["lost"].parts)
    assert found["untracked"].text.startswith("sched (CosineAnnealingLR) is not tracked")
    assert found["untracked"].advice == "m.track(sched=sched)"


def counter(m: Member) -> None:
    model, batches = net(), loader()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    counter = 0
    for _ in m:
        for x, y in batches:
            counter += 1
            scale = 0.5 if counter % 10 == 0 else 1.0
            loss = step(model, optimizer, x * scale, y)
        m.report(loss=loss)


def test_a_counter_that_acts_later_leaks_into_another_member() -> None:
    """Its tenth batch comes in the third interval."""
    found = findings(counter)
    assert found.keys() == {"leak"}
    assert found["leak"].variables[0] == "counter: 8 / 0"


def test_a_counter_that_acts_in_the_next_interval_is_lost() -> None:
    found = findings(counter, steps=2)
    assert found.keys() == {"lost", "leak"}
    assert found["lost"].variables[0] == "counter: 8 / 0"


def kept_iterator(m: Member) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    cyc = iter(loader())
    for _ in m:
        x, y = next(cyc)
        m.report(loss=step(model, optimizer, x, y))


def test_an_iterator_over_the_boundary_is_found() -> None:
    found = findings(kept_iterator)
    assert found.keys() == {"lost", "leak", "iterator"}
    assert "cyc._num_yielded: 1 / 0" in found["lost"].variables
    assert found["iterator"].text.startswith("cyc (_SingleProcessDataLoaderIter)")


def endless(batches: "DataLoader[Any]") -> Iterator[Any]:
    while True:
        yield from batches


def own_stream(m: Member) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    stream = endless(loader())
    for _ in m:
        x, y = next(stream)
        m.report(loss=step(model, optimizer, x, y))


def test_a_generator_over_a_loader_is_found() -> None:
    assert findings(own_stream)["iterator"].text.startswith("stream (generator)")


def persistent_workers(m: Member) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    batches = DataLoader(Noisy(), batch_size=8, num_workers=1, persistent_workers=True)
    for _ in m:
        for x, y in batches:
            loss = step(model, optimizer, x, y)
        m.report(loss=loss)


class Noisy(torch.utils.data.Dataset[Any]):
    """Data with augmentation."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Any:
        x, y = DATA[index]
        return x + torch.randn(4) + random.random(), y


@pytest.mark.slow
def test_persistent_workers_are_found() -> None:
    found = findings(persistent_workers)
    assert found.keys() == {"lost", "leak"}
    assert any("batches._iterator" in each for each in found["lost"].variables)


def averaged(make: Callable[[nn.Module], Any], update: Callable[[Any, nn.Module], None]) -> Any:
    def train(m: Member) -> None:
        model, batches = net(), loader()
        optimizer = SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        ema = make(model)
        for _ in m:
            for x, y in batches:
                loss = step(model, optimizer, x, y)
                update(ema, model)
            m.report(loss=loss)

    return train


@torch.no_grad()
def blend(ema: nn.Module, model: nn.Module) -> None:
    for own, other in zip(ema.parameters(), model.parameters(), strict=True):
        own.data.mul_(0.9).add_(other.data, alpha=0.1)


@torch.no_grad()
def blend_tensors(ema: dict[str, torch.Tensor], model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        ema[name] = 0.9 * ema[name] + 0.1 * value


class Shadow:
    """An average in a class of the user's, without a state_dict."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = copied(model)

    def update(self, model: nn.Module) -> None:
        blend_tensors(self.weights, model)


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("make", "update", "named"),
    [
        (AveragedModel, AveragedModel.update_parameters, "ema (AveragedModel)"),
        (copy.deepcopy, blend, "ema (Sequential)"),
        (copied, blend_tensors, "ema (Tensor)"),
        (Shadow, Shadow.update, "ema.weights (Tensor)"),
    ],
)
def test_a_forgotten_average_is_found_by_the_scan(make: Any, update: Any, named: str) -> None:
    found = findings(averaged(make, update))
    assert found.keys() == {"untracked"}
    assert found["untracked"].text.startswith(f"{named} is not tracked")


def scaled(m: Member) -> None:
    model, batches = net(), loader()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    scaler = torch.amp.GradScaler("cpu")
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        for x, y in batches:
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        m.report(loss=loss.item())


def test_a_forgotten_scaler_is_found_by_the_scan() -> None:
    found = findings(scaled)
    assert found.keys() == {"untracked"}
    assert found["untracked"].text.startswith("scaler (GradScaler)")


def draws(noise: Callable[[], float]) -> Any:
    def train(m: Member) -> None:
        for _ in m:
            m.report(loss=noise() + m["lr"])

    return train


CALLS = itertools.count()


@pytest.mark.parametrize(
    "noise", [lambda: os.urandom(4)[0] / 255 + os.urandom(4)[1], time.time, lambda: next(CALLS)]
)
def test_what_no_seed_reaches_does_not_repeat(noise: Callable[[], float]) -> None:
    found = findings(draws(noise))
    assert found.keys() == {"repeat"}
    assert found["repeat"].parts == ("metrics: 1 of 1",)


def by_hash(m: Member) -> None:
    for _ in m:
        order = list(set(WORDS))
        m.report(loss=float(order.index("ash") * 100 + order.index("elm")) + m["lr"])


@pytest.mark.slow
def test_the_order_of_a_set_differs_in_another_process() -> None:
    found = findings(by_hash)
    assert found.keys() == {"process"}
    assert str(found["process"]).endswith("see docs/checks/process.md")


def data_of_setup(m: Member) -> None:
    inputs = torch.randn(8, 4)
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        m.report(loss=step(model, optimizer, inputs, inputs[:, :1]))


def test_data_that_setup_draws_is_lost() -> None:
    found = findings(data_of_setup)
    assert {"lost", "leak"} <= found.keys()
    assert any(each.startswith("inputs: ") for each in found["lost"].variables)


def gradients_over_the_boundary(m: Member) -> None:
    model, batches = net(), loader()
    optimizer = StepLR(SGD(model.parameters(), lr=m["lr"]), 10).optimizer
    m.track(model=model, optimizer=optimizer)
    for epoch in m:
        for x, y in batches:
            (model(x) - y).square().mean().backward()
        if epoch % 2:
            optimizer.step()
            optimizer.zero_grad()
        m.report(loss=float(epoch))


def test_an_interval_that_ends_within_an_accumulation_is_lost() -> None:
    assert "lost" in findings(gradients_over_the_boundary)
