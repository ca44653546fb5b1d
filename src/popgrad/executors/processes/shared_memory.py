"""States in memory that processes share. No state is pickled, none goes through the disk.

Each state has a file without a name in memory (`memfd_create`): it is not limited by the size of
/dev/shm, and is gone with the last process that has it open, however that process ends. If the
system has no such files, it is a file in the temporary directory.
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
    """Position of each tensor of a state in its shared memory. It is small, and is sent over pipes.

    Attributes:
        tree: The state's structure and numbers.
        leaves: (dtype name, shape, offset in bytes) of each tensor.
        size: Total size in bytes.
    """

    tree: Tree
    leaves: tuple[tuple[str, tuple[int, ...], int], ...]
    size: int


def make_layout(tree: Tree, leaves: Sequence[torch.Tensor]) -> Layout:
    """Return the layout of a state that was taken apart."""
    entries = []
    offset = 0
    for leaf in leaves:
        entries.append((str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape), offset))
        offset += -(-leaf.numel() * leaf.element_size() // ALIGNMENT) * ALIGNMENT
    return Layout(tree, tuple(entries), offset)


class SharedState:
    """Shared memory for one state, made by the controller.

    Attributes:
        path: Path by which another process opens the memory.
    """

    def __init__(self) -> None:
        # Another process of the same user can open a file without a name through /proc.
        if sys.platform == "linux":
            self._fd = os.memfd_create("popgrad", os.MFD_CLOEXEC)
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        else:
            self._fd, self.path = tempfile.mkstemp(prefix="popgrad-")
        self._view = View(self.path)

    def write(self, layout: Layout, leaves: Sequence[torch.Tensor]) -> None:
        """Copy leaves into the memory. Raises `OSError` if it is full."""
        self._view.write(layout, leaves)
        # A mapping takes another open file.
        self._view.close()

    def read(self, layout: Layout) -> list[torch.Tensor]:
        """Return copies of the leaves."""
        leaves = self._view.read(layout)
        self._view.close()
        return leaves

    def alias(self, layout: Layout) -> list[torch.Tensor]:
        """Return the leaves without a copy; the memory stays as long as one of them is alive."""
        return self._view.alias(layout)

    def close(self) -> None:
        """Free the memory."""
        self._view.close()
        os.close(self._fd)
        if sys.platform != "linux":
            os.unlink(self.path)


@dataclass
class View:
    """A process's own mapping of shared memory; it follows the file as that grows.

    Attributes:
        path: Path of the memory.
    """

    path: str
    _map: mmap.mmap | None = field(default=None, repr=False)

    def _bytes(self, size: int, *, grow: bool) -> torch.Tensor:
        """Return at least the first `size` bytes, as a uint8 tensor without a copy."""
        if self._map is None or len(self._map) < size:
            # Not mapped yet, or the file has grown since.
            self.close()
            fd = os.open(self.path, os.O_RDWR)
            try:
                if grow and os.fstat(fd).st_size < size:
                    _reserve(fd, size)
                self._map = mmap.mmap(fd, max(size, os.fstat(fd).st_size))
            finally:
                os.close(fd)

        return torch.frombuffer(self._map, dtype=torch.uint8)

    def write(self, layout: Layout, leaves: Sequence[torch.Tensor]) -> None:
        """Copy leaves into the memory, which grows as needed. Raises `OSError` if it is full."""
        if layout.size:
            target = self._bytes(layout.size, grow=True)
            for (_, _, offset), leaf in zip(layout.leaves, leaves, strict=True):
                source = raw(leaf)
                target[offset : offset + len(source)].copy_(source)

    def read(self, layout: Layout) -> list[torch.Tensor]:
        """Return copies in torch's own memory: bits depend on how an operand is aligned."""
        source = torch.empty(0, dtype=torch.uint8)
        if layout.size:
            source = self._bytes(layout.size, grow=False)

        leaves = []
        for name, shape, offset in layout.leaves:
            leaf = torch.empty(shape, dtype=getattr(torch, name))
            flat = leaf.reshape(-1).view(torch.uint8)
            flat.copy_(source[offset : offset + len(flat)])
            leaves.append(leaf)
        return leaves

    def alias(self, layout: Layout) -> list[torch.Tensor]:
        """Return the leaves without a copy; a process that writes to them gets its own."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            # A mapping of nothing is an error; a private one needs no permission to write.
            size = os.fstat(fd).st_size
            memory = mmap.mmap(fd, size, access=mmap.ACCESS_COPY) if size else bytearray(1)
        finally:
            os.close(fd)

        leaves = []
        for name, shape, offset in layout.leaves:
            dtype = getattr(torch, name)
            count = math.prod(shape)
            leaf = torch.empty(0, dtype=dtype)
            if count:
                leaf = torch.frombuffer(memory, dtype=dtype, count=count, offset=offset)
            leaves.append(leaf.reshape(shape))
        return leaves

    def close(self) -> None:
        """Drop the mapping; the memory is freed when no tensor aliases it any more."""
        self._map = None


def _reserve(fd: int, size: int) -> None:
    # A write to memory that is not there ends the process; reserving it raises an OSError.
    if sys.platform == "linux":
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)
