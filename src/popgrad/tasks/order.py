"""The order of data: a pure function of (run seed, member or all, epoch), with the position in samples."""

from functools import lru_cache

import torch


@lru_cache(maxsize=4)
def permutation(samples: int, seed: int) -> torch.Tensor:
    """[samples] int64: the order of one epoch."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))


def batch(
    position: int, samples: int, size: int, *, drop_last: bool = False
) -> tuple[int, int, int]:
    """Where the batch at a position lies.

    An epoch visits every sample once; its last batch holds what is left, or is left out when `drop_last`. The
    position counts samples, so that it means the same under another batch size.

    Args:
        position: Samples seen so far.
        samples: Samples of an epoch.
        size: Batch size, at least 1.
        drop_last: Skip a last batch that is not full, unless it is the only one of its epoch.

    Returns:
        (epoch, start, stop): the batch is `order(epoch)[start:stop]`, and `epoch * samples + stop` the next
        position.
    """
    epoch, start = divmod(position, samples)
    if drop_last and start > 0 and start + size > samples:
        epoch, start = epoch + 1, 0
    return epoch, start, min(start + size, samples)
