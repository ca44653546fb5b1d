"""Plain data from the `state_dict` of any library, and back.

A state holds dictionaries, lists, tuples, tensors, arrays, numbers and strings. Libraries put more
into theirs: NumPy scalars, named tuples, sets, counters, bytes, keys of other types. These are written as
dictionaries with one marked key, so that the library gets back what it gave.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from popgrad.core.errors import UsageError
from popgrad.state import State

_MARK = "popgrad: "
"""Start of the key of a dictionary that stands for something else."""

_DEEPEST = 90
"""Levels of nesting that are followed; a state permits 100."""

Plain = Any


def to_plain(value: Any, path: str) -> Plain:
    """Return a copy of a value as plain data.

    Args:
        value: Result of a `state_dict`, or a part of it.
        path: Path of the value, for messages.

    Raises:
        UsageError: A part cannot be kept; the message names its path.

    Example:
        >>> to_plain({"seen": {2, 1}, "best": np.float32(0.5)}, "sampler")
        {'seen': {'popgrad: set': [1, 2]}, 'best': 0.5}
    """
    return _to_plain(value, path, 0)


def _to_plain(value: Any, path: str, depth: int) -> Plain:
    if depth > _DEEPEST:
        raise UsageError(f"{path:.80}... is nested deeper than {_DEEPEST} levels")

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if isinstance(value, np.generic):
        return value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Counter):
        # `MultiStepLR` counts its milestones, and asks for their elements.
        return {f"{_MARK}counter": _mapping(value, path, depth + 1)}
    if isinstance(value, Mapping):
        return _mapping(value, path, depth)
    if isinstance(value, list | tuple):
        items = [_to_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, set | frozenset):
        items = [_to_plain(item, path, depth + 1) for item in value]
        return {f"{_MARK}set": sorted(items, key=repr)}
    if isinstance(value, bytes | bytearray):
        return {f"{_MARK}bytes": np.frombuffer(bytes(value), dtype=np.uint8).copy()}
    if isinstance(value, torch.dtype):
        return {f"{_MARK}dtype": str(value).removeprefix("torch.")}
    raise UsageError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be kept: a state "
        "holds dictionaries, lists, tensors, arrays, numbers and strings"
    )


def _mapping(value: Mapping[Any, Any], path: str, depth: int) -> Plain:
    items = {key: _to_plain(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items()}
    if all(type(key) in (str, int) for key in items):
        return items
    pairs = [[_to_plain(key, path, depth + 1), item] for key, item in items.items()]
    return {f"{_MARK}pairs": pairs}


def from_plain(plain: Plain) -> Any:
    """Return a copy of the value that `to_plain` was given.

    Example:
        >>> from_plain(to_plain({"seen": {2, 1}}, "sampler"))
        {'seen': {1, 2}}
    """
    if isinstance(plain, torch.Tensor):
        return plain.clone()
    if isinstance(plain, np.ndarray):
        return plain.copy()
    if isinstance(plain, list):
        return [from_plain(item) for item in plain]
    if isinstance(plain, tuple):
        return tuple(from_plain(item) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        ((key, content),) = plain.items()
        if isinstance(key, str) and key.startswith(_MARK):
            return _restored(key.removeprefix(_MARK), content)
    return {key: from_plain(item) for key, item in plain.items()}


def _restored(kind: str, content: Any) -> Any:
    match kind:
        case "set":
            return set(map(from_plain, content))
        case "counter":
            return Counter(from_plain(content))
        case "bytes":
            return content.tobytes()
        case "dtype":
            dtype = getattr(torch, content)
            assert isinstance(dtype, torch.dtype)
            return dtype
        case "pairs":
            return {from_plain(key): from_plain(item) for key, item in content}
    raise UsageError(f"the state holds an unknown entry, {kind!r}")


def plain_values(values: Mapping[str, Any], path: str) -> State:
    """Return the values that a user keeps, as copies.

    Raises:
        UsageError: A key is not a string, or a value cannot be kept.
    """
    for key in values:
        if type(key) is not str:
            raise UsageError(f"{path} has the key {key!r:.80}; expected strings")
    return {key: to_plain(value, f"{path}[{key!r}]") for key, value in values.items()}
