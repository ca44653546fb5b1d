"""A learning-rate scheduler under a searched rate: its position is kept, its rates are those of the heir.

A scheduler starts from the options that it finds in the parameter groups, and those are the
recorded hyperparameters. If they are the donor's too, the scheduler takes over the donor's numbers.
If not, it is stepped from the start to the donor's position: each rate is then the one that it
would have given with the heir's options.
"""

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from popgrad.core.errors import UsageError
from popgrad.state import State, clone
from popgrad.tasks.comparison import same
from popgrad.tasks.groups import Options, changed, copied, options, set_option

Factory = Callable[[Any], Any]
"""Optimizer -> scheduler."""

_REPEATED = 100
"""Steps in which two schedulers on equal options must give equal rates."""

_DIFFERENT = 10_000
"""Steps within which two schedulers on different options must give different rates."""


class Schedule:
    """A scheduler and the options that it changes.

    Args:
        factory: Optimizer -> scheduler.
        optimizer: Its optimizer, with the recorded hyperparameters.
        running: Options that the optimizer changes itself, on which no scheduler is based.

    Attributes:
        scheduler: The scheduler.
        changed: Keys of options that it has changed.

    Raises:
        UsageError: The factory returns nothing that can be stepped after each training step.
    """

    def __init__(self, factory: Factory, optimizer: Any, running: set[str] | None = None) -> None:
        self._optimizer = optimizer
        before = [options(group) for group in optimizer.param_groups]
        self._bases = [
            {key: value for key, value in base.items() if key not in (running or ())}
            for base in map(_numbers, before)
        ]
        self.scheduler = make_scheduler(factory, optimizer)
        self.changed = {"lr"}
        self._note(before)

    def step(self) -> None:
        """Step the scheduler after a training step.

        Raises:
            UsageError: The scheduler refuses another step.
        """
        before = [dict(group) for group in self._optimizer.param_groups]
        try:
            self.scheduler.step()
        except ValueError as error:
            raise UsageError(
                f"scheduler: {type(self.scheduler).__name__} refuses a step: {' '.join(str(error).split())}"
            ) from error
        self._note(before)

    def _note(self, before: list[Options]) -> None:
        for old, group in zip(before, self._optimizer.param_groups, strict=True):
            now = {key: value for key, value in group.items() if key != "params"}
            self.changed |= changed(old, now)

    def state(self) -> State:
        """Return its numbers, the options that it started from, and those that it has changed.

        A scheduler that holds more than plain data has no numbers, and is always stepped from the start.
        """
        groups = [
            {key: group[key] for key in self.changed if key in group}
            for group in self._optimizer.param_groups
        ]
        saved: State = {"groups": _sorted(groups), "bases": self._bases}
        with contextlib.suppress(AttributeError, UsageError):
            saved["state"] = clone(self.scheduler.state_dict())
        return clone(saved)  # type: ignore[no-any-return]

    def restore(self, saved: State | None, steps: int) -> None:
        """Continue from a position.

        Args:
            saved: Result of `state` for the donor; None = the donor had no scheduler.
            steps: Steps of the donor.
        """
        if saved is None or "state" not in saved or not self._fits(saved.get("bases")):
            self._step_from_start(steps)
            return
        counters = list(_counters(self.scheduler))
        self.scheduler.load_state_dict(clone(saved["state"]))
        for part, name in counters:
            # A state holds them as plain dictionaries.
            setattr(part, name, Counter(getattr(part, name)))
        for group, values in zip(self._optimizer.param_groups, saved["groups"], strict=True):
            self.changed |= values.keys()
            for key, value in values.items():
                set_option(group, key, value)

    def _fits(self, bases: list[Options] | None) -> bool:
        """Whether the donor's scheduler started from the same options."""
        if bases is None or len(bases) != len(self._bases):
            return False
        return all(
            key in old and same(old[key], value)
            for old, new in zip(bases, self._bases, strict=True)
            for key, value in new.items()
        )

    def _step_from_start(self, steps: int) -> None:
        before = [options(group) for group in self._optimizer.param_groups]
        _allow_steps(self._optimizer)
        for _ in range(steps):
            self.scheduler.step()
        self._note(before)


def make_scheduler(factory: Factory, optimizer: Any) -> Any:
    """Return the scheduler of an optimizer.

    Raises:
        UsageError: It is none, or one that needs a metric to be stepped.
    """
    try:
        scheduler = factory(optimizer)
    except TypeError as error:
        if not isinstance(factory, type) and isinstance(optimizer, Optimizer):
            raise
        raise UsageError(
            f"scheduler: expected a function optimizer -> scheduler, as lambda optimizer: "
            f"ExponentialLR(optimizer, 0.99); it fails for a {type(optimizer).__name__}: {error}"
        ) from error

    for part in parts(scheduler):
        if isinstance(part, ReduceLROnPlateau):
            raise UsageError(
                "scheduler: ReduceLROnPlateau waits for a metric, and schedulers are stepped without one, "
                "after each training step; leave it out: PBT searches the rate while it trains"
            )
        if not callable(getattr(part, "step", None)) or not _steps_alone(part):
            raise UsageError(
                "scheduler: expected a function that returns a scheduler whose step() needs no argument, got "
                f"a {type(part).__name__}"
            )
    return scheduler


