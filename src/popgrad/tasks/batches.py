"""Batches of an evaluation: views of the split if that makes no difference, else copies."""

from collections.abc import Iterator, Sequence

import torch

from popgrad.core.errors import UsageError
from popgrad.state import raw

ALIGNMENT = 64
"""Alignment in bytes of torch's CPU allocator. A kernel may compute differently without it."""


def batches(tensors: Sequence[torch.Tensor], size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield a split in batches of a fixed size, in order.

    The first batch is a copy. If it is unchanged when the second one is requested, the others are
    views of the split, which take no pass over memory. A tensor that does not lie in memory as a
    copy would is copied, for equal bits.

    Args:
        tensors: [samples, ...] each.
        size: Samples per batch, at least 1; the last batch holds the remaining ones.

    Raises:
        UsageError: A view has been changed in place, although the first batch was not.
    """
    views = False
    for start in range(0, len(tensors[0]), size):
        rows = [tensor[start : start + size] for tensor in tensors]
        batch = tuple(row if views and _lies_as_a_copy(row) else _copy(row) for row in rows)
        before = _versions([*batch, *tensors])
        yield batch

        if start == 0:
            # A write that bypasses torch leaves the version, so the values are compared as well.
            unwritten = _versions([*batch, *tensors]) == before
            views = unwritten and all(map(_same, batch, rows))
        elif _versions(tensors) != before[len(batch) :]:
            raise UsageError(
                f"samples {start} to {start + len(batch[0]) - 1} have been changed in place by their "
                "evaluation, and with them the data of this process; let predict, or the module, change a "
                "copy: x.clone()"
            )


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _lies_as_a_copy(tensor: torch.Tensor) -> bool:
    """Whether a view has the memory layout of a copy.

    False for other devices than the CPU: a copy costs little there, and libraries need other
    alignments.
    """
    return (
        tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.data_ptr() % ALIGNMENT == 0
    )


def _versions(tensors: Sequence[torch.Tensor]) -> list[int]:
    """Return the number of writes into each tensor, or into the tensor that it is a view of."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _same(some: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have equal bits."""
    return raw(some).equal(raw(other))
