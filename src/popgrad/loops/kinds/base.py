"""Protocol of a part of a loop's state: one tracked object."""

from typing import Protocol

from popgrad.core.population import Hparams
from popgrad.state import State


class Part(Protocol):
    """A tracked object: its state as plain data, and back into the object in place."""

    def capture(self, hparams: Hparams) -> State:
        """Return a copy of the state; buffers with the names of hyperparameters are left out."""

    def load(self, saved: State, hparams: Hparams) -> None:
        """Load a state into the object, which stays the same object. `saved` is not changed.

        Raises:
            UsageError: The state does not fit.
        """
