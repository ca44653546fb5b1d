"""Two classifiers of MNIST with batch normalisation and dropout: fully connected, convolutional."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam

from popgrad.core.population import Hparams
from popgrad.core.space import Constant, LogUniform, Space, Uniform
from popgrad.data import Dataset, dataset_named, splits
from popgrad.data.augment import Augment
from popgrad.metrics import evaluating, label
from popgrad.nn import Dropout, xavier_
from popgrad.tasks.options import ImageOptions, check_widths, list_options
from popgrad.tasks.torch_task import TorchTask

Measure = Callable[[torch.Tensor, torch.Tensor], Mapping[str, float]]


@list_options(ImageOptions)
def mnist_fc(*, n_hiddens: tuple[int, ...] = (256, 256), **options: Any) -> TorchTask:
    """Classify images with a fully connected network: Linear, BatchNorm, ReLU, Dropout; Adam.

    These four layers follow for each width; then Linear to the classes. Hyperparameters that
    are added to the space replace options: batch_size; and, init-only as they change shapes,
    n_hiddens (one width for all hidden layers) and batch_norm.

    Args:
        n_hiddens: Width of each hidden layer.
        **options: Fields of `ImageOptions`.
    """
    check_widths("n_hiddens", n_hiddens)
    return _task(partial(_fully_connected, n_hiddens), ImageOptions(**options))


@list_options(ImageOptions)
def mnist_conv(*, n_filters: tuple[int, ...] = (16, 32), **options: Any) -> TorchTask:
    """Classify images with a convolutional network: Conv 3x3, BatchNorm, ReLU, Dropout; Adam.

    These four layers follow for each filter count, the convolution with padding 1; then flatten,
    and Linear to the classes. Hyperparameters that are added to the space replace options:
    batch_size; and, init-only as they change shapes, n_filters (one count for all convolution
    layers) and batch_norm.

    Args:
        n_filters: Number of filters of each convolution layer.
        **options: Fields of `ImageOptions`.
    """
    check_widths("n_filters", n_filters)
    return _task(partial(_convolutional, n_filters), ImageOptions(**options))


def _fully_connected(
    n_hiddens: tuple[int, ...], data: Dataset, batch_norm: bool, hparams: Hparams
) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(data.shape)
    for width in _widths("n_hiddens", n_hiddens, hparams):
        layers.append(nn.Linear(inputs, width))
        if hparams.get("batch_norm", batch_norm):
            layers.append(nn.BatchNorm1d(width))
        layers += [nn.ReLU(), _dropout()]
        inputs = width

    return xavier_(nn.Sequential(*layers, nn.Linear(inputs, data.classes)))


def _convolutional(
    n_filters: tuple[int, ...], data: Dataset, batch_norm: bool, hparams: Hparams
) -> nn.Module:
    channels, height, width = data.shape
    layers: list[nn.Module] = []
    for filters in _widths("n_filters", n_filters, hparams):
        layers.append(nn.Conv2d(channels, filters, 3, padding=1))
        if hparams.get("batch_norm", batch_norm):
            layers.append(nn.BatchNorm2d(filters))
        # ReLU in place: large tensors cost more to allocate.
        layers += [nn.ReLU(inplace=True), _dropout()]
        channels = filters

    features = channels * height * width
    return xavier_(nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, data.classes)))


def _widths(name: str, configured: tuple[int, ...], hparams: Hparams) -> tuple[int, ...]:
    """Return the width of each layer; a hyperparameter is one width for all of them."""
    return (int(hparams[name]),) * len(configured) if name in hparams else configured


def _dropout() -> Dropout:
    return Dropout(0.0, hparam="keep_prob", keep=True)


def _task(network: Callable[..., nn.Module], options: ImageOptions) -> TorchTask:
    """Return the task of a network.

    Args:
        network: (data, batch_norm, hparams) -> module.
        options: Options of the task.
    """
    shape = (options.num_channels, options.height, options.width)
    data = dataclasses.replace(
        dataset_named(options.dataset), shape=shape, classes=options.num_classes
    )
    sign = options.metric[:1] if options.metric.startswith(("-", "+")) else ""
    metric = options.metric.removeprefix(sign)

    return TorchTask(
        space=_space(options),
        model=partial(network, data, options.batch_norm),
        optimizer=lambda module, _: Adam(module.parameters(), fused=True),
        data=partial(
            splits,
            data,
            options.data_dir,
            validation=options.validation,
            seed=options.split_seed,
        ),
        metrics=_measure(metric),
        score=sign + label(metric),
        batch_size=options.batch_size,
        # With 1000, fresh memory for outputs of 100 MB takes two thirds of the time.
        evaluation_batch_size=200,
        shuffle=options.shuffle,
        augment=_augment(data, options),
    )


def _space(options: ImageOptions) -> Space:
    lr = LogUniform(1e-4, 1e-1) if options.lr is None else Constant(options.lr)
    keep_prob = Uniform(0.5, 1.0) if options.keep_prob is None else Constant(options.keep_prob)
    weight_decay = Constant(options.weight_decay)
    return Space({"lr": lr, "keep_prob": keep_prob, "weight_decay": weight_decay})


def _augment(data: Dataset, options: ImageOptions) -> Augment | None:
    """Return the augmentation of training images; None if no option changes them."""
    augment = Augment(
        options.crop,
        options.crop_shift,
        options.hflip,
        options.vflip,
        background=-data.mean / data.std,
    )
    shifts = options.crop and options.crop_shift
    return augment if shifts or options.hflip or options.vflip else None


def _measure(metric: str) -> Measure:
    measure = evaluating([metric])
    if metric != "accuracy_onehot":
        return measure
    # The labels of the data are class indices; those of this metric are one-hot.
    return lambda outputs, targets: measure(outputs, functional.one_hot(targets, outputs.shape[1]))
