"""Objects that hang below tracked ones, and so are none of the user's loop."""

import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn

from popgrad.loops.kinds.optimizer import is_optimizer
from popgrad.loops.kinds.scheduler import is_scheduler
from popgrad.tasks.groups import inner_optimizers
from popgrad.tasks.schedulers import parts

_DEPTH = 6
_MOST = 20_000
"""Objects that are followed at most."""

_ENDS = (
    *(bool, int, float, str, bytes, type(None), type, torch.Tensor, np.ndarray),
    *(types.FunctionType, types.ModuleType),
)


def owned_by_tracked(tracked: Mapping[str, Any]) -> set[int]:
    """Return the `id` of each tracked object and of all that it holds.

    A scheduler does not own its optimizer, which has to be tracked too.

    Args:
        tracked: Tracked objects by name.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1))
        >>> id(net[0]) in owned_by_tracked({"model": net})
        True
    """
    owned: set[int] = set()
    level = list(tracked.values())
    for _ in range(_DEPTH):
        following: list[Any] = []
        for each in level:
            if isinstance(each, _ENDS) and not isinstance(each, torch.Tensor):
                continue
            if id(each) in owned or len(owned) > _MOST:
                continue
            owned.add(id(each))
            # Attributes of a foreign object may raise anything.
            with suppress(Exception):
                following += _held(each)
        level = following
    return owned


def _held(value: Any) -> Iterator[Any]:
    """Yield what an object holds."""
    if isinstance(value, torch.Tensor):
        return
    if isinstance(value, dict):
        yield from [*value.values()]
    elif isinstance(value, list | tuple | set):
        yield from [*value]
    elif is_scheduler(value):
        yield from (part for part in parts(value) if part is not value)
    elif is_optimizer(value) and not isinstance(value, nn.Module):
        yield from inner_optimizers(value)
    else:
        if isinstance(value, nn.Module):
            yield from value.modules()
        yield from [*getattr(value, "__dict__", {}).values()]
