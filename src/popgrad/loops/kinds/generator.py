"""Tracked random generators of torch, NumPy and Python, which have no `state_dict`."""

import random
from typing import Any

import numpy as np
import torch

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.loops.plain import from_plain, to_plain
from popgrad.state import State

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
"""Classes of generators that can be tracked."""


class GeneratorPart:
    """Position of a generator in its stream.

    Args:
        name: Name that the generator is tracked by.
        generator: The generator.
    """

    def __init__(self, name: str, generator: Generator) -> None:
        self._name = name
        self._generator = generator

    def capture(self, hparams: Hparams) -> State:
        """Return the kind of the generator and its state."""
        del hparams
        kind, state = _read(self._generator)
        return {"kind": kind, "state": to_plain(state, self._name)}

    def load(self, saved: State, hparams: Hparams) -> None:
        """Set the state."""
        del hparams
        own = _read(self._generator)[0]
        if saved["kind"] != own:
            raise UsageError(
                f"{self._name} was a generator of kind {saved['kind']} in the inherited state, and is "
                f"of kind {own} now"
            )
        state = from_plain(saved["state"])
        match self._generator:
            case torch.Generator():
                self._generator.set_state(state)
            case np.random.Generator():
                self._generator.bit_generator.state = state
            case np.random.RandomState():
                self._generator.set_state(state)
            case random.Random():
                self._generator.setstate(state)


def _read(generator: Generator) -> tuple[str, Any]:
    """Return the kind of a generator and its state."""
    match generator:
        case torch.Generator():
            return f"torch {generator.device.type}", generator.get_state()
        case np.random.Generator():
            return f"numpy {type(generator.bit_generator).__name__}", generator.bit_generator.state
        case np.random.RandomState():
            return "numpy legacy", generator.get_state()
        case _:
            return "python", generator.getstate()
