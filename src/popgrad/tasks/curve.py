"""The training curve of a TorchTask: telemetry, no part of the record."""

from collections.abc import Mapping

import torch
from torch.optim import Optimizer

from popgrad.tasks.base import Context


class Curve:
    """The mean training loss between two points of the training curve, and the learning rate there.

    Args:
        ctx: Who is told.
        last: The last step of the segment, which is always a point.
        every: Steps between two points; None = the last step only.
    """

    def __init__(self, ctx: Context, last: int, every: int | None) -> None:
        self._ctx, self._last, self._every = ctx, last, every or last
        self._sum, self._count = torch.zeros((), device=ctx.device), 0

    def add(self, step: int, loss: torch.Tensor, optimizers: Mapping[str, Optimizer]) -> None:
        """One more step's loss. Only where a point is due does it wait for the device."""
        self._sum += loss
        self._count += 1
        if step % self._every == 0 or step == self._last:
            rates = {f"{n}_lr": o.param_groups[0].get("lr") for n, o in optimizers.items()}
            named = {"lr": next(iter(rates.values()))} if len(rates) == 1 else rates
            numbers = {n: float(rate) for n, rate in named.items() if rate is not None}
            self._ctx.log(step, train_loss=float(self._sum) / self._count, **numbers)
            self._sum.zero_()
            self._count = 0
