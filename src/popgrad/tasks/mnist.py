"""The two MNIST classifiers: fully connected and convolutional, with batch normalisation and dropout."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.optim import Adam

from popgrad.core.population import Hparams
from popgrad.core.space import Constant, Dimension, LogUniform, Space, Uniform
from popgrad.data import Dataset, dataset_named, splits
from popgrad.nn import Dropout, xavier_
from popgrad.tasks.torch import TorchTask


def mnist_fc(
    *,
    n_hiddens: tuple[int, ...] = (256, 256),
    batch_norm: bool = True,
    lr: float | None = None,
    keep_prob: float | None = None,
    weight_decay: float = 1e-5,
    batch_size: int = 200,
    dataset: str = "mnist",
    data_dir: str | None = None,
    split_seed: int = 0,
) -> TorchTask:
    """Fully connected: for each width Linear, BatchNorm, ReLU, Dropout; then Linear to the classes. Adam.

    Args:
        n_hiddens: Width of each hidden layer.
        batch_norm: Batch normalisation after each hidden layer.
        lr: Adam's learning rate, fixed; None = searched, log-uniform in 1e-4..1e-1.
        keep_prob: 1 - dropout probability, fixed; None = searched, uniform in 0.5..1.
        weight_decay: Adam's L2 penalty.
        batch_size: Samples a step.
        dataset: "mnist" or "fashion-mnist".
        data_dir: Where the data lies; None = POPGRAD_DATA, else the user's cache directory.
        split_seed: Which training samples are held out for validation.
    """
    data = dataset_named(dataset)

    def model(hparams: Hparams) -> nn.Module:
        del hparams
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = _pixels(data)
        for width in n_hiddens:
            layers.append(nn.Linear(inputs, width))
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers += [nn.ReLU(), _dropout()]
            inputs = width
        return xavier_(nn.Sequential(*layers, nn.Linear(inputs, data.classes)))

    return _task(model, lr, keep_prob, weight_decay, batch_size, dataset, data_dir, split_seed)


def mnist_conv(
    *,
    n_filters: tuple[int, ...] = (16, 32),
    batch_norm: bool = True,
    lr: float | None = None,
    keep_prob: float | None = None,
    weight_decay: float = 1e-5,
    batch_size: int = 200,
    dataset: str = "mnist",
    data_dir: str | None = None,
    split_seed: int = 0,
) -> TorchTask:
    """Convolutional: per filter count Conv 3x3 (padding 1), BatchNorm, ReLU, Dropout; flatten; Linear. Adam.

    Args:
        n_filters: Filters of each convolution layer.
        batch_norm: Batch normalisation after each convolution layer.
        lr: As in `mnist_fc`.
        keep_prob: As in `mnist_fc`.
        weight_decay: Adam's L2 penalty.
        batch_size: Samples a step.
        dataset: "mnist" or "fashion-mnist".
        data_dir: As in `mnist_fc`.
        split_seed: As in `mnist_fc`.
    """
    data = dataset_named(dataset)

    def model(hparams: Hparams) -> nn.Module:
        del hparams
        layers: list[nn.Module] = []
        inputs = data.shape[0]
        for filters in n_filters:
            layers.append(nn.Conv2d(inputs, filters, 3, padding=1))
            layers += [nn.BatchNorm2d(filters)] if batch_norm else []
            layers += [nn.ReLU(), _dropout()]
            inputs = filters
        features = _pixels(data) // data.shape[0] * inputs
        return xavier_(nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, data.classes)))

    return _task(model, lr, keep_prob, weight_decay, batch_size, dataset, data_dir, split_seed)


def _task(
    model: Callable[[Hparams], nn.Module],
    lr: float | None,
    keep_prob: float | None,
    weight_decay: float,
    batch_size: int,
    dataset: str,
    data_dir: str | None,
    split_seed: int,
) -> TorchTask:
    dimensions: dict[str, Dimension] = {
        "lr": LogUniform(1e-4, 1e-1) if lr is None else Constant(lr),
        "keep_prob": Uniform(0.5, 1.0) if keep_prob is None else Constant(keep_prob),
        "weight_decay": Constant(weight_decay),
    }
    return TorchTask(
        space=Space(dimensions),
        model=model,
        optimizer=lambda module, _: Adam(module.parameters(), fused=True),
        data=partial(splits, dataset, data_dir, seed=split_seed),
        batch_size=batch_size,
    )


def _dropout() -> Dropout:
    return Dropout(0.0, hparam="keep_prob", keep=True)


def _pixels(data: Dataset) -> int:
    channels, height, width = data.shape
    return channels * height * width
