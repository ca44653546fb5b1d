"""Training loops for the tests, of a tiny network on data that fits on a line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import popgrad
from popgrad import Context, Member
from popgrad.loops.loop import Loop
from popgrad.state import State, clone
from popgrad.tasks.evaluation import seed_generators

INPUTS = torch.linspace(-1.0, 1.0, 24).reshape(12, 2)
TARGETS = INPUTS.sum(1, keepdim=True)
SPACE = {"lr": popgrad.LogUniform(1e-4, 0.5)}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def train_steps(model: nn.Module, *optimizers: Any, steps: int = 3) -> dict[str, float]:
    """A few steps of training, and the loss behind them."""
    for _ in range(steps):
        rows = torch.randperm(len(INPUTS))[:6]
        loss = functional.mse_loss(model(INPUTS[rows]), TARGETS[rows])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    with torch.no_grad():
        return {"loss": functional.mse_loss(model(INPUTS), TARGETS).item()}


def train_round(m: Member, model: nn.Module, *optimizers: Any, steps: int = 3) -> None:
    """A round of a few steps, reported."""
    m.report(**train_steps(model, *optimizers, steps=steps))


def plain(m: Member) -> None:
    model = network().to(m.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        train_round(m, model, optimizer)


def make(function: Callable[[Member], Any], **keys: Any) -> Loop:
    keys = {"space": SPACE, "minimize": "loss", **keys}
    made = popgrad.loop(function, **keys)
    assert isinstance(made, Loop)
    return made


@dataclass
class Trainer:
    """A member of a loop, trained segment by segment without a run."""

    loop: Loop
    hparams: Mapping[str, Any] = field(default_factory=lambda: {"lr": 0.1})
    seed: int = 3

    def context(self, interval: int, member: int = 0, steps: int = 1) -> Context:
        return Context(
            member=member, interval=interval, first_step=interval * steps, run_seed=self.seed
        )

    def fresh(self, member: int = 0) -> State:
        ctx = self.context(0, member)
        seed_generators(ctx.library_seed("init"))
        return self.loop.init(self.hparams, ctx)

    def train(
        self, state: State, interval: int, *, member: int = 0, steps: int = 1, **hparams: Any
    ) -> State:
        values = {**self.hparams, **hparams}
        ctx = self.context(interval, member, steps)
        return self.loop.train(clone(state), values, steps, ctx)

    def after(self, intervals: int, steps: int = 1) -> State:
        state = self.fresh()
        for interval in range(intervals):
            state = self.train(state, interval, steps=steps)
        return state
