"""The training curve of a TorchTask: telemetry, no part of the record."""

from collections.abc import Mapping

import torch
from torch.optim import Optimizer

from popgrad.tasks.base import Context


class Curve:
    """Mean training loss between two points of the training curve, and the learning rate there.

    Args:
        ctx: Context of the segment, whose `log` receives the points.
        last: Last step of the segment, which is always a point.
        every: Steps between two points; None = the last step only.
        scheduled: Whether a scheduler changes the rates: the first one is logged too.
    """

    def __init__(
        self, ctx: Context, last: int, every: int | None, *, scheduled: bool = False
    ) -> None:
        self._ctx = ctx
        self._first = ctx.first_step + 1 if scheduled else None
        self._last = last
        self._every = every or last
        # Sum and number of the losses since the last point.
        self._sum = torch.zeros((), device=ctx.device)
        self._count = 0

    def add(self, step: int, loss: torch.Tensor, optimizers: Mapping[str, Optimizer]) -> None:
        """Add the loss of one more step. It waits for the device only if a point is due."""
        self._sum += loss
        self._count += 1
        if step % self._every != 0 and step != self._last:
            if step == self._first:
                self._ctx.log(step, **_learning_rates(optimizers, groups=True))
            return

        numbers = _learning_rates(optimizers, groups=self._first is not None)
        self._ctx.log(step, train_loss=float(self._sum) / self._count, **numbers)
        self._sum.zero_()
        self._count = 0


def _learning_rates(
    optimizers: Mapping[str, Optimizer], *, groups: bool = False
) -> dict[str, float]:
    """Return the rate of each optimizer: "lr" if there is one, else "<optimizer>_lr".

    Args:
        optimizers: Optimizers by name.
        groups: Whether to add "<group>_lr" for parameter groups with a name.
    """
    rates = {f"{name}_lr": o.param_groups[0].get("lr") for name, o in optimizers.items()}
    if len(rates) == 1:
        rates = {"lr": next(iter(rates.values()))}
    if groups:
        for optimizer in optimizers.values():
            named = [group for group in optimizer.param_groups if "name" in group]
            rates = {f"{group['name']}_lr": group.get("lr") for group in named} | rates
    return {name: float(rate) for name, rate in rates.items() if rate is not None}
