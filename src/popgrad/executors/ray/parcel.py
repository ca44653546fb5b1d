"""States as they go through Ray's object store, which shares the memory of arrays."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from popgrad.state import State, Tree, raw, unflatten


@dataclass(frozen=True)
class Parcel:
    """A state taken apart.

    Attributes:
        tree: The state's structure and numbers.
        leaves: (dtype name, shape, bytes) of each tensor; read-only from the object store.
    """

    tree: Tree
    leaves: tuple[tuple[str, tuple[int, ...], npt.NDArray[np.uint8]], ...]


def pack(tree: Tree, leaves: Sequence[torch.Tensor]) -> Parcel:
    """Return the parcel of a state that was taken apart; it aliases the leaves if it can."""
    return Parcel(
        tree,
        tuple(
            (str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape), raw(leaf).numpy())
            for leaf in leaves
        ),
    )


def tensors(parcel: Parcel) -> list[torch.Tensor]:
    """Return copies of the leaves in torch's own memory: bits depend on their alignment."""
    leaves = []
    for name, shape, content in parcel.leaves:
        leaf = torch.empty(shape, dtype=getattr(torch, name))
        leaf.reshape(-1).view(torch.uint8).copy_(_from_numpy(content))
        leaves.append(leaf)
    return leaves


def unpack(parcel: Parcel) -> State:
    """Return a copy of the state."""
    return unflatten(parcel.tree, tensors(parcel))  # type: ignore[no-any-return]


def alias(parcel: Parcel) -> State:
    """Return the state without a copy. It is read-only: all processes on this node share it."""
    leaves = [
        _from_numpy(content).view(getattr(torch, name)).reshape(shape)
        for name, shape, content in parcel.leaves
    ]
    return unflatten(parcel.tree, leaves)  # type: ignore[no-any-return]


def _from_numpy(content: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return a tensor that aliases an array, which is read-only on purpose: torch warns of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(content)
