"""State of a learning-rate scheduler: its numbers are kept, its rates scaled to those of the heir.

A scheduler multiplies a base, and the base is the recorded hyperparameter. So a scheduler is
constructed on the heir's rates, takes over the donor's position in the schedule, and each rate of
the donor is scaled by (new base / old base).
"""

from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.state import State, clone

_BASES = ("base_lrs", "max_lrs")
"""Attributes of a scheduler that hold the rates it was constructed on."""


def numbers(scheduler: LRScheduler, optimizer: Optimizer) -> State:
    """Return the numbers of a scheduler, and of each parameter group its first and current rate."""
    keys = ("initial_lr", "lr", *_momenta(scheduler))
    groups = [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]
    return {"state": clone(scheduler.state_dict()), "groups": clone(groups)}


def restore(scheduler: LRScheduler, optimizer: Optimizer, saved: State) -> None:
    """Restore the result of `numbers`.

    Args:
        scheduler: A scheduler that was just constructed on the rates of the heir.
        optimizer: Its optimizer; its groups are changed, too.
        saved: Result of `numbers` for the donor.
    """
    parts = list(_parts(scheduler))
    bases = [{key: vars(part)[key] for key in _BASES if key in vars(part)} for part in parts]
    scheduler.load_state_dict(clone(saved["state"]))
    for part, base in zip(parts, bases, strict=True):
        vars(part).update(base)

    for group, old in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update({key: value for key, value in old.items() if key not in ("initial_lr", "lr")})
        new_base = group["initial_lr"]
        old_base = old["initial_lr"]
        if new_base == old_base:
            group["lr"] = old["lr"]
        elif old_base:
            group["lr"] = old["lr"] / old_base * new_base
        # A base of 0 cannot be scaled: the rate stays the first of the new schedule.


def _parts(scheduler: Any) -> Iterator[Any]:
    """Yield the scheduler, or those that it is composed of (`SequentialLR`, `ChainedScheduler`)."""
    inner = getattr(scheduler, "_schedulers", None)
    if inner is None:
        yield scheduler
        return
    for part in inner:
        yield from _parts(part)


def _momenta(scheduler: Any) -> tuple[str, ...]:
    """Return the keys that `OneCycleLR` and `CyclicLR` change beside the rate, if configured to."""
    cycles = any(getattr(part, "cycle_momentum", False) for part in _parts(scheduler))
    return ("momentum", "betas") if cycles else ()
