"""Metrics of a whole split: (outputs [n, ...], targets [n, ...]) -> number."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional

from popgrad.core.errors import UsageError
from popgrad.lookup import import_object

Metric = Callable[[torch.Tensor, torch.Tensor], float]


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of rows whose largest output is the target's class, in [0, 1].

    Args:
        outputs: [n, classes].
        targets: [n] class indices.

    Returns:
        nan when any output is not finite: such a network has diverged, whatever its largest entry is.

    Raises:
        UsageError: The targets are no class indices, one for each row.
    """
    found = outputs.argmax(1)
    if found.shape != targets.shape:
        raise UsageError(
            f"accuracy: targets of shape {list(targets.shape)} for outputs of shape {list(outputs.shape)}; "
            f"class indices of shape {list(found.shape)} are allowed (one-hot targets: use accuracy_onehot)"
        )
    if not bool(torch.isfinite(outputs).all()):
        return math.nan
    return float((found == targets).double().mean())


def accuracy_onehot(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """`accuracy` for targets [n, classes] of which the largest entry of a row marks its class.

    Raises:
        UsageError: The targets have another shape than the outputs.
    """
    if outputs.shape != targets.shape:
        raise UsageError(
            f"accuracy_onehot: targets of shape {list(targets.shape)} for outputs of shape "
            f"{list(outputs.shape)}; the same shape is allowed (class indices: use accuracy)"
        )
    return accuracy(outputs, targets.to(outputs.dtype).argmax(1))  # booleans have no argmax


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean cross entropy in nats, at least 0.

    Args:
        outputs: [n, classes], before the softmax.
        targets: [n] class indices, or [n, classes] probabilities (one-hot ones too, of any type).
    """
    if targets.shape == outputs.shape:
        targets = targets.to(outputs.dtype)
    return float(functional.cross_entropy(outputs, targets))


def classification(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """`accuracy` and `loss` (cross entropy)."""
    return {"accuracy": accuracy(outputs, targets), "loss": cross_entropy(outputs, targets)}


def regression(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """`loss`, the mean squared error."""
    return {"loss": float(functional.mse_loss(outputs, targets))}


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "accuracy_categ": accuracy,
    "accuracy_onehot": accuracy_onehot,
    "loss": cross_entropy,
}
"""Metrics of classifiers by name; "accuracy_categ" is another name of "accuracy"."""


def metric_named(name: str) -> Metric:
    """A metric by its name in `METRICS`, or one's own function as "module:function" or "file.py:function".

    Raises:
        UsageError: There is no such metric, or it is no function.
    """
    metric = import_object(name, "metric", METRICS)
    if not callable(metric):
        raise UsageError(
            f"metric {name} is {metric!r}: a function (outputs, targets) -> number is allowed"
        )
    return metric  # type: ignore[no-any-return]


def label(name: str) -> str:
    """What a named metric is called in results: its name, without the module or file that it comes from."""
    return name.rpartition(":")[2]


def evaluating(names: Sequence[str]) -> Callable[[torch.Tensor, torch.Tensor], dict[str, float]]:
    """A function (outputs, targets) -> all the named metrics by their `label`, and "loss" (cross entropy).

    Args:
        names: As `metric_named` takes them. One that is called "loss" takes the place of cross entropy.

    Raises:
        UsageError: One cannot be found, or two have the same label.
    """
    labels = [label(name) for name in names]
    if twice := sorted({each for each in labels if labels.count(each) > 1}):
        raise UsageError(
            f"metrics {', '.join(names)}: {', '.join(twice)} is there twice; give each once"
        )
    metrics = {"loss": cross_entropy} | {label(name): metric_named(name) for name in names}

    def evaluate(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {each: float(metric(outputs, targets)) for each, metric in metrics.items()}

    return evaluate
