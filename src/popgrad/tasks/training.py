"""Training of a learner, step by step, with the random streams of its segment."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from popgrad.core.population import Hparams
from popgrad.nn import dropouts, seed_streams
from popgrad.tasks import binding
from popgrad.tasks.base import Context
from popgrad.tasks.learner import Learner
from popgrad.tasks.optimizer_state import missing_moment, raised_by

Batch = tuple[torch.Tensor, ...]
Loss = Callable[[nn.Module, Batch, Mapping[str, Any]], torch.Tensor]


class Training:
    """Steps of a learner.

    Args:
        learner: Learner to train. Its module is set to training mode, and its streams are seeded.
        hparams: Complete hyperparameters, those of the learner.
        ctx: Context of the segment.
        position: Position in the data, in samples.
        batch: Position -> batch there, and the next position.
        loss: The task's loss.
        step: The task's step.
        augment: The task's change of training inputs; None = inputs as they are.
        forward: Module to call for the loss.

    Attributes:
        learner: The learner.
        position: Position in the data behind the last step, in samples.
    """

    def __init__(
        self,
        learner: Learner,
        hparams: Hparams,
        ctx: Context,
        position: int,
        *,
        batch: Callable[[int], tuple[Batch, int]],
        loss: Loss,
        step: Callable[..., torch.Tensor],
        augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None,
        forward: nn.Module,
    ) -> None:
        self.learner = learner
        self.position = position
        self._batch = batch
        self._loss = loss
        self._step = step
        self._augment = augment
        self._forward = forward

        learner.module.train()
        seed_streams(learner.module, ctx.library_seed("dropout"), ctx.device)
        self._stream = torch.Generator().manual_seed(ctx.library_seed("augment"))
        self._numbers = binding.TrackedHparams(binding.tensors(hparams, ctx.device), set())
        self._first = True

    def step(self) -> torch.Tensor:
        """Take one step, and return the 0-d loss.

        Raises:
            UsageError: The optimizer needs moments that the donor's did not have, or a name that
                the loss reads means two things.
        """
        batch, self.position = self._batch(self.position)
        if self._augment is not None:
            batch = (self._augment(batch[0], self._stream), *batch[1:])

        optimizers = self.learner.optimizers
        try:
            value = self._step(self.learner.module, optimizers, batch, self._loss_of)
        except KeyError as error:
            if self.learner.inherits and raised_by(error, optimizers.values()):
                raise missing_moment(error) from error
            raise

        # The names that a loss reads are known once it has been called.
        self.learner.reached |= self._numbers.seen
        if self._first:
            self.learner.bindings.check_meaning(self._numbers.read_by_name, "the loss")
            self._first = False
        return torch.as_tensor(value).detach()

    def streams(self) -> list[torch.Generator]:
        """Return the generators of the segment's own streams."""
        layers = [layer.generator for layer in dropouts(self.learner.module)]
        return [self._stream, *(generator for generator in layers if generator is not None)]

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        return self._loss(self._forward, batch, self._numbers)
