"""How a learning-rate scheduler travels: its own numbers as they are, its rates scaled to the heir's.

A scheduler multiplies a base, and the base is the recorded hyperparameter. So a scheduler is made on the
heir's rates, takes over the donor's place in the schedule, and each rate of the donor's is scaled by
(new base / old base).
"""

from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.state import State, clone

_OWN = ("base_lrs", "max_lrs")  # what a scheduler's state holds of the rates that it was made on


def numbers(scheduler: LRScheduler, optimizer: Optimizer) -> State:
    """A scheduler's numbers, and for each parameter group the rate it started from and what it has moved."""
    keys = ("initial_lr", "lr", *_momenta(scheduler))
    groups = [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]
    return {"state": clone(scheduler.state_dict()), "groups": clone(groups)}


def restore(scheduler: LRScheduler, optimizer: Optimizer, saved: State) -> None:
    """Take over what `numbers` gave, in a scheduler that was just made on the rates that count now."""
    parts = list(_parts(scheduler))
    own = [{key: vars(part)[key] for key in _OWN if key in vars(part)} for part in parts]
    scheduler.load_state_dict(clone(saved["state"]))
    for part, kept in zip(parts, own, strict=True):
        vars(part).update(kept)
    for group, old in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update({key: value for key, value in old.items() if key not in ("initial_lr", "lr")})
        now, then = group["initial_lr"], old["initial_lr"]
        if now == then:
            group["lr"] = old["lr"]
        elif then:
            group["lr"] = old["lr"] / then * now
        # From a base of 0 nothing can be scaled: the rate stays the new schedule's first.


def _parts(scheduler: Any) -> Iterator[Any]:
    """The scheduler, or those that it is composed of (`SequentialLR`, `ChainedScheduler`)."""
    inner = getattr(scheduler, "_schedulers", None)
    if inner is None:
        yield scheduler
    else:
        for each in inner:
            yield from _parts(each)


def _momenta(scheduler: Any) -> tuple[str, ...]:
    """What `OneCycleLR` and `CyclicLR` move beside the rate, where they are told to."""
    cycles = any(getattr(part, "cycle_momentum", False) for part in _parts(scheduler))
    return ("momentum", "betas") if cycles else ()
