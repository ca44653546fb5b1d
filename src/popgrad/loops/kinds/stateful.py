"""Tracked objects with `state_dict` and `load_state_dict`: gradient scalers, loaders, samplers, ..."""

from typing import Any, Protocol, runtime_checkable

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.population import Hparams
from popgrad.loops.plain import from_plain, to_plain
from popgrad.state import State


@runtime_checkable
class Stateful(Protocol):
    """An object that returns its state and takes it back."""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take a state back."""


class StatefulPart:
    """State of an object that returns it as a dictionary.

    Args:
        name: Name that the object is tracked by.
        stateful: The object.
    """

    def __init__(self, name: str, stateful: Stateful) -> None:
        self._name = name
        self._stateful = stateful

    def capture(self, hparams: Hparams) -> State:
        """Return a copy of the `state_dict`, as plain data."""
        del hparams
        return {"state": to_plain(self._stateful.state_dict(), self._name)}

    def load(self, saved: State, hparams: Hparams) -> None:
        """Give the object a copy of the state."""
        del hparams
        try:
            self._stateful.load_state_dict(from_plain(saved["state"]))
            if hasattr(self._stateful, "next_iter_state"):
                # A loader of torchdata restores its position when it is next used, and draws numbers as it
                # does: here, before the generators are seeded, so that its next epoch draws as if uncut.
                self._stateful.state_dict()
        except PopgradError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"{self._name}: {type(self._stateful).__name__} cannot load the state that it inherits "
                f"({type(error).__name__}: {reason})"
            ) from error
