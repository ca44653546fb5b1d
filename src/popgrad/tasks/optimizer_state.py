"""State of an optimizer: moments by the names of parameters, and the numbers that it keeps elsewhere.

Moments follow the parameter that they belong to, not its index, since the set of trained parameters
may depend on a hyperparameter. Options of parameter groups are those of the heir, except for numbers
that the optimizer itself changes as it trains.
"""

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from popgrad.core.errors import UsageError
from popgrad.state import State, clone
from popgrad.tasks.comparison import same
from popgrad.tasks.groups import Options, changed, inner_optimizers, options, set_option

_INIT_ONLY = "hyperparameters that change what an optimizer holds must be init-only"

_NEEDED = {"amsgrad": ("exp_avg_sq", "max_exp_avg_sq"), "centered": ("square_avg", "grad_avg")}
"""Options that need a moment: an entry that stepped parameters have anyway, and the moment's name."""


def parameter_names(module: nn.Module, owner: str, optimizer: Any) -> list[str]:
    """Return the names of the parameters that an optimizer holds, in its order.

    Raises:
        UsageError: It holds a tensor that is no parameter of the module, and so would not travel.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(id(parameter) not in names for parameter in held):
        raise UsageError(
            f"optimizer {owner!r} trains a tensor that is no parameter of the module, so heirs would not get "
            "it; register it in the module that `model` returns"
        )
    return [names[id(parameter)] for parameter in held]


def optimizer_kind(optimizer: Any) -> str:
    """Return the name of the class that decides which moments there are: "Adam" for AdamW.

    Example:
        >>> optimizer_kind(torch.optim.AdamW([torch.zeros(1, requires_grad=True)]))
        'Adam'
    """
    line = [each for each in type(optimizer).__mro__ if each not in (Optimizer, object)]
    return line[-1].__name__ if isinstance(optimizer, Optimizer) else type(optimizer).__name__


def moments_for(state: State, owner: str, names: Sequence[str]) -> dict[int, Any]:
    """Return the moments of an optimizer in a state, by the index of the parameter among `names`.

    Example:
        >>> state = {"model": {"a": 1, "b": 2}, "optimizers": {"o": {1: {"step": 5}}}}
        >>> moments_for(state, "o", ["b"])
        {0: {'step': 5}}
    """
    saved = state["optimizers"][owner]
    donor_names = _donor_names(state, owner)
    if list(names) == donor_names[: len(names)] and all(index < len(names) for index in saved):
        return dict(saved)
    by_name = {donor_names[index]: moments for index, moments in saved.items()}
    return {i: by_name[name] for i, name in enumerate(names) if name in by_name}


def _donor_names(state: State, owner: str) -> list[str]:
    """Return the names of the parameters that an optimizer held, which the usual state leaves out."""
    return state.get("parameters", {}).get(owner) or list(state["model"])


def check_kinds(state: State, kinds: Mapping[str, str]) -> None:
    """Refuse a state whose optimizers are others, by name or by kind.

    Args:
        state: State to start from.
        kinds: Result of `optimizer_kind` for each optimizer, by name.

    Raises:
        UsageError: Names what differs.
    """
    saved = state["optimizers"].keys()
    if saved != kinds.keys():
        raise UsageError(
            f"the inherited state has the optimizers {', '.join(saved)}, and the hyperparameters now make "
            f"{', '.join(kinds)}; {_INIT_ONLY}"
        )
    for owner, kind in state.get("kinds", {}).items():
        if kind != kinds[owner]:
            raise UsageError(
                f"the inherited state has moments of {kind}, and the hyperparameters now make "
                f"{kinds[owner]}; hyperparameters that change the optimizer must be init-only"
            )


def raised_by(error: BaseException, optimizers: Iterable[Any]) -> bool:
    """Whether an error comes from the code of one of the optimizers."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "" if trace is None else trace.tb_frame.f_code.co_filename
    kinds = {
        kind
        for optimizer in optimizers
        for each in (optimizer, *inner_optimizers(optimizer))
        for kind in type(each).__mro__
        if kind is not object
    }
    modules = [sys.modules.get(kind.__module__) for kind in kinds]
    return any(getattr(module, "__file__", None) == file for module in modules)


def missing_moment(error: KeyError) -> UsageError:
    """Return the error of an optimizer that misses a moment in the state that it inherits."""
    return UsageError(
        f"an optimizer needs {error}, which the state that it inherits lacks; {_INIT_ONLY}"
    )


