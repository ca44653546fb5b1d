"""The batches of an evaluation, lent where that makes no difference."""

from collections.abc import Iterator, Sequence

import torch

from popgrad.core.errors import UsageError
from popgrad.state import raw

ALIGNMENT = 64
"""Bytes: where torch's CPU allocator lets memory begin. From other places a kernel may go another way."""


def batches(tensors: Sequence[torch.Tensor], size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """A split in batches of a fixed size, in order.

    The first one is a copy. If nobody has changed it when the second is asked for, the others are lent:
    views of the split, which take no pass over memory. What does not lie in memory as a copy would is copied,
    for equal bits.

    Args:
        tensors: [samples, ...] each.
        size: Samples of a batch, at least 1; the last one holds what is left.

    Raises:
        UsageError: A batch that was lent has been written into, though the first one was not.
    """
    lend = False
    for begin in range(0, len(tensors[0]), size):
        rows = [tensor[begin : begin + size] for tensor in tensors]
        batch = tuple(
            row
            if lend and _lies_as_a_copy(row)
            else row.clone(memory_format=torch.contiguous_format)
            for row in rows
        )
        before = _versions([*batch, *tensors])
        yield batch
        if begin == 0:  # what is not written through torch leaves its version
            lend = _versions([*batch, *tensors]) == before and all(map(_same, batch, rows))
        elif _versions(tensors) != before[len(batch) :]:
            raise UsageError(
                f"samples {begin} to {begin + len(batch[0]) - 1} have been changed in place by their "
                "evaluation, and with them the data of this process; let predict, or the module, change a "
                "copy: x.clone()"
            )


def _lies_as_a_copy(tensor: torch.Tensor) -> bool:
    """Only on the CPU: elsewhere a copy costs little, and libraries ask for other alignments."""
    return (
        tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.data_ptr() % ALIGNMENT == 0
    )


def _versions(tensors: Sequence[torch.Tensor]) -> list[int]:
    """How often each was written into, or what it is a view of."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _same(some: torch.Tensor, other: torch.Tensor) -> bool:
    return raw(some).equal(raw(other))
