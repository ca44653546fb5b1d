"""Tracked learning-rate schedulers: the position travels, the rates are those of the heir.

A scheduler is made by the heir's own setup, on the heir's hyperparameters. If the donor's was made on
the same options, it takes over the donor's numbers. If not, it is stepped from the start to the donor's
position, so that each rate is the one that it would have given with the heir's options. A scheduler
that follows a metric (`ReduceLROnPlateau`) cannot be stepped alone: it takes over what has changed since
the donor's was made, and the rate keeps the reductions so far.
"""

import contextlib
import inspect
from collections.abc import Collection, Iterator
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.loops.plain import from_plain, to_plain
from popgrad.state import State
from popgrad.tasks.comparison import differences
from popgrad.tasks.groups import BETAS, Options, changed, options, set_option
from popgrad.tasks.schedulers import parts

_READ_BY_TORCH = (
    *("lr", "initial_lr", "max_lr", "min_lr", "swa_lr"),
    *("momentum", "betas", "max_momentum", "base_momentum"),
)
"""Options that the schedulers of torch start from."""


class SchedulerPart:
    """Numbers of a scheduler, and the options of its optimizer that it changes.

    It is made after hyperparameters are written.

    Args:
        name: Name that the scheduler is tracked by.
        scheduler: Scheduler as the function made it.
    """

    def __init__(self, name: str, scheduler: Any) -> None:
        self._name = name
        self._scheduler = scheduler
        self._made_options = [options(group) for group in self._groups]
        self._bases = [self._base(group) for group in self._made_options]
        self._made = self._numbers()

    @property
    def _groups(self) -> list[dict[str, Any]]:
        """Parameter groups, which an optimizer replaces as it loads a state."""
        groups: list[dict[str, Any]] = self._scheduler.optimizer.param_groups
        return groups

    def _base(self, group: Options) -> Options:
        """Return the options that the scheduler may have started from, as plain data."""
        is_torchs = type(self._scheduler).__module__ == "torch.optim.lr_scheduler"
        keys = [key for key in group if key in _READ_BY_TORCH or not is_torchs]
        base = {}
        for key in keys:
            with contextlib.suppress(UsageError):
                base[key] = to_plain(_number(group[key]), self._name)
        return base

    def _numbers(self) -> State | None:
        """Return the scheduler's numbers; None if it holds more than plain data."""
        try:
            numbers: State = to_plain(self._scheduler.state_dict(), self._name)
        except (AttributeError, UsageError):
            return None
        return numbers

    def capture(self, hparams: Hparams) -> State:
        """Return the numbers, now and as made, and the options, changed and as made."""
        del hparams
        groups = []
        for made, base, group in zip(self._made_options, self._bases, self._groups, strict=True):
            now = options(group)
            # Any other option is none of its own: a hyperparameter may have been written there since.
            keys = sorted(changed(made, now) & {*_READ_BY_TORCH, *base})
            groups.append({key: to_plain(now[key], self._name) for key in keys})
        saved: State = {"bases": self._bases, "groups": groups, "steps": _position(self._scheduler)}
        if self._made is not None:
            saved |= {"made": self._made, "state": self._numbers()}
        return saved

    def loads_in_place(self, saved: State, changed: Collection[str]) -> bool:
        """Whether a state can be loaded although the scheduler has been stepped.

        Args:
            saved: State to load.
            changed: Names of options that will be changed before.
        """
        keys = {key for base in self._bases for key in base}
        keys |= set(BETAS) if "betas" in keys else set()
        # The name of an optimizer or a group may qualify a key, as in "critic_lr".
        is_base = any(name == key or name.endswith(f"_{key}") for name in changed for key in keys)
        return not is_base and self._is_alike(saved)

    def load(self, saved: State, hparams: Hparams) -> None:
        """Continue from the donor's position."""
        del hparams
        if len(saved["bases"]) != len(self._groups):
            raise UsageError(
                f"{self._name}: the optimizer has {len(self._groups)} parameter groups, and the inherited "
                f"state {len(saved['bases'])}; hyperparameters that change them must be init-only"
            )
        made_alike = self._is_alike(saved)
        if made_alike:
            self._scheduler.load_state_dict(from_plain(saved["state"]))
            self._set_groups(saved["groups"])
        elif steps_alone(self._scheduler):
            self._step_from_start(saved["steps"])
        else:
            self._load_progress(saved)

    def _is_alike(self, saved: State) -> bool:
        """Whether the donor's scheduler was made as this one was."""
        if saved.get("state") is None or self._made is None:
            return False
        pairs = ((saved["bases"], self._bases), (saved["made"], self._made))
        return not any(True for some, other in pairs for _ in differences(some, other))

    def _set_groups(self, groups: list[Options]) -> None:
        for group, values in zip(self._groups, groups, strict=True):
            for key, value in values.items():
                set_option(group, key, from_plain(value))

    def _step_from_start(self, steps: int) -> None:
        # torch would warn that the scheduler is stepped before its optimizer.
        vars(self._scheduler.optimizer)["_opt_called"] = True
        for _ in range(steps - _position(self._scheduler)):
            self._scheduler.step()

    def _load_progress(self, saved: State) -> None:
        """Take over what has changed since the donor's scheduler was made, and its share of the rate."""
        if saved.get("state") is None or self._made is None:
            raise UsageError(
                f"{self._name}: {type(self._scheduler).__name__} keeps more than plain data, so its position "
                "cannot travel; give it a state_dict of numbers"
            )
        state, made = saved["state"], saved["made"]
        progress = {
            key: state[key]
            for key in state
            if key not in made or any(True for _ in differences(state[key], made[key]))
        }
        rates = list(self._rates(saved))
        for group, rate in zip(self._groups, rates, strict=True):
            set_option(group, "lr", rate)
        if "_last_lr" in state:
            progress["_last_lr"] = rates
        self._scheduler.load_state_dict(from_plain({**self._made, **progress}))

    def _rates(self, saved: State) -> Iterator[float]:
        """Yield the rate of each group: the heir's own, reduced by as much as the donor's was."""
        floors = getattr(self._scheduler, "min_lrs", None) or [0.0] * len(self._groups)
        for own, base, group, floor in zip(
            self._bases, saved["bases"], saved["groups"], floors, strict=True
        ):
            made, live = _number(base["lr"]), _number(group.get("lr", base["lr"]))
            if own["lr"] == made:
                yield live
            else:
                share = live / made if made else 1.0
                yield max(own["lr"] * share, min(floor, own["lr"]))


def is_scheduler(candidate: Any) -> bool:
    """Whether an object is a scheduler of an optimizer."""
    has_groups = hasattr(getattr(candidate, "optimizer", None), "param_groups")
    needed = ("step", "state_dict", "load_state_dict")
    return has_groups and all(hasattr(candidate, name) for name in needed)


def steps_alone(scheduler: Any) -> bool:
    """Whether a scheduler, and all that it is composed of, can be stepped without a metric."""
    for part in parts(scheduler):
        try:
            inspect.signature(part.step).bind()
        except TypeError:
            return False
        except ValueError:  # no signature
            continue
    return True


def _position(scheduler: Any) -> int:
    """Return the number of steps that a scheduler has taken."""
    own = getattr(scheduler, "last_epoch", None)
    first = next(iter(parts(scheduler)))
    return int(getattr(first, "last_epoch", 0) if own is None else own)


def _number(value: Any) -> Any:
    """Return a tensor of one element as a number; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
