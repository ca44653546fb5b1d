"""Slots: memory that processes share, one per state. No state is pickled, none goes through the disk.

A slot is a file without a name in memory (`memfd_create`): not limited by the size of /dev/shm, gone with the
last process that has it open, however that ends. Where the system has none, it is a file in the temporary
directory.
"""

import math
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from popgrad.state import Tree, raw

ALIGNMENT = 64  # torch's own allocations start at multiples of it


@dataclass(frozen=True)
class Layout:
    """How a state lies in its slot: small, and sent over pipes.

    Attributes:
        tree: The state's structure and numbers.
        leaves: (dtype name, shape, offset in bytes) of each tensor.
        size: Bytes.
    """

    tree: Tree
    leaves: tuple[tuple[str, tuple[int, ...], int], ...]
    size: int


def layout(tree: Tree, leaves: Sequence[torch.Tensor]) -> Layout:
    """Where each leaf of a state comes to lie."""
    places, offset = [], 0
    for leaf in leaves:
        places.append((str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape), offset))
        offset += -(-leaf.numel() * leaf.element_size() // ALIGNMENT) * ALIGNMENT
    return Layout(tree, tuple(places), offset)


class SharedState:
    """Shared memory for one state, made by the controller.

    Attributes:
        path: What another process opens it by.
    """

    def __init__(self) -> None:
        if sys.platform == "linux":
            self._fd = os.memfd_create("popgrad", os.MFD_CLOEXEC)
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        else:
            self._fd, self.path = tempfile.mkstemp(prefix="popgrad-")
        self._view = View(self.path)

    def write(self, where: Layout, leaves: Sequence[torch.Tensor]) -> None:
        """Copy leaves in."""
        self._view.write(where, leaves)

    def read(self, where: Layout) -> list[torch.Tensor]:
        """Copy leaves out."""
        return self._view.read(where)

    def look(self, where: Layout) -> list[torch.Tensor]:
        """The leaves where they lie; the memory stays for as long as somebody looks."""
        return self._view.look(where)

    def close(self) -> None:
        """Give the memory back."""
        self._view.close()
        os.close(self._fd)
        if sys.platform != "linux":
            os.unlink(self.path)


@dataclass
class View:
    """A process's own mapping of a slot; follows the file when it grows.

    Attributes:
        path: The slot's.
    """

    path: str
    _map: mmap.mmap | None = field(default=None, repr=False)

    def _bytes(self, size: int, *, grow: bool) -> torch.Tensor:
        if self._map is None or len(self._map) < size:
            self.close()
            fd = os.open(self.path, os.O_RDWR)
            try:
                if grow and os.fstat(fd).st_size < size:
                    _reserve(fd, size)
                self._map = mmap.mmap(fd, max(size, os.fstat(fd).st_size))
            finally:
                os.close(fd)
        return torch.frombuffer(self._map, dtype=torch.uint8)

    def write(self, where: Layout, leaves: Sequence[torch.Tensor]) -> None:
        """Copy leaves in; the slot grows as needed. Raises `OSError` when memory is full."""
        if where.size:
            target = self._bytes(where.size, grow=True)
            for (_, _, offset), leaf in zip(where.leaves, leaves, strict=True):
                source = raw(leaf)
                target[offset : offset + len(source)].copy_(source)

    def read(self, where: Layout) -> list[torch.Tensor]:
        """Copy leaves out, into torch's own memory: bits depend on how an operand is aligned."""
        source = (
            self._bytes(where.size, grow=False) if where.size else torch.empty(0, dtype=torch.uint8)
        )
        leaves = []
        for name, shape, offset in where.leaves:
            dtype = getattr(torch, name)
            leaf = torch.empty(shape, dtype=dtype)
            flat = leaf.reshape(-1).view(torch.uint8)
            flat.copy_(source[offset : offset + len(flat)])
            leaves.append(leaf)
        return leaves

    def look(self, where: Layout) -> list[torch.Tensor]:
        """The leaves where they lie, in memory that processes share until one of them writes to it."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            # A mapping of nothing is an error; one that is private can be looked at without leave to write.
            size, access = os.fstat(fd).st_size, mmap.ACCESS_COPY
            memory = mmap.mmap(fd, size, access=access) if size else bytearray(1)
        finally:
            os.close(fd)
        leaves = []
        for name, shape, offset in where.leaves:
            dtype, count = getattr(torch, name), math.prod(shape)
            found = (
                torch.frombuffer(memory, dtype=dtype, count=count, offset=offset)
                if count
                else torch.empty(0)
            )
            leaves.append(found.to(dtype).reshape(shape))
        return leaves

    def close(self) -> None:
        """Drop the mapping; the memory is given back when no tensor looks at it any more."""
        self._map = None


def _reserve(fd: int, size: int) -> None:
    # A mapping of memory that is not there dies with SIGBUS at the first write; reserving raises an OSError.
    if sys.platform == "linux":
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)
