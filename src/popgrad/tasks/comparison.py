"""Comparison of values and states, bit for bit."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from popgrad.state import raw

_ROUNDING = 8
"""Units in the last place, of the largest entry, that the layout of memory can explain."""

_MOST = 3
"""Entries that a message lists."""


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


@dataclass(frozen=True)
class Difference:
    """An entry in which two states differ.

    Attributes:
        path: Path of the entry, such as "state['w'][0]".
        values: The difference in words.
        gap: Largest difference as a share of the largest value; infinite if they cannot be compared.
        eps: Unit in the last place of the kind of number, as such a share.
    """

    path: str
    values: str
    gap: float = math.inf
    eps: float = 0.0

    def __str__(self) -> str:
        return f"in {self.path} ({self.values})"

    def is_rounding(self, share: float = 0.0) -> bool:
        """Return whether another order of additions could explain it.

        Args:
            share: Difference that it may explain, as a share of the largest value; it is never less
                than a few units in the last place.
        """
        return self.gap <= max(share, _ROUNDING * self.eps)


def difference(some: Any, other: Any, share: float = 0.0) -> Difference | None:
    """Return the first difference of two states that is no rounding, else the first; None = equal bits.

    Example:
        >>> print(difference({"w": [1.0, 2.0]}, {"w": [1.0, 3.0]}))
        in state['w'][1] (2.0 and 3.0)
    """
    found = list(differences(some, other))
    large = [each for each in found if not each.is_rounding(share)]
    return next(iter([*large, *found]), None)


def differences(some: Any, other: Any, path: str = "state") -> Iterator[Difference]:
    """Yield each entry in which two states differ.

    Example:
        >>> for each in differences({"steps": 1, "w": [2.0]}, {"steps": 2, "w": [3.0]}):
        ...     print(each)
        in state['steps'] (1 and 2)
        in state['w'][0] (2.0 and 3.0)
    """
    if type(some) is not type(other):
        yield Difference(path, f"{type(some).__name__} and {type(other).__name__}")
    elif isinstance(some, dict):
        unshared = sorted(map(repr, some.keys() ^ other.keys()))
        if unshared:
            yield Difference(path, f"keys {', '.join(unshared[:_MOST])}")
            return
        if list(some) != list(other):
            yield Difference(path, "keys in another order", gap=0.0)
        for key in some:
            yield from differences(some[key], other[key], f"{path}[{key!r}]")
    elif isinstance(some, list | tuple):
        if len(some) != len(other):
            yield Difference(path, f"{len(some)} and {len(other)} entries")
            return
        for i, pair in enumerate(zip(some, other, strict=True)):
            yield from differences(*pair, f"{path}[{i}]")
    elif isinstance(some, np.ndarray):
        yield from differences(torch.from_numpy(some), torch.from_numpy(other), path)
    elif isinstance(some, torch.Tensor):
        yield from _tensor_differences(some, other, path)
    elif isinstance(some, float):
        if some.hex() != other.hex():
            gap = abs(some - other) / abs(some) if some else math.inf
            yield Difference(path, f"{some!r} and {other!r}", gap, sys.float_info.epsilon)
    elif some != other:
        yield Difference(path, f"{some!r:.40} and {other!r:.40}")


def _tensor_differences(some: torch.Tensor, other: torch.Tensor, path: str) -> Iterator[Difference]:
    if some.dtype != other.dtype or some.shape != other.shape:
        kinds = [f"{x.dtype} {list(x.shape)}".removeprefix("torch.") for x in (some, other)]
        yield Difference(path, " and ".join(kinds))
        return
    if torch.equal(raw(some), raw(other)):
        return

    if not some.is_floating_point():
        yield Difference(path, f"{int((some != other).sum())} of {some.numel()} entries")
        return
    gap = float((some.double() - other.double()).abs().max())
    largest = float(some.double().abs().max())
    share = gap / largest if largest else math.inf
    yield Difference(path, f"up to {gap:.3g}", share, torch.finfo(some.dtype).eps)


def losses(state: object, restored: object) -> str:
    """Return the entries of a state that come back as something else, in words; "" = none."""
    changed = list(_losses(state, restored, "state"))
    shared = list(_shared(state))
    found = [*changed, *shared]
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f": {', '.join(found[:_MOST])}{more}" if found else ""


def _losses(some: Any, restored: Any, path: str) -> Iterator[str]:
    if isinstance(some, torch.Tensor):
        kind = type(some).__name__
        if some.requires_grad:
            yield f"{path} comes back as a plain tensor that requires no gradient"
        elif type(some) is not torch.Tensor:
            yield f"{path} comes back as a plain tensor, not a {kind}"
        if some.device.type != "cpu":
            yield f"{path} comes back on the CPU"
        return

    if type(some) is not type(restored):
        yield f"{path} comes back as a {type(restored).__name__}, not a {type(some).__name__}"
    if isinstance(restored, dict):
        for key in restored:
            yield from _losses(some[key], restored[key], f"{path}[{key!r}]")
    elif isinstance(restored, list | tuple):
        for i, pair in enumerate(zip(some, restored, strict=True)):
            yield from _losses(*pair, f"{path}[{i}]")


def _shared(state: object) -> Iterator[str]:
    """Yield the tensors of a state that share memory with an earlier one, and come back apart."""
    owners: dict[int, str] = {}
    for path, array in _arrays(state, "state"):
        if isinstance(array, np.ndarray):
            pointer = int(array.__array_interface__["data"][0])
        else:
            pointer = array.untyped_storage().data_ptr()
        if pointer and pointer in owners:
            yield f"{path} shares the memory of {owners[pointer]} and comes back apart from it"
        owners.setdefault(pointer, path)


def _arrays(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, torch.Tensor | np.ndarray):
        yield path, node
    elif hasattr(node, "items"):
        for key, value in node.items():
            yield from _arrays(value, f"{path}[{key!r}]")
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _arrays(value, f"{path}[{i}]")
