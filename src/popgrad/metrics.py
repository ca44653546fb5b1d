"""Metrics of a whole split: functions (outputs [n, ...], targets [n, ...]) -> number."""

import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from popgrad.core.errors import UsageError
from popgrad.gates.code import is_own_module
from popgrad.lookup import import_object

Metric = Callable[[torch.Tensor, torch.Tensor], float]


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the share of rows with the largest output in the target's class, in [0, 1].

    Args:
        outputs: [n, classes] scores of the classes, of any scale.
        targets: [n] class indices.

    Returns:
        nan if any output is not finite: such a network has diverged, whatever its largest entry is.

    Raises:
        UsageError: The targets are not class indices, one for each row.

    Example:
        >>> outputs = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> accuracy(outputs, torch.tensor([1, 0, 1, 1]))
        0.75
    """
    predicted = outputs.argmax(1)
    if predicted.shape != targets.shape:
        raise UsageError(
            f"accuracy: expected class indices of shape {list(predicted.shape)} for outputs of shape "
            f"{list(outputs.shape)}, got targets of shape {list(targets.shape)}; for one-hot targets use "
            "accuracy_onehot"
        )

    if not bool(torch.isfinite(outputs).all()):
        return math.nan
    return float((predicted == targets).double().mean())


def accuracy_onehot(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the `accuracy` for one-hot targets.

    Args:
        outputs: [n, classes] scores of the classes, of any scale.
        targets: [n, classes]; the largest entry of a row marks its class.

    Raises:
        UsageError: The targets have another shape than the outputs.

    Example:
        >>> outputs = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
        >>> accuracy_onehot(outputs, torch.tensor([[0, 1], [0, 1]]))
        0.5
    """
    if outputs.shape != targets.shape:
        raise UsageError(
            f"accuracy_onehot: expected targets of the outputs' shape {list(outputs.shape)}, "
            f"got {list(targets.shape)}; for class indices use accuracy"
        )
    # torch defines no argmax of booleans.
    return accuracy(outputs, targets.to(outputs.dtype).argmax(1))


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the mean cross entropy in nats, at least 0.

    Args:
        outputs: [n, classes] scores before the softmax.
        targets: [n] class indices, or [n, classes] probabilities (one-hot ones too, of any type).

    Example:
        >>> round(cross_entropy(torch.zeros(3, 2), torch.tensor([0, 1, 1])), 4)  # log 2
        0.6931
    """
    if targets.shape == outputs.shape:
        targets = targets.to(outputs.dtype)
    return float(functional.cross_entropy(outputs, targets))


def classification(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Return `accuracy` and `loss` (cross entropy).

    Args:
        outputs: [n, classes] scores before the softmax.
        targets: [n] class indices.

    Example:
        >>> sorted(classification(torch.zeros(3, 2), torch.tensor([0, 1, 1])))
        ['accuracy', 'loss']
    """
    return {"accuracy": accuracy(outputs, targets), "loss": cross_entropy(outputs, targets)}


