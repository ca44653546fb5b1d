"""One step of a stack up to its gradients: through vmap and autograd at first, from a tape afterwards."""

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

import torch

from popgrad.executors.stacked.model import Losses, Tensors
from popgrad.executors.stacked.tape import Flat, Results, Tape, record
from popgrad.tasks.torch_task import Batch

Tapes = dict[int, Tape | None]
"""Of steps, by the size of their batch; None = there can be none."""


class Found(NamedTuple):
    """What a step gives.

    Attributes:
        losses: [N]
        gradients: [N, ...] each, of the leaves.
        changed: [N, ...] buffers that the module has put in the places of those given, by name.
    """

    losses: torch.Tensor
    gradients: list[torch.Tensor]
    changed: Tensors


class Step:
    """Losses and gradients of N members.

    Args:
        losses: Of a batch.
        fixed: [N, ...] buffers that hold hyperparameters, by name.
        tensors: [N, ...] parameters and all other buffers, by name.
        hparams: [N] numbers, by name.
        leaves: Names of the parameters that are trained.
        tapes: What was recorded before; more is added.
    """

    def __init__(
        self,
        losses: Losses,
        fixed: Tensors,
        tensors: Tensors,
        hparams: Tensors,
        leaves: Collection[str],
        tapes: Tapes,
    ) -> None:
        self._losses, self._written, self._tensors, self._hparams = losses, fixed, tensors, hparams
        self._leaves, self._tapes = list(leaves), tapes
        self._others = [name for name in tensors if name not in leaves]
        self._fixed = [*hparams.values(), *fixed.values()]
        self._once: dict[int, Flat] = {}

    def __call__(
        self, batch: Batch, dims: tuple[int | None, ...], draws: list[torch.Tensor]
    ) -> Found:
        """As `Losses` is called."""
        size = batch[0].shape[0 if dims[0] is None else 1]
        others = [*self._tensors.values(), *batch, *draws]
        tape = self._tapes.get(size)
        if tape is not None:
            if size not in self._once:
                self._once[size] = tape.once(*self._fixed)
            results = tape.each(*self._once[size], *others)
        elif size in self._tapes:
            results = self._direct(dims, [*self._fixed, *others])
        else:
            direct = partial(self._direct, dims)
            results, self._tapes[size] = record(direct, self._fixed, others, self._losses.parts)
        losses, *rest = results
        gradients, buffers = rest[: len(self._leaves)], rest[len(self._leaves) :]
        changed = {name: x for name, x in zip(self._others, buffers, strict=True) if x is not None}
        return Found(losses, gradients, changed)  # type: ignore[arg-type]

    def _direct(self, dims: tuple[int | None, ...], inputs: Flat) -> Results:
        """Losses, gradients of the leaves, and of all other tensors what has taken their places."""
        rest = iter(inputs)
        hparams = dict(zip(self._hparams, rest, strict=False))
        tensors = dict(zip([*self._written, *self._tensors], rest, strict=False))
        batch = tuple(x for _, x in zip(dims, rest, strict=False))
        losses, changed = self._losses(tensors, hparams, batch, dims, list(rest))
        gradients = torch.autograd.grad(losses.sum(), [tensors[name] for name in self._leaves])
        found = [None if x is None else x.detach() for x in map(changed.get, self._others)]
        return [losses.detach(), *gradients, *found]
