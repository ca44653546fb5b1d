"""Options of parameter groups: read, compared, and their defaults."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch

from popgrad.tasks.comparison import same

Options = dict[str, Any]
"""Options of a parameter group, without its parameters."""

BETAS = {"beta1": 0, "beta2": 1}
"""Hyperparameters that are parts of the key "betas", with their positions."""

_PARAMETERS = ("params", "param_names")


def options(group: Mapping[str, Any]) -> Options:
    """Return a copy of the options of a parameter group."""
    return {key: copied(value) for key, value in group.items() if key not in _PARAMETERS}


def copied(value: Any) -> Any:
    """Return a copy of the value of an option."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return copy.deepcopy(value) if isinstance(value, list | dict) else value


def changed(before: Options, after: Options) -> set[str]:
    """Return the keys that are new or have another value.

    Example:
        >>> sorted(changed({"lr": 0.1, "eps": 1.0}, {"lr": 0.2, "eps": 1.0, "d": 3}))
        ['d', 'lr']
    """
    return {
        key for key, value in after.items() if key not in before or not same(before[key], value)
    }


def set_option(group: dict[str, Any], key: str, value: Any) -> None:
    """Set an option; a tensor keeps its identity, since compiled code may hold it."""
    held = group.get(key)
    if isinstance(held, torch.Tensor) and isinstance(value, torch.Tensor | float | int):
        with torch.no_grad():
            held.copy_(torch.as_tensor(value))
    else:
        group[key] = copied(value)


def inner_optimizers(optimizer: Any) -> list[Any]:
    """Return the optimizers that a wrapper of optimizers holds in its attributes, at any depth."""
    found = [optimizer]
    for outer in found:  # grows as it is read
        for value in getattr(outer, "__dict__", {}).values():
            for each in value if isinstance(value, list | tuple) else (value,):
                is_optimizer = hasattr(each, "param_groups") and hasattr(each, "step")
                if is_optimizer and not any(each is other for other in found):
                    found.append(each)
    return found[1:]


def default_values(optimizer: Any, key: str) -> tuple[Any, Any]:
    """Return the default of an option in the optimizer's class, and in the optimizer.

    The first is what its class sets if a user names no value, the second what a group without a
    value of its own gets. `MISSING` = there is none.

    Example:
        >>> parameters = [torch.zeros(1, requires_grad=True)]
        >>> default_values(torch.optim.SGD(parameters, lr=0.5), "lr")
        (0.001, 0.5)
    """
    for each in (optimizer, *inner_optimizers(optimizer)):
        own = getattr(each, "defaults", {})
        if key in own or (key in BETAS and "betas" in own):
            return get_option(_signature(each.__class__), key), get_option(own, key)
    return MISSING, MISSING


MISSING = object()
"""Stands for a value that is not there; it equals no other."""


def get_option(group: Mapping[str, Any], key: str) -> Any:
    """Return an option as a number, "beta1" and "beta2" by "betas"; `MISSING` if it has none."""
    if key in BETAS and key not in group:
        betas = group.get("betas", MISSING)
        value = betas if betas is MISSING else betas[BETAS[key]]
    else:
        value = group.get(key, MISSING)
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return value


def default_argument(kind: Callable[..., Any], name: str) -> Any:
    """Return the default of an argument of a class; `MISSING` if it has none.

    Example:
        >>> default_argument(torch.optim.SGD, "momentum")
        0
    """
    return _signature(kind).get(name, MISSING)


@cache
def _signature(kind: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of the arguments of a class."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def named_groups(optimizers: Mapping[str, Any], name: str) -> Iterator[tuple[str, int, str]]:
    """Yield the parameter groups in which a hyperparameter lives: optimizer, number, and key."""
    for owner, optimizer in optimizers.items():
        for number, group in enumerate(optimizer.param_groups):
            for prefix in ("", f"{owner}_", f"{group.get('name', owner)}_"):
                key = name.removeprefix(prefix)
                in_group = key in group or (key in BETAS and "betas" in group)
                if name.startswith(prefix) and in_group and key not in _PARAMETERS:
                    yield owner, number, key
                    break
