"""Hyperparameters of a loop: written where they live, and read back at both ends of an interval."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams, Value
from popgrad.loops.kinds.optimizer import same_optimizer
from popgrad.loops.kinds.scheduler import steps_alone
from popgrad.tasks.binding import Bindings, LiveValue
from popgrad.tasks.groups import default_argument, get_option, named_groups, set_option
from popgrad.tasks.multipliers import Reads
from popgrad.tasks.schedulers import parts

Write = Callable[[Any], object]
"""Writes the value of a hyperparameter."""

Read = Callable[[], Any]
"""Reads the live value of a hyperparameter."""

_CYCLED = ("momentum", "betas", "beta1", "beta2")
"""Options that a cyclic scheduler changes besides the rate."""


class Places:
    """Places in which the hyperparameters of a loop live.

    They are searched in the tracked objects as the function made them, and written at once. The rate of
    an optimizer with a scheduler is that scheduler's base.

    Args:
        modules: Tracked modules.
        optimizers: Tracked optimizers by name.
        schedulers: Tracked schedulers.
        functions: Functions that write, and read or None, by the names of hyperparameters.
        hparams: Complete hyperparameters.
        reads: Names that the function has read so far.

    Attributes:
        reached: Names that are written somewhere.

    Raises:
        UsageError: A name means two things, or cannot be written.
        RunError: Something refuses a value.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        optimizers: Mapping[str, Any],
        schedulers: Sequence[Any],
        functions: Mapping[str, tuple[Write, Read | None]],
        hparams: Hparams,
        reads: Reads,
    ) -> None:
        self._functions = functions
        self._schedulers = schedulers
        rates = [
            _Rate(
                group,
                number,
                [each for each in schedulers if same_optimizer(each.optimizer, optimizer)],
            )
            for optimizer in optimizers.values()
            for number, group in enumerate(optimizer.param_groups)
        ]
        named = [name for name in hparams if name not in functions]
        for rate in rates:
            rate.show_base()
        # A value that the setup has passed on as it is lives there like one that was never read.
        computed = set(reads.optimizer) - _passed_on(optimizers, hparams)
        _check_cycled(optimizers, schedulers, named, reads)
        reads = Reads(computed, reads.all_by_optimizer, computed)
        self._bindings = Bindings(nn.ModuleList(modules), optimizers, named, reads)
        self.reached = self._bindings.write(hparams) | set(functions)
        for rate in rates:
            rate.apply()
        self._rates = rates

    def rewrite(self, hparams: Hparams) -> None:
        """Write other hyperparameters, over options that are as they were made.

        Raises:
            RunError: Something refuses a value.
        """
        for rate in self._rates:
            rate.show_base()
        self._bindings.write(hparams)
        for rate in self._rates:
            rate.apply()

    def written(self) -> set[str]:
        """Return the names of which nothing depends on the setup: all that they reach is written."""
        return self._bindings.written() | set(self._functions)

    def bound(self) -> dict[int, set[str]]:
        """Return the options in which hyperparameters live, by the `id` of the parameter group."""
        return self._bindings.by_group()

    def call_functions(self, hparams: Hparams) -> None:
        """Call the functions that write, after a state is loaded."""
        for name, (write, _) in self._functions.items():
            write(hparams[name])

    def check(
        self,
        hparams: Hparams,
        when: str,
        ignored: Collection[str] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """Compare live values with the record.

        Args:
            hparams: Recorded hyperparameters, by the names of their options.
            when: Moment, for the message.
            ignored: Names that the function reads while it trains, and so may set itself.
            aliases: Options by the names of hyperparameters that are called otherwise, for the message.

        Raises:
            RunError: A live value differs.
        """
        names = {option: name for name, option in (aliases or {}).items()}
        for value in self._bindings.live(hparams, _base):
            expected = value.name in ignored or self._is_scheduled(value)
            if not expected and value.live != value.expected:
                name = names.get(value.name, value.name)
                raise _overwritten(name, value.expected, value.live, when)
        for name, (_, read) in self._functions.items():
            if read is not None and not _equal(hparams[name], live := read()):
                raise _overwritten(name, hparams[name], live, when)

    def _is_scheduled(self, value: LiveValue) -> bool:
        """Whether a scheduler changes the option itself, so that no base of it is kept."""
        for scheduler in self._schedulers:
            if any(group is value.group for group in scheduler.optimizer.param_groups):
                follows_metric = value.key == "lr" and not steps_alone(scheduler)
                cycles = value.key in _CYCLED and getattr(scheduler, "cycle_momentum", False)
                if follows_metric or cycles:
                    return True
        return False


def _passed_on(optimizers: Mapping[str, Any], hparams: Hparams) -> set[str]:
    """Return the names whose value stands in all parameter groups that have the option."""
    passed = set()
    for name, value in hparams.items():
        live = [
            get_option(optimizers[owner].param_groups[number], key)
            for owner, number, key in named_groups(optimizers, name)
        ]
        if live and all(each == value for each in live):
            passed.add(name)
    return passed


def _check_cycled(
    optimizers: Mapping[str, Any], schedulers: Sequence[Any], names: Iterable[str], reads: Reads
) -> None:
    """Refuse a momentum that a cyclic scheduler replaces by its own.

    Raises:
        UsageError: It does so at each step, and the hyperparameter would reach nothing.
    """
    for scheduler in schedulers:
        if not getattr(scheduler, "cycle_momentum", False):
            continue
        for name in names:
            groups = [
                optimizers[owner].param_groups[number]
                for owner, number, key in named_groups(optimizers, name)
                if key in ("momentum", "betas", "beta1")
                and same_optimizer(scheduler.optimizer, optimizers[owner])
            ]
            is_read = reads.all_by_optimizer or name in reads.optimizer
            if groups and not (is_read and any(_has_own_cycle(scheduler, each) for each in groups)):
                raise UsageError(
                    f"hyperparameter {name!r} would have no effect: {type(scheduler).__name__} takes the "
                    f"momentum from its own max_momentum; read it there, max_momentum=m[{name!r}], or give "
                    "cycle_momentum=False; if something else is meant by it, name it otherwise"
                )


def _has_own_cycle(scheduler: Any, group: Mapping[str, Any]) -> bool:
    """Whether the bounds of a cyclic momentum are others than those that its class has by default."""
    return any(
        group.get(bound) != default_argument(type(scheduler), bound)
        for bound in ("base_momentum", "max_momentum")
    )


class _Rate:
    """Rate of a parameter group, with its base if a scheduler changes it."""

    def __init__(self, group: dict[str, Any], number: int, schedulers: Sequence[Any]) -> None:
        self._group = group
        self._number = number
        self._schedulers = schedulers
        self._base: Any = None
        self._live: Any = None

    def show_base(self) -> None:
        """Put the base in place of the rate, to be compared and written."""
        self._base = self._group.get("initial_lr")
        self._live = self._group.get("lr")
        if self._base is not None:
            self._group["lr"] = self._base

    def apply(self) -> None:
        """Put the rate back; if the base was written, in its old ratio to the base."""
        if self._base is None:
            return
        base = self._group["lr"]
        self._group["lr"] = self._live
        if base == self._base:
            return

        if "max_lr" in self._group:
            raise UsageError(
                "a scheduler that cycles takes its rates from its own max_lr, so the searched rate would not "
                'reach it; read it where the scheduler is made: OneCycleLR(optimizer, max_lr=m["lr"], ...)'
            )
        share = float(self._live / self._base) if self._base else 1.0
        set_option(self._group, "initial_lr", base)
        set_option(self._group, "lr", base if share == 1.0 else base * share)
        for scheduler in self._schedulers:
            for part in parts(scheduler):
                if hasattr(part, "base_lrs"):
                    part.base_lrs[self._number] = base


def _base(group: Mapping[str, Any], key: str) -> Any:
    """Return an option of a group; for a rate with a scheduler its base."""
    return get_option(group, "initial_lr" if key == "lr" and "initial_lr" in group else key)


def _equal(recorded: Value, live: Any) -> bool:
    """Whether a live value is the recorded one, also if it was kept in single precision."""
    live = live.item() if hasattr(live, "item") else live
    if isinstance(recorded, float) and isinstance(live, int | float):
        return math.isclose(recorded, live, rel_tol=1e-6)
    return bool(recorded == live)


def _overwritten(name: str, recorded: object, live: object, when: str) -> RunError:
    return RunError(
        f"hyperparameter {name!r} is {live!r} {when}, but {recorded!r} in the record: the loop overwrites "
        f"it; change it by a tracked scheduler, read m[{name!r}] each time that you set it, or state how it "
        f"is written with m.on({name}=(write, read))"
    )