class OptimizerState:
    """Part of a state that belongs to one optimizer.

    Args:
        owner: Name of the optimizer.
        optimizer: Optimizer as its function has made it.
        names: Names of its parameters, in its order.

    Attributes:
        running: Keys of options that came with a state, since an earlier optimizer had changed them.
    """

    def __init__(self, owner: str, optimizer: Any, names: Sequence[str]) -> None:
        self._owner = owner
        self._optimizer = optimizer
        self._names = names
        self._made = [options(group) for group in optimizer.param_groups]
        self._start: list[Options] = self._made
        self.running: set[str] = set()

    def load(self, state: State) -> None:
        """Load moments and numbers; the options stay those that the optimizer was made with.

        Raises:
            UsageError: The optimizer cannot load them.
        """
        groups = self._optimizer.param_groups
        extras = clone(state.get("extras", {}).get(self._owner, {}))
        own = self._optimizer.state_dict()
        if "state" in own and "param_groups" in own:
            moments = self._new_moments(state, own["state"])
            moments |= moments_for(state, self._owner, self._names)
            extras |= {"state": self._laid_out(moments), "param_groups": own["param_groups"]}
        else:
            self._check_order(state)

        inner = [
            (each, each.param_groups, getattr(each, "state", None))
            for each in inner_optimizers(self._optimizer)
        ]
        try:
            self._optimizer.load_state_dict(extras)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"{type(self._optimizer).__name__} cannot load the state that it inherits "
                f"({type(error).__name__}: {reason}); {_INIT_ONLY}"
            ) from error
        for each in inner:
            restore_identity(*each)
        if inner:
            restore_identity(self._optimizer, groups, None)
        self._restore_options(state.get("numbers", {}).get(self._owner))

    def reset_options(self) -> None:
        """Reset the options of all groups to those that the optimizer was made with."""
        self._restore_options(None)

    def _restore_options(self, numbers: Sequence[Options] | None) -> None:
        """Reset the options to those that were made, and set the running numbers."""
        groups = self._optimizer.param_groups
        numbers = [{} for _ in groups] if numbers is None else numbers
        if not len(groups) == len(self._made) == len(numbers):
            raise UsageError(
                f"{type(self._optimizer).__name__} has {len(self._made)} parameter groups, and the inherited "
                f"state {len(numbers)}; {_INIT_ONLY}"
            )
        for group, made, running in zip(groups, self._made, numbers, strict=True):
            for key in _SCHEDULED & group.keys() - made.keys():
                del group[key]
            for key, value in made.items():
                set_option(group, key, value)
            for key, (value, *donor_made) in running.items():
                # One that the optimizer function now makes otherwise is a hyperparameter.
                if len(donor_made) == (key in made) and all(same(made[key], x) for x in donor_made):
                    set_option(group, key, value)
            self.running |= running.keys()

    def _new_moments(self, state: State, own: Mapping[int, Any]) -> dict[int, Any]:
        """Return what the new optimizer has for parameters that the donor did not train."""
        donor_names = _donor_names(state, self._owner)
        return {i: moments for i, moments in own.items() if self._names[i] not in donor_names}

    def _check_order(self, state: State) -> None:
        """Refuse a wrapper whose parameters are not those of the donor: its moments have no names."""
        donor_names = _donor_names(state, self._owner)
        if list(self._names) != donor_names[: len(self._names)]:
            raise UsageError(
                f"{type(self._optimizer).__name__} holds other parameters than in the inherited state; "
                f"{_INIT_ONLY}"
            )

    def begin(self) -> None:
        """Note the options from which training begins, and complete the moments that they need."""
        self._start = [options(group) for group in self._optimizer.param_groups]
        state = getattr(self._optimizer, "state", {})
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                _complete(group, state.get(parameter))

    def _laid_out(self, moments: dict[Any, Any]) -> dict[Any, Any]:
        """Return a copy of moments in the memory layout of their parameters.

        A fused optimizer relies on it.
        """
        parameters: list[torch.Tensor] = [
            parameter for group in self._optimizer.param_groups for parameter in group["params"]
        ]

        def like(parameter: torch.Tensor, value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
                return clone(value)
            return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)

        return {
            i: {key: like(parameters[i], value) for key, value in values.items()}
            for i, values in moments.items()
        }

    # --- saving -----------------------------------------------------------------------------------

    def moments(self) -> tuple[dict[Any, Any], State]:
        """Return copies of the moments, by index, and of whatever else the optimizer's state has.

        The first are empty if the optimizer does not separate them, as wrappers do.

        Raises:
            UsageError: The state of a wrapper is not plain data.
        """
        saved = self._optimizer.state_dict()
        if "state" not in saved or "param_groups" not in saved:
            return {}, clone(saved)
        extras: State = {}
        for key in saved.keys() - {"state", "param_groups"}:
            # Entries that no state can hold, such as functions, are made by the optimizer function.
            with contextlib.suppress(UsageError):
                extras[key] = clone(saved[key])
        return clone(saved["state"]), dict(sorted(extras.items()))

    def numbers(self, scheduled: set[str], bound: Mapping[int, set[str]]) -> list[Options]:
        """Return the options of each group that the optimizer has changed, as copies.

        Each is a tuple: the value, and the one that the optimizer was made with, if any.

        Args:
            scheduled: Keys that a scheduler changes.
            bound: Keys in which hyperparameters live, by the `id` of a group.
        """
        groups = []
        live = self._optimizer.param_groups
        for group, start, made in zip(live, self._start, self._made, strict=True):
            now = options(group)
            keys = changed(start, now) | (self.running & now.keys())
            keys -= scheduled | bound.get(id(group), set())
            groups.append(
                {
                    key: (value, made[key]) if key in made else (value,)
                    for key, value in now.items()
                    if key in keys
                }
            )
        return clone(groups)  # type: ignore[no-any-return]


_SCHEDULED = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
"""Options that torch's schedulers add to groups. A wrapper's state brings them from the donor."""


def restore_identity(optimizer: Any, groups: list[dict[str, Any]], state: Any) -> None:
    """Make groups and moments the objects again that they were, since wrappers share them."""
    loaded = optimizer.param_groups
    if loaded is not groups and len(loaded) == len(groups):
        for group, new in zip(groups, loaded, strict=True):
            if group is not new:
                group.clear()
                group.update(new)
        optimizer.param_groups = groups
    if state is not None and optimizer.state is not state:
        moments = dict(optimizer.state)
        state.clear()
        state.update(moments)
        optimizer.state = state


def _complete(group: Mapping[str, Any], moments: dict[str, Any] | None) -> None:
    """Add the moments that an option needs, as zeros, if it was switched on after the first step."""
    if not moments:
        return
    for option, (present, needed) in _NEEDED.items():
        if group.get(option) and present in moments and needed not in moments:
            moments[needed] = torch.zeros_like(moments[present])
    needs_buffer = group.get("momentum", 0) > 0 and "square_avg" in moments
    if needs_buffer and "momentum_buffer" not in moments:
        moments["momentum_buffer"] = torch.zeros_like(moments["square_avg"])
