"""Comparison of values and states, bit for bit."""

from collections.abc import Iterator

import numpy as np
import torch

from popgrad.state import raw


def same(some: object, other: object) -> bool:
    """Return whether two values are equal, tensors and numbers bit for bit.

    Example:
        >>> same(torch.zeros(2), torch.zeros(2)), same(0.0, -0.0), same(1, True)
        (True, False, False)
    """
    if isinstance(some, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = some.dtype == other.dtype and some.shape == other.shape
        return alike and torch.equal(raw(some.detach()), raw(other.detach()))
    if isinstance(some, np.ndarray) and isinstance(other, np.ndarray):
        return some.dtype == other.dtype and np.array_equal(some, other, equal_nan=True)
    if isinstance(some, float) and isinstance(other, float):
        return some.hex() == other.hex()
    return type(some) is type(other) and bool(some == other)


def differences(some: object, other: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each entry in which two states differ, and how it differs.

    Example:
        >>> list(differences({"steps": 1, "w": [2.0]}, {"steps": 1, "w": [3.0]}))
        [('w[0]', 'is 3.0 instead of 2.0')]
    """
    if isinstance(some, dict) and isinstance(other, dict):
        for key in [*some, *(key for key in other if key not in some)]:
            inner = f"{path}[{key!r}]" if path else str(key)
            if key not in some or key not in other:
                yield inner, "is missing"
            else:
                yield from differences(some[key], other[key], inner)
    elif isinstance(some, list | tuple) and isinstance(other, list | tuple):
        if len(some) != len(other):
            yield path, "has another length"
            return
        for i, pair in enumerate(zip(some, other, strict=True)):
            yield from differences(*pair, f"{path}[{i}]")
    elif not same(some, other):
        yield path, _gap(some, other)


def _gap(some: object, other: object) -> str:
    """Return how two values that are not the same differ."""
    if isinstance(some, torch.Tensor) and isinstance(other, torch.Tensor):
        if some.shape == other.shape:
            most = (some.detach().double() - other.detach().double()).abs().max()
            return f"differs by {float(most):.3g}"
        return f"has the shape {list(other.shape)} instead of {list(some.shape)}"
    return f"is {other!r} instead of {some!r}"
