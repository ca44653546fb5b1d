"""Writes checkpoints while training goes on."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from popgrad.executors.base import Save
from popgrad.state import Tree


class Writer:
    """A thread that writes one checkpoint after the other; at most one waits, so that memory is bounded.

    Args:
        save: Writes one.
    """

    def __init__(self, save: Save) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._written: Future[None] | None = None

    def __call__(self, digest: str, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        """Take a state to write, once the one before it is written.

        Raises:
            RunError: The one before it could not be written.
        """
        self.flush()
        # Copied here, since whoever trained it may go on to change it.
        copies = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
        self._written = self._thread.submit(self._save, digest, tree, copies)

    def flush(self) -> None:
        """Wait until all is written.

        Raises:
            RunError: Something could not be written.
        """
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def close(self) -> None:
        """End the thread, once it has written what it has begun."""
        self._thread.shutdown()
