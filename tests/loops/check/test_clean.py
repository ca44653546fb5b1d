"""Loops that keep nothing outside of what they track: the check finds nothing."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import popgrad
from popgrad import Finding, LogUniform, Member, Uniform

SPACE = {"lr": LogUniform(1e-3, 1e-1)}

INPUTS = torch.linspace(-1.0, 1.0, 256).reshape(64, 4).sin()
TARGETS = INPUTS.sum(dim=1, keepdim=True)


class Augmented(Dataset[Any]):
    """Data with augmentation from all three generators."""

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, index: int) -> Any:
        noise = torch.randn(4) * random.random() * float(np.random.rand())  # noqa: NPY002
        return INPUTS[index] + 0.1 * noise, TARGETS[index]


def net(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1))
    )


def backward(model: nn.Module, optimizer: Any, batch: Any) -> float:
    loss = (model(batch[0]) - batch[1]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def check(
    function: Callable[[Member], Any], space: dict[str, Any] | None = None, **options: Any
) -> list[Finding]:
    return popgrad.check(popgrad.loop(function, space=space or SPACE, minimize="loss"), **options)


def everything(m: Member, workers: int = 0) -> None:
    """AdamW, a cosine by batch, autocast, clipping, an average, BatchNorm, dropout, a teacher, early exit."""
    model = net(m["dropout"])
    teacher = nn.Linear(4, 1).requires_grad_(False)
    nn.init.constant_(teacher.weight, 0.5)
    nn.init.zeros_(teacher.bias)
    criterion = nn.HuberLoss()
    loader = DataLoader(Augmented(), batch_size=16, shuffle=True, num_workers=workers)
    optimizer = AdamW(model.parameters(), lr=m["lr"], weight_decay=0.1)
    scheduler = CosineAnnealingLR(optimizer, 1000)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    history = []
    m.track(model=model, optimizer=optimizer, scheduler=scheduler, ema=ema)
    m.state["best"] = 9.0
    for _ in m:
        model.train()
        losses = []
        for x, y in loader:
            with torch.autocast("cpu", torch.bfloat16):
                loss = criterion(model(x), y) + 0.1 * criterion(model(x), teacher(x))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            ema.update_parameters(model)
            losses.append(loss.item())
            if losses[-1] < 0.05:
                break
        history.append(losses)
        model.eval()
        with torch.no_grad():
            loss = criterion(ema(INPUTS), TARGETS).item()
        m.state["best"] = min(m.state["best"], loss)
        m.report(loss=loss, best=m.state["best"])


WITH_DROPOUT = {**SPACE, "dropout": Uniform(0.1, 0.5)}


@pytest.mark.parametrize("steps", [1, 2])
def test_a_loop_with_everything(steps: int) -> None:
    assert check(everything, WITH_DROPOUT, steps=steps) == []


def with_workers(m: Member) -> None:
    everything(m, workers=2)


@pytest.mark.slow
def test_a_loader_with_workers_in_real_processes() -> None:
    assert check(with_workers, WITH_DROPOUT) == []


def plateau(m: Member) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"], momentum=0.9)
    scheduler = ReduceLROnPlateau(optimizer, patience=0)
    m.track(model=model, optimizer=optimizer, scheduler=scheduler)
    for epoch in m:
        loss = backward(model, optimizer, (INPUTS, TARGETS))
        optimizer.step()
        scheduler.step(float(epoch))  # always worse
        m.report(loss=loss)


def one_cycle(m: Member) -> None:
    model = net()
    optimizer = AdamW(model.parameters(), lr=m["lr"])
    scheduler = OneCycleLR(optimizer, max_lr=m["lr"], total_steps=50)
    m.track(model=model, optimizer=optimizer, scheduler=scheduler)
    for _ in m:
        for batch in DataLoader(Augmented(), batch_size=16, shuffle=True):
            loss = backward(model, optimizer, batch)
            optimizer.step()
            scheduler.step()
        m.report(loss=loss)


def own_generators(m: Member) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    order = torch.Generator().manual_seed(m.seed("order"))
    numpy = np.random.default_rng(m.seed("numpy"))
    python = random.Random(m.seed("python"))
    loader = DataLoader(Augmented(), batch_size=16, shuffle=True, generator=order)
    m.track(model=model, optimizer=optimizer, generators=[order, numpy, python])
    for _ in m:
        for x, y in loader:
            loss = backward(model, optimizer, (x + numpy.normal() * python.random(), y))
            optimizer.step()
        m.report(loss=loss)


def gan(m: Member) -> None:
    nets = {"generator": nn.Linear(2, 4), "critic": nn.Linear(4, 1)}
    optimizers = {name: AdamW(each.parameters(), lr=m["lr"]) for name, each in nets.items()}
    m.track(nets=nets, optimizers=optimizers)
    for _ in m:
        for x, _ in DataLoader(Augmented(), batch_size=16, shuffle=True):
            fake = nets["generator"](torch.randn(len(x), 2))
            loss = nets["critic"](fake.detach()).mean() - nets["critic"](x).mean()
            optimizers["critic"].zero_grad()
            loss.backward()
            optimizers["critic"].step()
            optimizers["generator"].zero_grad()
            (-nets["critic"](fake).mean()).backward()
            optimizers["generator"].step()
        m.report(loss=loss.item())


class Trainer:
    """A trainer of the user's own: everything is in its attributes."""

    def __init__(self, m: Member) -> None:
        self.model = net()
        self.optimizer = AdamW(self.model.parameters(), lr=m["lr"])
        self.scheduler = CosineAnnealingLR(self.optimizer, 100)
        self.loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=16, shuffle=True)
        self.losses: list[float] = []
        m.track(model=self.model, optimizer=self.optimizer, scheduler=self.scheduler)

    def fit(self, m: Member) -> None:
        for _ in m:
            for batch in self.loader:
                self.losses.append(backward(self.model, self.optimizer, batch))
                self.optimizer.step()
                self.scheduler.step()
            m.report(loss=self.losses[-1])


