"""One batch through every part: a table of slips, each with the line that explains it."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import LBFGS, SGD

import popgrad
from popgrad import Splits, UsageError
from popgrad.tasks import Context

HPARAMS = {"lr": 0.01}
INPUTS, TARGETS = torch.randn(65, 33), torch.arange(65) % 3


def data(inputs: torch.Tensor = INPUTS, targets: torch.Tensor = TARGETS) -> Any:
    return lambda: Splits(*[(inputs, targets)] * 3)


def cross_entropy(module: nn.Module, batch: Any, **options: Any) -> torch.Tensor:
    return functional.cross_entropy(module(batch[0]), batch[1], **options)


def normalised(hparams: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(33, 3), nn.BatchNorm1d(3))


EXPECTED_SPLITS = (
    "data: expected data() to return Splits(train=(inputs, targets), validation=..., test=...)"
)

SLIPS: dict[str, tuple[dict[str, Any], str]] = {
    # slip: (fields, the line or its begin)
    "no module": (
        {"model": lambda hparams: None},
        "model: expected model(hparams) to return a module, got None; end it with return ...",
    ),
    "a name that is not searched": (
        {"model": lambda hparams: nn.Linear(33, hparams["width"])},
        "model: model(hparams) fails with KeyError: 'width' (test_trial.py, line ",
    ),
    "a method of dictionaries": (
        {"model": lambda hparams: hparams.copy()},
        "model: model(hparams) fails with AttributeError: 'TrackedHparams' object has no attribute 'copy' (",
    ),
    "a lazy module": (
        {"model": lambda hparams: nn.LazyLinear(3)},
        "model: weight of the lazy module has no shape before its first batch; give the layer all its sizes, "
        "or run a batch in model: module(torch.zeros(1, 33))",
    ),
    "a module on meta": (
        {"model": lambda hparams: nn.Linear(33, 3, device="meta")},
        "model: weight is on meta and has no values; make the module on the CPU, popgrad moves it",
    ),
    "no optimizer": (
        {"optimizer": lambda module, hparams: None},
        "optimizer: expected optimizer(module, hparams) to return an optimizer, or a mapping of several by "
        "name, got None; end it with return ...",
    ),
    "a list of optimizers": (
        {"optimizer": lambda module, hparams: [SGD(module.parameters())]},
        "optimizer: expected optimizer(module, hparams) to return an optimizer, or a mapping of several by "
        "name, got a list",
    ),
    "the class of an optimizer": (
        {"optimizer": lambda module, hparams: SGD},
        "optimizer: expected optimizer(module, hparams) to return an optimizer, or a mapping of several by "
        "name, got the class SGD",
    ),
    "an optimizer of another module": (
        {"optimizer": lambda module, hparams: SGD(nn.Linear(2, 2).parameters())},
        "optimizer: it trains no parameter of the module that it is given; make it of module.parameters()",
    ),
    "an optimizer with a closure": (
        {"optimizer": lambda module, hparams: LBFGS(module.parameters())},
        "step: step(module, optimizers, batch, loss) fails with TypeError: LBFGS.step() missing 1 required "
        "positional argument: 'closure'; this optimizer needs a closure; write a step that passes one",
    ),
    "no scheduler": (
        {"scheduler": lambda optimizer: None},
        "scheduler: expected scheduler(optimizer) to return a scheduler of torch, got None; end it with "
        "return ...",
    ),
    "three tuples": (
        {"data": lambda: ((INPUTS, TARGETS),) * 3},
        f"{EXPECTED_SPLITS}, got a tuple; write Splits(...) around the three",
    ),
    "a loader": (
        {"data": lambda: torch.utils.data.DataLoader([1, 2])},
        f"{EXPECTED_SPLITS}, got a DataLoader; read its data set into tensors, or write a task of the "
        "protocol Task around it",
    ),
    "no data": ({"data": lambda: None}, f"{EXPECTED_SPLITS}, got None; end it with return ..."),
    "data that cannot be made": (
        {"data": lambda: Splits(*[(INPUTS[:0], TARGETS[:0])] * 3)},
        "train: expected tensors of one length, at least 1, got [0, 0] samples",
    ),
    "labels from 1": (
        {"data": data(targets=TARGETS + 1)},
        "data: the labels of train are 1 to 3, but the module has 3 outputs, for labels 0 to 2",
    ),
    "labels as floats": (
        {"data": data(targets=TARGETS.float())},
        "data: the labels of train are float32 [65], but cross entropy takes class indices, int64 [n]; "
        "convert them in data, or write a loss for them",
    ),
    "labels in a column": (
        {"data": data(targets=TARGETS[:, None])},
        "data: the labels of train are int64 [65, 1], but cross entropy takes class indices, int64 [n]; "
        "convert them in data, or write a loss for them",
    ),
    "inputs as bytes": (
        {"data": data(INPUTS.byte())},
        "model: module(batch[0]) fails with RuntimeError: mat1 and mat2 must have the same dtype, but got "
        "Byte and Float; the tensors of a batch are uint8, int64; in data, use .float() for inputs, .long() "
        "for classes",
    ),
    "inputs of another shape": (
        {"data": data(INPUTS[:, :5])},
        "model: module(batch[0]) fails with RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x5 "
        "and 33x9); the tensors of this batch are [32, 5], [32]",
    ),
    "a single last sample": (
        {"data": data(), "model": normalised},
        "loss: the last batch of an epoch fails with ValueError: Expected more than 1 value per channel when "
        "training, got input size torch.Size([1, 3]); 65 samples in batches of 32 leave one; set "
        "drop_last=True",
    ),
    "a loss as a number": (
        {"loss": lambda module, batch, hparams: 0.5},
        "loss: expected loss(module, batch, hparams) to return a 0-d tensor, got 0.5; return the tensor "
        "itself, without .item() or float()",
    ),
    "a loss of each sample": (
        {"loss": lambda module, batch, hparams: cross_entropy(module, batch, reduction="none")},
        "loss: expected loss(module, batch, hparams) to return a 0-d tensor, got a tensor of shape [32]; "
        "take its mean()",
    ),
    "a loss without a gradient": (
        {"loss": lambda module, batch, hparams: cross_entropy(module, batch).detach()},
        "loss: it has no gradient; compute it from the output of the module, without detach(), argmax or "
        "no_grad()",
    ),
    "a loss that fails": (
        {"loss": lambda module, batch, hparams: module(batch[7])},
        "loss: loss(module, batch, hparams) fails with IndexError: tuple index out of range (test_trial.py, "
        "line ",
    ),
    "a module with two outputs": (
        {"model": lambda hparams: nn.LSTM(33, 3)},
        "loss: the module returns a tuple, but the default loss takes a tensor [b, classes]; write a loss "
        "and a predict that choose it",
    ),
    "a step that returns nothing": (
        {"step": lambda module, optimizers, batch, loss: None},
        "step: expected step(module, optimizers, batch, loss) to return the 0-d loss of the batch, got None; "
        "end it with return ...",
    ),
    "a step that returns a vector": (
        {"step": lambda module, optimizers, batch, loss: torch.zeros(3)},
        "step: expected step(module, optimizers, batch, loss) to return the 0-d loss of the batch, got a "
        "tensor of shape [3]",
    ),
    "augment drops samples": (
        {"augment": lambda inputs, generator: inputs[:3]},
        "augment: expected augment(inputs, generator) to return inputs [32, ...], as many as it is given, "
        "got a tensor of shape [3, 33]",
    ),
    "a prediction of the batch": (
        {"predict": lambda module, batch: module(batch[0]).mean()},
        "predict: expected predict(module, batch) to return a tensor [20, ...], a row for each sample, got a "
        "tensor of shape []",
    ),
    "a metric alone": (
        {"metrics": lambda outputs, targets: 0.5},
        "metrics: expected numbers by name, such as {'accuracy': 0.9}, got 0.5",
    ),
    "a metric of each output": (
        {"metrics": lambda outputs, targets: {"accuracy": outputs[:2]}},
        "metric 'accuracy': expected a number, got a tensor of shape [2, 3]; take its mean(), or give each "
        "entry a name of its own",
    ),
    "another score": (
        {"score": "acuracy"},
        "the task's score is 'acuracy', but it evaluates accuracy; did you mean 'accuracy'?",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_explained_before_training(make_task, slip: str) -> None:
    fields, line = SLIPS[slip]
    task = make_task(**fields)
    with pytest.raises(UsageError) as caught:
        task.check(HPARAMS, Context())
    message = str(caught.value)
    assert message == line or (message.startswith(line) and line.endswith(("(", "line ")))
    assert "\n" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"data": data(), "model": normalised, "drop_last": True},
        {"data": data(targets=functional.one_hot(TARGETS).float())},
        {"optimizer": lambda module, hparams: {"head": SGD(module[2:].parameters())}},
        {"data": lambda: dict(zip(("train", "validation", "test"), [(INPUTS, TARGETS)] * 3, strict=True))},
    ],
    ids=["plain", "drop_last", "probabilities", "an optimizer by name", "a mapping of parts"],
)  # fmt: skip
def test_a_task_without_a_slip_passes(make_task, fields: dict[str, Any]) -> None:
    make_task(**fields).check(HPARAMS, Context())


def test_a_metric_may_need_more_samples_than_a_batch(make_task) -> None:
    def whole(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        if len(outputs) < 20:
            raise ValueError("only one class is present")
        return {"accuracy": 0.5}

    make_task(metrics=whole, evaluation_batch_size=8).check(HPARAMS, Context())


def test_files_that_cannot_be_read_are_no_slip(make_task) -> None:
    def missing() -> Splits:
        raise FileNotFoundError("wine.csv")

    with pytest.raises(FileNotFoundError):
        make_task(data=missing).check(HPARAMS, Context())


def test_a_trial_changes_neither_the_data_nor_the_weights_of_a_member(make_task) -> None:
    before = make_task().init(HPARAMS, Context())["steps"]
    task = make_task(augment=lambda inputs, generator: inputs.zero_())
    inputs = task.split("train", torch.device("cpu"))[0]
    copy = inputs.clone()
    task.check(HPARAMS, Context())
    assert torch.equal(inputs, copy)
    assert before == 0


def test_the_test_split_is_not_read(make_task) -> None:
    class Parts:
        def __getitem__(self, split: str) -> Any:
            assert split != "test"
            return INPUTS, TARGETS

    make_task(data=Parts, metrics=popgrad.metrics.classification).check(HPARAMS, Context())
