"""A thread that writes checkpoints during training."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from popgrad.executors.base import Save
from popgrad.state import Tree


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
            RunError: A checkpoint could not be written; it is raised once.
        """
        pending = self._pending
        self._pending = None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """End the thread, after it has written the checkpoint at hand."""
        self._thread.shutdown()
