"""Metrics of a whole split: (outputs [n, ...], targets [n, ...]) -> number."""

import math

import torch
from torch.nn import functional


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of rows whose largest output is the target's class, in [0, 1].

    Args:
        outputs: [n, classes].
        targets: [n] class indices.

    Returns:
        nan when any output is not finite: such a network has diverged, whatever its largest entry is.
    """
    if not bool(torch.isfinite(outputs).all()):
        return math.nan
    return float((outputs.argmax(1) == targets).double().mean())


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean cross entropy in nats, at least 0. Shapes as in `accuracy`."""
    return float(functional.cross_entropy(outputs, targets))


def classification(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """`accuracy` and `loss` (cross entropy)."""
    return {"accuracy": accuracy(outputs, targets), "loss": cross_entropy(outputs, targets)}


def regression(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """`loss`, the mean squared error."""
    return {"loss": float(functional.mse_loss(outputs, targets))}
