"""A scheduler of torch that sets what it is told: torch counts the steps, nothing is multiplied by a base."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.population import Value


class Scheduler(LRScheduler):
    """Sets one key of every parameter group, at each step anew. Made by `Schedule.scheduler`.

    Args:
        optimizer: Has the key in every parameter group.
        name: The key: "lr", "weight_decay", "momentum", ...
        at: Training step, from 0 -> the number that trains it.
        last_step: The last step that is trained already; -1 = none.

    Raises:
        UsageError: A parameter group lacks the key, or `last_step` is below -1.
    """

    def __init__(
        self, optimizer: Optimizer, name: str, at: Callable[[int], Value], last_step: int = -1
    ) -> None:
        if last_step < -1:
            raise UsageError(
                f"last_step: given {last_step}; allowed is a step from 0, or -1 for none yet"
            )
        for group in optimizer.param_groups:
            if name not in group:
                keys = ", ".join(key for key in group if key not in ("params", "initial_lr"))
                raise UsageError(
                    f"scheduler: given {name!r}; the optimizer has {keys}: "
                    "set other hyperparameters from schedule.at(step)"
                )
            group.setdefault(
                "initial_lr", group["lr"]
            )  # torch asks for it where steps are trained already
        self._name, self._at = name, at
        super().__init__(optimizer, last_epoch=last_step)

    def get_lr(self) -> list[Any]:
        """What torch sets as learning rates: what is due, or what is there where another key is set."""
        groups = self.optimizer.param_groups
        return [
            self._at(self.last_epoch) if self._name == "lr" else group["lr"] for group in groups
        ]

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next training step. `epoch` is torch's, and deprecated there."""
        super().step(epoch)
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """How far it has come, as plain data; what it sets is given again."""
        return {
            key: value for key, value in super().state_dict().items() if key not in ("_name", "_at")
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; what is due is set at once."""
        super().load_state_dict(state_dict)
        self._set()

    def _set(self) -> None:
        value = self._at(self.last_epoch)
        for group in self.optimizer.param_groups:
            if isinstance(group[self._name], Tensor):
                group[self._name].fill_(value)
            else:
                group[self._name] = value