def by_trainer(m: Member) -> None:
    Trainer(m).fit(m)


def yielding(m: Member) -> Any:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        loss = backward(model, optimizer, (INPUTS, TARGETS))
        optimizer.step()
        yield {"loss": loss}


def scratch(m: Member) -> None:
    """A buffer that each round fills again, and a generator that each round seeds again."""
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    confusion = torch.zeros(2, 2)
    noise = torch.Generator()
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        confusion.zero_()
        noise.manual_seed(m.seed("noise"))
        loss = backward(model, optimizer, (INPUTS + torch.randn(64, 4, generator=noise), TARGETS))
        optimizer.step()
        confusion += loss
        m.report(loss=confusion.sum())


@pytest.mark.parametrize(
    "function", [plateau, one_cycle, own_generators, gan, by_trainer, yielding, scratch]
)
def test_nothing_is_found(function: Any) -> None:
    assert check(function) == []


def in_batches(m: Member) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=m["lr"])
    loader = DataLoader(Augmented(), batch_size=16, shuffle=True)
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        for batch in m.batches(loader):
            loss = backward(model, optimizer, batch)
            optimizer.step()
        m.report(loss=loss)


def test_intervals_in_batches() -> None:
    assert check(in_batches, interval=6) == []


def test_a_loader_that_is_tracked() -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def train(m: Member) -> None:
        model = net()
        optimizer = SGD(model.parameters(), lr=m["lr"])
        loader = stateful.StatefulDataLoader(Augmented(), batch_size=16, shuffle=True)
        m.track(model=model, optimizer=optimizer, loader=loader)
        for _ in m:
            for batch in loader:
                loss = backward(model, optimizer, batch)
                optimizer.step()
            m.report(loss=loss)

    assert check(train) == []


def test_a_rate_that_the_loop_sets_from_its_hyperparameter_is_clean():
    """It continues into the second interval as the loop has left it: nothing is loaded there."""

    def train(m: Member) -> None:
        model = net()
        optimizer = SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for epoch in m:
            for group in optimizer.param_groups:
                group["lr"] = m["lr"] * 0.9 ** (epoch + 1)
            loss = backward(model, optimizer, (INPUTS, TARGETS))
            optimizer.step()
            m.report(loss=loss)

    assert check(train) == []
