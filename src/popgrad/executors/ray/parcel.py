"""Parcels: states as they go through Ray's object store, where arrays are not pickled but lie as they are."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from popgrad.state import State, Tree, raw, unflatten


@dataclass(frozen=True)
class Parcel:
    """A state taken apart.

    Attributes:
        tree: The state's structure and numbers.
        leaves: (dtype name, shape, bytes) of each tensor. What comes out of the object store is read-only.
    """

    tree: Tree
    leaves: tuple[tuple[str, tuple[int, ...], npt.NDArray[np.uint8]], ...]


def pack(tree: Tree, leaves: Sequence[torch.Tensor]) -> Parcel:
    """A state that was taken apart; the parcel aliases the leaves where it can."""
    return Parcel(
        tree,
        tuple(
            (str(e.dtype).removeprefix("torch."), tuple(e.shape), raw(e).numpy()) for e in leaves
        ),
    )


def tensors(parcel: Parcel) -> list[torch.Tensor]:
    """The leaves, copied into torch's own memory: bits depend on how an operand is aligned."""
    leaves = []
    for name, shape, content in parcel.leaves:
        leaf = torch.empty(shape, dtype=getattr(torch, name))
        leaf.reshape(-1).view(torch.uint8).copy_(_seen(content))
        leaves.append(leaf)
    return leaves


def unpack(parcel: Parcel) -> State:
    """A copy of the state."""
    return unflatten(parcel.tree, tensors(parcel))  # type: ignore[no-any-return]


def look(parcel: Parcel) -> Any:
    """The state where it lies, for what is only read from: a write would change it for all on this node."""
    leaves = [
        _seen(c).view(getattr(torch, name)).reshape(shape) for name, shape, c in parcel.leaves
    ]
    return unflatten(parcel.tree, leaves)


def _seen(content: npt.NDArray[np.uint8]) -> torch.Tensor:
    with (
        warnings.catch_warnings()
    ):  # torch warns of what is read-only, which is what it is meant to be
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(content)
