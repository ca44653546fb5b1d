"""The two MNIST classifiers: fully connected and convolutional, with batch normalisation and dropout."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam

from popgrad.core.population import Hparams
from popgrad.core.space import Constant, Dimension, LogUniform, Space, Uniform
from popgrad.data import Dataset, dataset_named, splits
from popgrad.data.augment import Augment
from popgrad.metrics import evaluating, label
from popgrad.nn import Dropout, xavier_
from popgrad.tasks.torch_task import TorchTask

Measure = Callable[[torch.Tensor, torch.Tensor], Mapping[str, float]]


def mnist_fc(
    *,
    n_hiddens: tuple[int, ...] = (256, 256),
    batch_norm: bool = True,
    lr: float | None = None,
    keep_prob: float | None = None,
    weight_decay: float = 1e-5,
    batch_size: int = 200,
    dataset: str = "mnist",
    height: int = 28,
    width: int = 28,
    num_channels: int = 1,
    num_classes: int = 10,
    data_dir: str | None = None,
    validation: int = 5000,
    split_seed: int = 0,
    metric: str = "accuracy",
    shuffle: bool = True,
    crop: bool = False,
    crop_shift: int = 0,
    hflip: bool = False,
    vflip: bool = False,
) -> TorchTask:
    """Fully connected: for each width Linear, BatchNorm, ReLU, Dropout; then Linear to the classes. Adam.

    Hyperparameters that are added to the space take the place of options: batch_size; and, init-only because
    they change shapes, n_hiddens (one width for all hidden layers) and batch_norm.

    Args:
        n_hiddens: Width of each hidden layer.
        batch_norm: Batch normalisation after each hidden layer.
        lr: Adam's learning rate, fixed; None = searched, log-uniform in 1e-4..1e-1.
        keep_prob: 1 - dropout probability, fixed; None = searched, uniform in 0.5..1.
        weight_decay: Adam's L2 penalty.
        batch_size: Samples a step.
        dataset: "mnist" or "fashion-mnist": the folder's name, and the mean and deviation of its pixels.
        height: Of an image; with the next three for data of one's own in that folder.
        width: Of an image.
        num_channels: 1 for grey, 3 for colour.
        num_classes: Labels are 0 to num_classes - 1.
        data_dir: Where the data lies; None = POPGRAD_DATA, else the user's cache directory.
        validation: Training samples that are held out for validation, where the data has no val/ folder.
        split_seed: Which ones.
        metric: What ranks, higher is better: a name in `popgrad.metrics.METRICS`, or a function of one's own,
            (outputs, targets) -> number, as "module:function" or "file.py:function"; "-" before it where less
            is better, as for "-loss".
        shuffle: Whether an epoch has an order of its own, else the data is seen as it lies.
        crop: Shift each image that is trained on by up to `crop_shift` pixels each way, over black.
        crop_shift: At least 0; no effect without `crop`.
        hflip: Mirror each with probability 1/2, left and right.
        vflip: The same, top and bottom.
    """
    data = _described(dataset, (num_channels, height, width), num_classes)
    network = partial(_fully_connected, data, n_hiddens, batch_norm)
    source = partial(splits, data, data_dir, validation=validation, seed=split_seed)
    augment = _augment(data, crop, crop_shift, hflip, vflip)
    return _task(network, source, lr, keep_prob, weight_decay, batch_size, metric, shuffle, augment)


def mnist_conv(
    *,
    n_filters: tuple[int, ...] = (16, 32),
    batch_norm: bool = True,
    lr: float | None = None,
    keep_prob: float | None = None,
    weight_decay: float = 1e-5,
    batch_size: int = 200,
    dataset: str = "mnist",
    height: int = 28,
    width: int = 28,
    num_channels: int = 1,
    num_classes: int = 10,
    data_dir: str | None = None,
    validation: int = 5000,
    split_seed: int = 0,
    metric: str = "accuracy",
    shuffle: bool = True,
    crop: bool = False,
    crop_shift: int = 0,
    hflip: bool = False,
    vflip: bool = False,
) -> TorchTask:
    """Convolutional: per filter count Conv 3x3 (padding 1), BatchNorm, ReLU, Dropout; flatten; Linear. Adam.

    Args:
        n_filters: Filters of each convolution layer; as a hyperparameter, one count for all of them.
        batch_norm: Batch normalisation after each convolution layer.
        lr: This and all others as in `mnist_fc`.
        keep_prob: See there.
        weight_decay: See there.
        batch_size: See there.
        dataset: See there.
        height: See there.
        width: See there.
        num_channels: See there.
        num_classes: See there.
        data_dir: See there.
        validation: See there.
        split_seed: See there.
        metric: See there.
        shuffle: See there.
        crop: See there.
        crop_shift: See there.
        hflip: See there.
        vflip: See there.
    """
    data = _described(dataset, (num_channels, height, width), num_classes)
    network = partial(_convolutional, data, n_filters, batch_norm)
    source = partial(splits, data, data_dir, validation=validation, seed=split_seed)
    augment = _augment(data, crop, crop_shift, hflip, vflip)
    return _task(network, source, lr, keep_prob, weight_decay, batch_size, metric, shuffle, augment)


def _described(dataset: str, shape: tuple[int, int, int], classes: int) -> Dataset:
    return dataclasses.replace(dataset_named(dataset), shape=shape, classes=classes)


def _fully_connected(
    data: Dataset, n_hiddens: tuple[int, ...], batch_norm: bool, hparams: Hparams
) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = _pixels(data)
    for width in _widths("n_hiddens", n_hiddens, hparams):
        layers.append(nn.Linear(inputs, width))
        layers += [nn.BatchNorm1d(width)] if hparams.get("batch_norm", batch_norm) else []
        layers += [nn.ReLU(), _dropout()]
        inputs = width
    return xavier_(nn.Sequential(*layers, nn.Linear(inputs, data.classes)))


def _convolutional(
    data: Dataset, n_filters: tuple[int, ...], batch_norm: bool, hparams: Hparams
) -> nn.Module:
    layers: list[nn.Module] = []
    inputs = data.shape[0]
    for filters in _widths("n_filters", n_filters, hparams):
        layers.append(nn.Conv2d(inputs, filters, 3, padding=1))
        layers += [nn.BatchNorm2d(filters)] if hparams.get("batch_norm", batch_norm) else []
        layers += [
            nn.ReLU(inplace=True),
            _dropout(),
        ]  # in place: large tensors cost more to allocate
        inputs = filters
    features = _pixels(data) // data.shape[0] * inputs
    return xavier_(nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, data.classes)))


def _widths(name: str, configured: tuple[int, ...], hparams: Hparams) -> tuple[int, ...]:
    """Of each layer; a hyperparameter is one width for all of them."""
    return (int(hparams[name]),) * len(configured) if name in hparams else configured


def _task(
    network: Callable[[Hparams], nn.Module],
    source: Callable[[], Any],
    lr: float | None,
    keep_prob: float | None,
    weight_decay: float,
    batch_size: int,
    metric: str,
    shuffle: bool,
    augment: Augment | None,
) -> TorchTask:
    sign, name = ("-" if metric.startswith("-") else ""), metric.removeprefix("-")
    dimensions: dict[str, Dimension] = {
        "lr": LogUniform(1e-4, 1e-1) if lr is None else Constant(lr),
        "keep_prob": Uniform(0.5, 1.0) if keep_prob is None else Constant(keep_prob),
        "weight_decay": Constant(weight_decay),
    }
    return TorchTask(
        space=Space(dimensions),
        model=network,
        optimizer=lambda module, _: Adam(module.parameters(), fused=True),
        data=source,
        metrics=_measure(name),
        score=sign + label(name),
        batch_size=batch_size,
        evaluation_batch_size=200,  # with 1000, fresh pages for outputs of 100 MB take two thirds of the time
        shuffle=shuffle,
        augment=augment,
    )


def _augment(
    data: Dataset, crop: bool, crop_shift: int, hflip: bool, vflip: bool
) -> Augment | None:
    augment = Augment(crop, crop_shift, hflip, vflip, background=-data.mean / data.std)
    return augment if (crop and crop_shift) or hflip or vflip else None


def _measure(metric: str) -> Measure:
    measure = evaluating([metric])
    if metric != "accuracy_onehot":
        return measure
    # The labels that are read are class indices; this metric's are one-hot.
    return lambda outputs, targets: measure(outputs, functional.one_hot(targets, outputs.shape[1]))


def _dropout() -> Dropout:
    return Dropout(0.0, hparam="keep_prob", keep=True)


def _pixels(data: Dataset) -> int:
    channels, height, width = data.shape
    return channels * height * width
