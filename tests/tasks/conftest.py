"""A small task of odd shape: 33 standardised features, batches that do not divide the data."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.optim import Adam

from popgrad.core.space import LogUniform, Space
from popgrad.data import Splits
from popgrad.tasks import Context, TorchTask

FEATURES, CLASSES = 33, 3


def _part(samples: int, seed: int):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, FEATURES, generator=rng)
    return inputs, inputs[:, :CLASSES].argmax(1), torch.arange(samples)


def _splits() -> Splits:
    # The last tensor numbers the samples; the loss is given all three, and so can say what it saw.
    return Splits(_part(90, 0), _part(20, 1), _part(20, 2))


def _model(hparams) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 9), nn.Tanh(), nn.Linear(9, CLASSES))


def _metrics(outputs, targets):
    return {"accuracy": float(outputs.sum())}


TASK = TorchTask(
    space=Space({"lr": LogUniform(1e-4, 1e-1)}),
    model=_model,
    optimizer=lambda module, hparams: Adam(module.parameters()),
    data=_splits,
    metrics=_metrics,
    batch_size=32,
)


@pytest.fixture
def make_task():
    """make_task(**changes) -> TorchTask"""
    return lambda **changes: dataclasses.replace(TASK, **changes)


@pytest.fixture
def run():
    """run(task, hparams, steps of each interval, member=, state=, first=) -> state

    Fresh weights are the same every time; nothing else is drawn from the global generator.
    """

    def run(task, hparams, *intervals, member=0, state=None, first=0):
        step = 0 if state is None else state["steps"]
        if state is None:
            torch.manual_seed(0)
            state = task.init(hparams, Context(member=member))
        for number, steps in enumerate(intervals):
            state = task.train(state, hparams, steps, Context(member, first + number, step))
            step += steps
        return state

    return run
