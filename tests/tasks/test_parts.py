"""The parts of a `TorchTask` as they are given: a table of slips, each with the line that explains it."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR, StepLR

from popgrad import LogUniform, Space, Splits, UsageError
from popgrad.metrics import accuracy

INPUTS, TARGETS = torch.zeros(4, 33), torch.zeros(4, dtype=torch.int64)
SPLITS = Splits(*[(INPUTS, TARGETS)] * 3)


def optimizer() -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


SLIPS: dict[str, tuple[dict[str, Any], str]] = {
    # slip: (fields, the line)
    "a module": (
        {"model": nn.Linear(33, 3)},
        "model: expected a function, called as model(hparams), got a Linear; write a function that makes it, "
        "model=lambda hparams: ..., so that each member has its own",
    ),
    "a class that takes sizes": (
        {"model": nn.Bilinear},
        "model: expected a function, called as model(hparams), got one of (in1_features: int, in2_features: "
        "int, out_features: int, bias: bool = True, device=None, dtype=None); write model=lambda hparams: "
        "..., which may leave hparams unused",
    ),
    "a model without an argument": (
        {"model": lambda: nn.Linear(33, 3)},
        "model: expected a function, called as model(hparams), got one of (); write model=lambda hparams: "
        "..., which may leave hparams unused",
    ),
    "the class of an optimizer": (
        {"optimizer": SGD},
        "optimizer: expected a function, called as optimizer(module, hparams), got the class SGD; write "
        "optimizer=lambda module, hparams: SGD(module.parameters())",
    ),
    "an optimizer": (
        {"optimizer": optimizer()},
        "optimizer: expected a function, called as optimizer(module, hparams), got a SGD; write "
        "optimizer=lambda module, hparams: SGD(module.parameters())",
    ),
    "an optimizer of the module alone": (
        {"optimizer": lambda module: SGD(module.parameters())},
        "optimizer: expected a function, called as optimizer(module, hparams), got one of (module)",
    ),
    "the class of a scheduler": (
        {"scheduler": StepLR},
        "scheduler: expected a function, called as scheduler(optimizer), got one of (optimizer: 'Optimizer', "
        "step_size: 'int', gamma: 'float' = 0.1, last_epoch: 'int' = -1); write scheduler=lambda optimizer: "
        "StepLR(optimizer, ...)",
    ),
    "a scheduler": (
        {"scheduler": StepLR(optimizer(), 1)},
        "scheduler: expected a function, called as scheduler(optimizer), got a StepLR; write "
        "scheduler=lambda optimizer: StepLR(optimizer, ...)",
    ),
    "splits": (
        {"data": SPLITS},
        "data: expected a function, called as data(), got a Splits; write data=lambda: splits",
    ),
    "tensors": (
        {"data": (INPUTS, TARGETS)},
        "data: expected a function, called as data(), got a tuple; write data=lambda: "
        "Splits(train=(inputs, targets), validation=..., test=...)",
    ),
    "a reader with an argument": (
        {"data": lambda folder: SPLITS},
        "data: expected a function, called as data(), got one of (folder)",
    ),
    "a loss module": (
        {"loss": nn.MSELoss()},
        "loss: expected a function, called as loss(module, batch, hparams), got a MSELoss; write "
        "loss=lambda module, batch, hparams: nn.MSELoss()(module(batch[0]), batch[1])",
    ),
    "the class of a loss": (
        {"loss": nn.MSELoss},
        "loss: expected a function, called as loss(module, batch, hparams), got the class MSELoss; write "
        "loss=lambda module, batch, hparams: nn.MSELoss()(module(batch[0]), batch[1])",
    ),
    "a loss of outputs and targets": (
        {"loss": lambda outputs, targets: outputs.sum()},
        "loss: expected a function, called as loss(module, batch, hparams), got one of (outputs, targets)",
    ),
    "metrics by name": (
        {"metrics": {"accuracy": accuracy}},
        "metrics: expected a function, called as metrics(outputs, targets), got a dict; write "
        'metrics=lambda outputs, targets: {"accuracy": ...}',
    ),
    "a step without a loss": (
        {"step": lambda module, optimizers, batch: None},
        "step: expected a function, called as step(module, optimizers, batch, loss), got one of (module, "
        "optimizers, batch)",
    ),
    "predict is None": (
        {"predict": None},
        "predict: expected a function, called as predict(module, batch), got None",
    ),
    "augment without a generator": (
        {"augment": lambda inputs: inputs},
        "augment: expected a function, called as augment(inputs, generator), got one of (inputs)",
    ),
    "no score": (
        {"score": None},
        "TorchTask: score: expected the name of a metric, got None",
    ),
    "a minus alone": (
        {"score": "-"},
        "TorchTask: score: expected the name of a metric, got '-'",
    ),
    "an empty batch": ({"batch_size": 0}, "batch_size: expected an integer, at least 1, got 0"),
    "a batch size in text": (
        {"batch_size": "64"},
        "batch_size: expected an integer, at least 1, got '64'",
    ),
    "half a sample": (
        {"evaluation_batch_size": 0.5},
        "evaluation_batch_size: expected an integer, at least 1, got 0.5",
    ),
    "a boolean as a number": (
        {"log_every": True},
        "log_every: expected an integer, at least 1, got True",
    ),
    "a list as space": (
        {"space": ["lr"]},
        'space: expected a Space, such as Space({"lr": LogUniform(1e-4, 0.1)}), got a list',
    ),
    "a range as a tuple": (
        {"space": {"lr": (0.0, 1.0)}},
        "space.lr: expected a dimension, got (0.0, 1.0); use Uniform(0.0, 1.0), or LogUniform for a rate",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_explained_when_the_task_is_made(make_task, slip: str) -> None:
    fields, line = SLIPS[slip]
    with pytest.raises(UsageError) as caught:
        make_task(**fields)
    assert str(caught.value) == line


class Net(nn.Module):
    """A module that is made of the hyperparameters."""

    def __init__(self, hparams: Any) -> None:
        super().__init__()


@pytest.mark.parametrize(
    "fields",
    [
        {"model": Net},
        {"scheduler": ConstantLR},  # all but the optimizer has a default
        {"optimizer": partial(lambda lr, module, hparams: None, 0.1)},
        {"data": lambda folder="data": SPLITS},
        {"loss": lambda *arguments: torch.zeros(())},
        {"log_every": None, "augment": None},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_can_be_called_is_taken(make_task, fields: dict[str, Any]) -> None:
    make_task(**fields)


def test_a_mapping_of_dimensions_is_a_space(make_task) -> None:
    dimensions = {"lr": LogUniform(1e-3, 0.1)}
    assert make_task(space=dimensions).space == Space(dimensions)