def check_scheduler(factory: Factory, optimizer: Any, bound: dict[int, set[str]]) -> None:
    """Refuse a scheduler that does not follow the recorded hyperparameters.

    Schedulers on copies of the groups are driven side by side: two on the same options must give
    the same rates, and one on other hyperparameters must give others.

    Args:
        factory: Optimizer -> scheduler.
        optimizer: Optimizer with the recorded hyperparameters; not changed.
        bound: Keys in which hyperparameters live, by the `id` of the parameter group.

    Raises:
        UsageError: Names the scheduler, what it ignores, and the cure.
    """
    twins = [_twin(optimizer) for _ in range(3)]
    keys = [bound.get(id(group), set()) for group in optimizer.param_groups]
    for group, own in zip(twins[2].param_groups, keys, strict=True):
        group.update({key: _other(group[key]) for key in own if _is_number(group[key])})
    schedulers = [make_scheduler(factory, twin) for twin in twins]
    kind = type(schedulers[0]).__name__

    fixed: dict[tuple[int, str], Any] = {}  # values set without regard to the hyperparameter
    for number, own in enumerate(keys):
        now = twins[0].param_groups[number]
        fixed |= {(number, key): now[key] for key in own if _is_number(now[key])}
    for step in range(_DIFFERENT):
        same_groups = [[_numbers(options(g)) for g in twin.param_groups] for twin in twins[:2]]
        if step < _REPEATED and not same(*same_groups):
            raise UsageError(
                f"scheduler: {kind} gives other rates when it is built a second time, so those of an heir "
                "cannot be those of the record; compute them from the number of steps alone"
            )
        fixed = {
            (number, key): value
            for (number, key), value in fixed.items()
            if same(*(twins[i].param_groups[number][key] for i in (0, 2)))
        }
        if step >= _REPEATED and not fixed:
            return
        try:
            for scheduler in schedulers:
                scheduler.step()
        except ValueError:
            break  # a schedule of limited length

    for (number, key), first in fixed.items():
        if first or twins[0].param_groups[number][key]:
            raise UsageError(
                f"scheduler: {kind} sets {key} without regard to the hyperparameter (first to {first}, "
                "whatever is recorded); build it on the optimizer's own value, "
                f"param_groups[{number}][{key!r}], or take the hyperparameter out of the space"
            )


def parts(scheduler: Any) -> Iterator[Any]:
    """Yield the scheduler, or those that it is composed of (`SequentialLR`, `ChainedScheduler`)."""
    inner = getattr(scheduler, "_schedulers", None)
    if inner is None:
        yield scheduler
        return
    for part in inner:
        yield from parts(part)


def _counters(scheduler: Any) -> Iterator[tuple[Any, str]]:
    """Yield the attributes that are counters, such as the milestones of `MultiStepLR`, with their owners."""
    for part in parts(scheduler):
        for name, value in vars(part).items():
            if isinstance(value, Counter):
                yield part, name


def _steps_alone(scheduler: Any) -> bool:
    """Whether a scheduler can be stepped without an argument."""
    try:
        inspect.signature(scheduler.step).bind()
    except TypeError:
        return False
    except ValueError:
        return True  # no signature: it is tried
    return True


def _twin(optimizer: Any) -> Any:
    """Return an optimizer of the same class with groups of its own, for a scheduler to change."""
    twin = object.__new__(type(optimizer))
    vars(twin).update(vars(optimizer))
    groups = [
        {key: value if key == "params" else copied(value) for key, value in group.items()}
        for group in optimizer.param_groups
    ]
    vars(twin)["param_groups"] = groups
    _allow_steps(twin)
    return twin


def _allow_steps(optimizer: Any) -> None:
    """Let a scheduler be stepped before its optimizer, of which torch would warn."""
    vars(optimizer)["_opt_called"] = True


def _is_number(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(
        isinstance(each, int | float | torch.Tensor) and not isinstance(each, bool)
        for each in values
    )


def _other(value: Any) -> Any:
    """Return another value of an option, of the same kind and size."""
    if isinstance(value, tuple):
        return tuple(_other(each) for each in value)
    return value * 0.9 if value else value + 0.1


def _numbers(group: Options) -> Options:
    """Return the options that are plain data, tensors as numbers."""
    plain = {
        key: value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
        for key, value in group.items()
    }
    kinds = (bool, int, float, str, type(None))
    return {
        key: value
        for key, value in plain.items()
        if isinstance(value, kinds)
        or (isinstance(value, tuple) and all(isinstance(each, kinds) for each in value))
    }


def _sorted(groups: list[Options]) -> list[Options]:
    return [dict(sorted(group.items())) for group in groups]
