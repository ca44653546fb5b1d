"""A thread that writes checkpoints during training."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch

from popgrad.core.errors import RunError
from popgrad.executors.base import Save
from popgrad.state import Tree

log = logging.getLogger("popgrad")

_SLOW_WRITE = 60.0
"""Seconds of waiting for a checkpoint after which a line is logged, and again after as many."""

WRITE_LIMIT = 3600.0
"""Seconds to wait for a checkpoint, after which the disk is taken for gone; tens of gigabytes reach a slow
one in less."""


class Writer:
    """Writes checkpoints in a thread, one by one; at most one waits, so that memory is bounded.

    Args:
        save: Writes a checkpoint.
    """

    def __init__(self, save: Save) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None

    def __call__(self, digest: str, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        """Write a checkpoint, after the one before it is written.

        Raises:
            RunError: The one before it could not be written.
        """
        self.flush()
        # Copied here, since the caller may change the leaves afterwards.
        copies = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
        self._pending = self._thread.submit(self._save, digest, tree, copies)

    def flush(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
            RunError: A checkpoint could not be written, or not in an hour; it is raised once.
        """
        pending = self._pending
        self._pending = None
        if pending is None:
            return

        waited = 0.0
        while not wait([pending], _SLOW_WRITE).done:
            waited += _SLOW_WRITE
            if waited >= WRITE_LIMIT:
                raise RunError(
                    f"a checkpoint was not written in {waited:g} s; see whether the disk of the run "
                    "answers, and resume it"
                )
            log.warning("waiting for a checkpoint to be written, %.0f s by now", waited)
        pending.result()

    def close(self) -> None:
        """End the thread, after it has written the checkpoint at hand."""
        self._thread.shutdown()
