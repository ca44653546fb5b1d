"""A torch scheduler that sets scheduled values as they are; torch counts the steps."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.population import Value


class Scheduler(LRScheduler):
    """Sets one key of every parameter group at each step. Made by `Schedule.scheduler`.

    Args:
        optimizer: Optimizer with the key in every parameter group.
        name: The key: "lr", "weight_decay", "momentum", ...
        at: Function of a training step, from 0, that returns the value of that step.
        last_step: Last step that is already trained; -1 = none.

    Raises:
        UsageError: A parameter group lacks the key, or `last_step` is below -1.
    """

    def __init__(
        self, optimizer: Optimizer, name: str, at: Callable[[int], Value], last_step: int = -1
    ) -> None:
        if last_step < -1:
            raise UsageError(f"last_step: expected a step from 0, or -1 for none, got {last_step}")
        for group in optimizer.param_groups:
            if name not in group:
                keys = ", ".join(key for key in group if key not in ("params", "initial_lr"))
                raise UsageError(
                    f"scheduler: expected a key of the optimizer ({keys}), got {name!r}: set other "
                    "hyperparameters from schedule.at(step)"
                )
            # torch requires it if steps are trained already.
            group.setdefault("initial_lr", group["lr"])

        self._name = name
        self._at = at
        super().__init__(optimizer, last_epoch=last_step)

    def get_lr(self) -> list[Any]:
        """Return the learning rates that torch sets: the scheduled ones, or the present ones."""
        groups = self.optimizer.param_groups
        if self._name != "lr":
            return [group["lr"] for group in groups]
        return [self._at(self.last_epoch) for _ in groups]

    def step(self, epoch: int | None = None) -> None:
        """Advance to the next training step. `epoch` is torch's, and deprecated there."""
        super().step(epoch)
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as plain data; the schedule itself is given to the constructor."""
        state = super().state_dict()
        return {key: value for key, value in state.items() if key not in ("_name", "_at")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state of `state_dict`; the value that is due is set at once."""
        super().load_state_dict(state_dict)
        self._set()

    def _set(self) -> None:
        value = self._at(self.last_epoch)
        for group in self.optimizer.param_groups:
            if isinstance(group[self._name], Tensor):
                group[self._name].fill_(value)
            else:
                group[self._name] = value
