"""Tracked optimizers: moments and running numbers travel, options are those of the heir's own setup."""

from collections.abc import Mapping, Sequence
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.state import State, clone
from popgrad.tasks.groups import inner_optimizers
from popgrad.tasks.optimizer_state import (
    OptimizerState,
    check_kinds,
    optimizer_kind,
    restore_identity,
)

_SCHEDULED = {"lr", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
"""Options that schedulers of torch change in every group."""


class OptimizerPart:
    """Moments of an optimizer, by the names of its parameters, and the numbers that it changes.

    It is made after hyperparameters are written, since its options stay those that it finds.

    Args:
        name: Name that the optimizer is tracked by.
        optimizer: Optimizer as the function made it.
        owners: Names of all tracked parameters, by their `id`.
        schedulers: Schedulers of this optimizer, which keep the options that they change.
        bound: Options in which hyperparameters live, by the `id` of the parameter group.

    Raises:
        UsageError: It trains a tensor that no tracked object holds.
    """

    def __init__(
        self,
        name: str,
        optimizer: Any,
        owners: Mapping[int, str],
        schedulers: Sequence[Any],
        bound: Mapping[int, set[str]],
    ) -> None:
        self._name = name
        self._optimizer = optimizer
        self._names = _parameter_names(name, optimizer, owners)
        self._state = OptimizerState(name, optimizer, self._names)
        self._bound = bound
        self._held = _held(optimizer)
        self._groups = optimizer.param_groups
        self._scheduled: set[str] = set()
        if schedulers:
            self._scheduled |= _SCHEDULED
        if any(getattr(each, "cycle_momentum", False) for each in schedulers):
            self._scheduled |= {"momentum", "betas"}
        self._state.begin()

    def reset(self) -> None:
        """Reset the options of all groups to those that were made."""
        self._state.reset_options()

    def capture(self, hparams: Hparams) -> State:
        """Return moments, the names that they belong to, and running numbers.

        Raises:
            UsageError: The loop has added parameters, or removed some.
        """
        del hparams
        if _held(self._optimizer) != self._held:
            raise UsageError(
                f"m.track: optimizer {self._name!r} holds other parameters than it was set up with, so its "
                "state fits no heir; add all groups in setup, and freeze their parameters until they are to "
                "be trained, parameter.requires_grad_(False): that travels"
            )
        moments, extras = self._state.moments()
        numbers = self._state.numbers(self._scheduled, self._bound)
        entries: State = {
            "kind": optimizer_kind(self._optimizer),
            "parameters": list(self._names),
            "moments": moments,
            "extras": extras,
            "numbers": numbers if any(numbers) else [],
        }
        return {key: entry for key, entry in entries.items() if entry}

    def keep_groups(self) -> None:
        """Make the groups the objects that they were: the places of hyperparameters hold these."""
        restore_identity(self._optimizer, self._groups, None)

    def note_options(self) -> None:
        """Note the options that training starts from; those that it changes travel."""
        self._state.begin()

    def load(self, saved: State, hparams: Hparams) -> None:
        """Load moments and numbers. Options stay those of the heir."""
        del hparams
        name = self._name
        state: State = {
            "model": {},
            "optimizers": {name: clone(saved.get("moments", {}))},
            "parameters": {name: saved["parameters"]},
            "kinds": {name: saved["kind"]},
            "extras": {name: saved.get("extras", {})},
        }
        if saved.get("numbers"):
            state["numbers"] = {name: saved["numbers"]}
        check_kinds(state, {name: optimizer_kind(self._optimizer)})

        # Schedulers and the places of hyperparameters hold the groups.
        groups = self._optimizer.param_groups
        self._state.load(state)
        restore_identity(self._optimizer, groups, None)
        self._state.begin()


def is_optimizer(candidate: Any) -> bool:
    """Whether an object is an optimizer, or a wrapper of one."""
    needed = ("param_groups", "step", "state_dict", "load_state_dict")
    return all(hasattr(candidate, name) for name in needed) and not isinstance(candidate, type)


def same_optimizer(some: Any, other: Any) -> bool:
    """Whether one of two optimizers is the other, or a wrapper of it."""
    return (
        some is other
        or any(each is other for each in inner_optimizers(some))
        or any(each is some for each in inner_optimizers(other))
    )


def _held(optimizer: Any) -> list[list[int]]:
    """Return the `id` of each parameter, by group."""
    return [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]


def _parameter_names(name: str, optimizer: Any, owners: Mapping[int, str]) -> list[str]:
    """Return the names of an optimizer's parameters, in its order."""
    names = []
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            if id(parameter) not in owners:
                raise UsageError(
                    f"m.track: optimizer {name!r} trains a tensor of shape {list(parameter.shape)} "
                    f"(in parameter group {number}) that no tracked object holds, so heirs would not get it; "
                    "track the module that has it too: m.track(model=model)"
                )
            names.append(owners[id(parameter)])
    return names