def regression(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Return `loss`, the mean squared error.

    Args:
        outputs: [n, ...] predictions.
        targets: [n, ...] values to predict, of the same shape.

    Example:
        >>> regression(torch.zeros(2, 1), torch.tensor([[1.0], [2.0]]))
        {'loss': 2.5}
    """
    return {"loss": float(functional.mse_loss(outputs, targets))}


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "accuracy_categ": accuracy,
    "accuracy_onehot": accuracy_onehot,
    "loss": cross_entropy,
}
"""Metrics of classifiers by name; "accuracy_categ" is another name of "accuracy"."""


def metric_named(name: str) -> Metric:
    """Return the metric that a name means.

    Args:
        name: A name in `METRICS`, or a function of your own as "module:function" or
            "file.py:function".

    Raises:
        UsageError: No such metric exists, it is not a function, or it is one of a library.
    """
    metric = import_object(name, "metric", METRICS)
    if not callable(metric):
        raise UsageError(
            f"metric {name}: expected a function (outputs, targets) -> number, got {metric!r}"
        )
    place = name.rpartition(":")[0]
    own = not place or place.endswith(".py") or is_own_module(place)
    if not own and not _declares_number(metric):
        raise UsageError(
            f"metric {name}: expected a function of your own, got one of a library, which does not declare "
            "that it returns a float; call it in a function of your own"
        )
    return metric  # type: ignore[no-any-return]


def _declares_number(metric: Callable[..., object]) -> bool:
    try:
        return typing.get_type_hints(metric).get("return") in (float, int)
    except (NameError, TypeError):
        return False


_MOST_SAMPLES = 10_000
"""Most samples of a metric; they are recorded for each segment. More are a mistake, such as the losses of all
rows of a split."""


def label(name: str) -> str:
    """Return the name of a metric in results: without its module or file."""
    return name.rpartition(":")[2]


def evaluating(names: Sequence[str]) -> Callable[[torch.Tensor, torch.Tensor], dict[str, float]]:
    """Return a function (outputs, targets) -> named metrics by `label`, and "loss" (cross entropy).

    Args:
        names: Names of metrics, for `metric_named`. One with the label "loss" replaces cross
            entropy.

    Raises:
        UsageError: A metric does not exist, or two have one label.
    """
    labels = [label(name) for name in names]
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice:
        raise UsageError(
            f"metrics: expected each once, got {', '.join(names)}: {', '.join(twice)} appears twice"
        )

    metrics = {"loss": cross_entropy} | {label(name): metric_named(name) for name in names}

    def evaluate(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return as_numbers({name: metric(outputs, targets) for name, metric in metrics.items()})

    return evaluate


def as_numbers(metrics: object) -> dict[str, float]:
    """Return the metrics of an evaluation as plain floats by name; the mean of those that have samples.

    Args:
        metrics: Numbers, 0-d tensors or arrays of one element, or vectors of at most 10,000 samples, by
            name.

    Raises:
        UsageError: It is no mapping, or a metric is not a number; the message names the metric.

    Example:
        >>> as_numbers({"accuracy": torch.tensor(0.5), "errors": 3})
        {'accuracy': 0.5, 'errors': 3.0}
    """
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f"metrics: expected numbers by name, such as {{'accuracy': 0.9}}, got {_short(metrics)}"
        )
    return {str(name): _number(str(name), value) for name, value in metrics.items()}


def as_metrics(metrics: object) -> dict[str, float | tuple[float, ...]]:
    """Return the metrics of an evaluation as plain numbers, or as samples, by name.

    Args:
        metrics: Metrics as `as_numbers` reads them, which also raises the errors.

    Example:
        >>> as_metrics({"return": torch.tensor([1.0, 3.0]), "length": 7})
        {'return': (1.0, 3.0), 'length': 7.0}
    """
    return {**as_numbers(metrics), **samples_of(metrics)}


def samples_of(metrics: object) -> dict[str, tuple[float, ...]]:
    """Return the samples of the metrics that are vectors, by name.

    A vector is a list, a tuple, or an array or tensor of one dimension and several elements.

    Args:
        metrics: Metrics as `as_numbers` reads them.

    Example:
        >>> samples_of({"return": [1.0, 3.0], "length": 7})
        {'return': (1.0, 3.0)}
    """
    if not isinstance(metrics, Mapping):
        return {}
    vectors = ((str(name), _vector(str(name), value)) for name, value in metrics.items())
    return {name: vector for name, vector in vectors if vector is not None}


def _vector(name: str, value: Any) -> tuple[float, ...] | None:
    """Return a value as samples; None = it is a number, or no metric at all."""
    if isinstance(value, torch.Tensor | np.ndarray):
        is_vector = value.ndim == 1 and 1 < len(value) <= _MOST_SAMPLES
        value = value.tolist() if is_vector else None
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST_SAMPLES:
        return None
    return tuple(_scalar(f"{name}[{place}]", sample) for place, sample in enumerate(value))


def _number(name: str, value: Any) -> float:
    vector = _vector(name, value)
    if vector is None:
        return _scalar(name, value)
    return math.fsum(vector) / len(vector) if all(map(math.isfinite, vector)) else math.nan


def _scalar(name: str, value: Any) -> float:
    is_array = isinstance(value, torch.Tensor | np.ndarray)
    if is_array and math.prod(value.shape) != 1:
        raise UsageError(
            f"metric {name!r}: expected a number, got {_short(value)}; take its mean(), or give each entry a "
            "name of its own"
        )
    if isinstance(value, Mapping):
        raise UsageError(
            f"metric {name!r}: expected a number, got {_short(value)}; give each of its numbers a name of "
            "its own in the metrics"
        )

    # Text is refused, although `float` reads it.
    if not isinstance(value, str | bytes):
        try:
            return float(value.item() if is_array else value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise UsageError(
        f"metric {name!r}: expected a number, got {_short(value)}; return a float, or leave it out"
    )


def _short(value: Any) -> str:
    """Return a value in a few words, for a message."""
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        return f"{kind} of shape {list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."
