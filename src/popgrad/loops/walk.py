"""Objects below variables: through containers and through objects of the user's own classes."""

import functools
import sys
import types
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from popgrad.tasks.calls import is_users

_MOST = 200
"""Entries of a container that are followed; a longer one holds data."""

_PLAIN = (bool, int, float, str, bytes, type(None))


def walk(
    variables: Mapping[str, Any], depth: int, skipped: Collection[int]
) -> Iterator[tuple[str, Any]]:
    """Yield each object once, by its path; numbers and strings are left out.

    Args:
        variables: Values by name.
        depth: Attributes, keys and positions that are followed.
        skipped: `id` of each object that is not yielded, nor what is below it.

    Example:
        >>> [path for path, _ in walk({"parts": {"noise": torch.Generator(), "n": 3}}, 2, ())]
        ["parts['noise']"]
    """
    known = set(skipped)
    level = list(variables.items())
    for _ in range(depth + 1):
        following: list[tuple[str, Any]] = []
        for path, value in level:
            if isinstance(value, _PLAIN) or id(value) in known:
                continue
            known.add(id(value))
            if not isinstance(value, list | tuple | dict):
                yield path, value
            # Attributes of a foreign object may raise anything.
            with suppress(Exception):
                following += _below(path, value)
        level = following


def _below(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds: items, attributes of the user's own classes, a loader's generator."""
    if isinstance(value, dict):
        if len(value) <= _MOST:
            yield from ((f"{path}[{key!r}]", item) for key, item in [*value.items()])
    elif isinstance(value, list | tuple):
        if len(value) <= _MOST:
            yield from ((f"{path}[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, DataLoader):
        yield f"{path}.generator", value.generator
        yield f"{path}.sampler", value.sampler
        yield f"{path}.sampler.generator", getattr(value.sampler, "generator", None)
    elif _is_followed(value):
        yield from ((f"{path}.{name}", item) for name, item in [*vars(value).items()])


def _is_followed(value: Any) -> bool:
    """Whether the attributes of an object are the user's: not those of a module or an environment."""
    if isinstance(value, nn.Module | types.FunctionType | type | torch.Tensor):
        return False
    if not hasattr(value, "__dict__") or hasattr(value, "action_space"):
        return False
    return _is_users_module(type(value).__module__)


@functools.lru_cache(maxsize=4096)
def _is_users_module(name: str) -> bool:
    """Whether a module is the user's code, also a notebook."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return name == "__main__" or (file is not None and is_users(file))


def is_own_object(value: Any) -> bool:
    """Whether an object is one of popgrad's own classes, such as the member."""
    return type(value).__module__.partition(".")[0] == "popgrad"
