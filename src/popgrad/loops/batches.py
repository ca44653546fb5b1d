"""Batches of an interval: a fixed number of them, from a loader that is started again at its end."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from popgrad.core.errors import UsageError

_END = object()


def take_batches(loader: Iterable[Any], count: int) -> Iterator[tuple[Any, int]]:
    """Yield batches and their sizes.

    Args:
        loader: Iterable that can be iterated again.
        count: Number of batches.

    Raises:
        UsageError: The loader is empty.

    Example:
        >>> [batch for batch, size in take_batches([1, 2, 3], 5)]
        [1, 2, 3, 1, 2]
    """
    iterator = iter(loader)
    for _ in range(count):
        batch = next(iterator, _END)
        if batch is _END:
            iterator = iter(loader)
            batch = next(iterator, _END)
        if batch is _END:
            raise UsageError("m.batches: the loader yields no batch, or cannot be iterated twice")
        yield batch, batch_size(batch)


def batch_size(batch: Any) -> int:
    """Return the samples in a batch: the length of its first tensor; 0 = unknown.

    Example:
        >>> batch_size({"inputs": torch.zeros(8, 3), "labels": torch.zeros(8)})
        8
    """
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.ndim else 0
    if not isinstance(batch, Mapping | list | tuple):
        return 0
    parts = batch.values() if isinstance(batch, Mapping) else batch
    return next((size for part in parts if (size := batch_size(part))), 0)
