"""Averages of networks of one architecture: mean weights, and BatchNorm statistics that fit them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from popgrad.core.errors import UsageError

Tensors = Mapping[str, torch.Tensor]
"""Parameters and buffers of a network, by name."""


def average(networks: Sequence[Tensors]) -> dict[str, torch.Tensor]:
    """Return the mean of networks, parameter by parameter.

    Sums are taken in double precision, so that the mean of equal networks is that network. Integers
    and booleans, such as counters, are those of the first network.

    Args:
        networks: At least one; all with the names, shapes and types of the first.

    Example:
        >>> some, other = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}
        >>> average([some, other])
        {'w': tensor([2., 2.])}
    """
    first = networks[0]
    return {name: _mean([network[name] for network in networks]) for name in first}


def _mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    first = tensors[0]
    if not first.is_floating_point() and not first.is_complex():
        return first.clone()

    wide = torch.complex128 if first.is_complex() else torch.float64
    total = torch.zeros(first.shape, dtype=wide, device=first.device)
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(first.dtype)


def difference(network: Tensors, other: Tensors) -> str:
    """Return the first difference between the shapes of two networks in words; "" = there is none.

    Args:
        network: The network to describe.
        other: The network that it is compared with.

    Example:
        >>> difference({"w": torch.zeros(3)}, {"w": torch.zeros(2)})
        'w has shape [3] instead of [2]'
    """
    if network.keys() != other.keys():
        name = min(network.keys() ^ other.keys())
        return f"it has {'no' if name in other else 'a tensor'} {name}"

    for name, tensor in network.items():
        shape, expected = list(tensor.shape), list(other[name].shape)
        if shape != expected:
            return f"{name} has shape {shape} instead of {expected}"
        if tensor.dtype != other[name].dtype:
            return f"{name} has type {tensor.dtype} instead of {other[name].dtype}"
    return ""


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return the BatchNorm layers that keep running statistics, by path."""
    return {
        path: layer
        for path, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


@torch.no_grad()
def batch_norm_statistics(
    module: nn.Module, forward: Callable[[Any], object], batches: Iterable[Any]
) -> dict[str, torch.Tensor]:
    """Estimate the statistics of BatchNorm layers: plain means over batches, in training mode.

    The mean of several networks needs it: activations of the mean are not the mean of activations.
    The same is done in stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407).

    Args:
        module: Network to estimate for; it is left in training mode, with other statistics.
        forward: Called with each batch; it calls the module.
        batches: Training batches, at least one.

    Returns:
        Means and variances by name, as in `module.state_dict()`.

    Raises:
        UsageError: There is no batch.

    Example:
        >>> module = nn.Sequential(nn.BatchNorm1d(1))
        >>> batch = torch.tensor([[1.0], [3.0]])
        >>> batch_norm_statistics(module, module, [batch])["0.running_mean"]
        tensor([2.])
    """
    layers = batch_norms(module)
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches

    module.train()
    count = 0
    for batch in batches:
        forward(batch)
        count += 1
    if not count:
        raise UsageError(
            "soup: batches: got none, but the statistics of BatchNorm layers are estimated on them"
        )

    own = {"running_mean", "running_var"}
    return {
        f"{path}.{name}" if path else name: buffer.clone()
        for path, layer in layers.items()
        for name, buffer in layer.named_buffers(recurse=False)
        if name in own
    }
