"""A step of a stack up to its gradients: the first one through vmap and autograd, then from a tape."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch

from popgrad.executors.stacked.model import Losses, StepProfile, Tensors
from popgrad.executors.stacked.tape import Flat, Results, Tape, record
from popgrad.tasks.torch_task import Batch


@dataclass(frozen=True)
class StepCache:
    """Cached profiles and tapes of the training steps of equal stacks, by batch size.

    Attributes:
        profiles: Profile of a step.
        read: Names of the hyperparameters that the loss has read, for all batch sizes.
        tapes: Tape of a step; None = there can be none.
        proven_sizes: Batch sizes for which the stack was compared with members alone.
        proven_names: Hyperparameters in which the members of a comparison differed.
    """

    profiles: dict[int, StepProfile] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    tapes: dict[int, Tape | None] = field(default_factory=dict)
    proven_sizes: set[int] = field(default_factory=set)
    proven_names: set[str] = field(default_factory=set)


class StepResult(NamedTuple):
    """The results of a step.

    Attributes:
        losses: [N] losses.
        gradients: [N, ...] gradient of each trained parameter.
        changed: [N, ...] buffers that the module has replaced, by name.
    """

    losses: torch.Tensor
    gradients: list[torch.Tensor]
    changed: Tensors


class Step:
    """Losses and gradients of N members.

    Args:
        losses: Losses of a batch.
        fixed: [N, ...] buffers that hold hyperparameters, by name.
        tensors: [N, ...] parameters and all other buffers, by name.
        hparams: [N] numbers, by name.
        trained: Names of the parameters that are trained.
        tapes: Tapes of steps, by batch size; more are added.
    """

    def __init__(
        self,
        losses: Losses,
        fixed: Tensors,
        tensors: Tensors,
        hparams: Tensors,
        trained: Collection[str],
        tapes: dict[int, Tape | None],
    ) -> None:
        self._losses = losses
        self._fixed = [*hparams.values(), *fixed.values()]
        self._tensors = tensors
        self._hparam_names = list(hparams)
        self._tensor_names = [*fixed, *tensors]
        self._trained = list(trained)
        self._others = [name for name in tensors if name not in trained]
        self._tapes = tapes
        self._prepared: dict[int, Flat] = {}  # part of each tape that depends on `_fixed` alone

    def __call__(
        self, batch: Batch, dims: tuple[int | None, ...], draws: list[torch.Tensor]
    ) -> StepResult:
        """Compute a step; for the arguments see `Losses`."""
        size = batch[0].shape[0 if dims[0] is None else 1]
        others = [*self._tensors.values(), *batch, *draws]
        tape = self._tapes.get(size)
        if tape is not None:
            results = self._replay(size, tape, others)
        elif size in self._tapes:
            results = self._direct(dims, [*self._fixed, *others])
        else:
            direct = partial(self._direct, dims)
            results, self._tapes[size] = record(direct, self._fixed, others, self._losses.witness)

        losses, *rest = results
        gradients = rest[: len(self._trained)]
        buffers = zip(self._others, rest[len(self._trained) :], strict=True)
        changed = {name: x for name, x in buffers if x is not None}
        return StepResult(losses, gradients, changed)  # type: ignore[arg-type]

    def _replay(self, size: int, tape: Tape, others: Flat) -> Results:
        """Play a step from a tape; the part that depends on hyperparameters alone, once a segment."""
        if size not in self._prepared:
            self._prepared[size] = tape.prepare(*self._fixed)
        return tape.replay(*self._prepared[size], *others)

    def _direct(self, dims: tuple[int | None, ...], inputs: Flat) -> Results:
        """Compute a step through vmap and autograd.

        Args:
            dims: Dimension of the members in each tensor of the batch.
            inputs: Numbers and buffers of the hyperparameters, all other tensors, the batch, the
                draws.

        Returns:
            Losses, gradients of the trained parameters, and what has replaced each other tensor.
        """
        rest = iter(inputs)
        hparams = dict(zip(self._hparam_names, rest, strict=False))
        tensors = dict(zip(self._tensor_names, rest, strict=False))
        batch = tuple(x for _, x in zip(dims, rest, strict=False))
        losses, changed = self._losses(tensors, hparams, batch, dims, list(rest))
        gradients = torch.autograd.grad(losses.sum(), [tensors[name] for name in self._trained])
        replaced = [None if x is None else x.detach() for x in map(changed.get, self._others)]
        return [losses.detach(), *gradients, *replaced]
