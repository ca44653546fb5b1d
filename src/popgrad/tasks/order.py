"""The order of data: a pure function of (run seed, member or all members, epoch)."""

from functools import lru_cache

import torch


@lru_cache(maxsize=4)
def permutation(samples: int, seed: int) -> torch.Tensor:
    """Return the order of one epoch, [samples] int64."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))


def batch(
    position: int, samples: int, size: int, *, drop_last: bool = False
) -> tuple[int, int, int]:
    """Return the epoch and the range of the batch at a position.

    An epoch visits every sample once; its last batch holds the remaining samples, or is left out.
    The position counts samples, so that it keeps its meaning if the batch size changes.

    Args:
        position: Samples seen so far.
        samples: Samples per epoch.
        size: Batch size, at least 1.
        drop_last: Whether to skip a last batch that is not full, unless it is the only one of its
            epoch.

    Returns:
        (epoch, start, stop): the batch is `order(epoch)[start:stop]`, and the next position is
        `epoch * samples + stop`.

    Example:
        >>> batch(8, samples=10, size=4)
        (0, 8, 10)
        >>> batch(8, samples=10, size=4, drop_last=True)
        (1, 0, 4)
    """
    epoch, start = divmod(position, samples)
    if drop_last and start > 0 and start + size > samples:
        epoch += 1
        start = 0
    return epoch, start, min(start + size, samples)
