"""The parts of a `TorchTask` as they are given: their types and the number of their arguments.

No part is called here. `trial.py` tries a batch.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.space import Space
from popgrad.data.splits import Splits

CALLS: Mapping[str, str] = {
    "model": "model(hparams)",
    "optimizer": "optimizer(module, hparams)",
    "data": "data()",
    "loss": "loss(module, batch, hparams)",
    "predict": "predict(module, batch)",
    "metrics": "metrics(outputs, targets)",
    "step": "step(module, optimizers, batch, loss)",
    "scheduler": "scheduler(optimizer)",
    "augment": "augment(inputs, generator)",
}
"""The call of each function of a task, by the name of its field."""

_OPTIONAL = ("scheduler", "augment", "log_every")


def as_space(space: object) -> Space:
    """Return the space of a task; a mapping of dimensions becomes one.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(space, Space):
        return space
    if isinstance(space, Mapping):
        return Space(space)
    raise UsageError(
        f'space: expected a Space, such as Space({{"lr": LogUniform(1e-4, 0.1)}}), got {_named(space)}'
    )


def check_parts(parts: Mapping[str, Any]) -> None:
    """Refuse fields of a task that cannot be used.

    Args:
        parts: Values of the fields, by name.

    Raises:
        UsageError: Names the field, what it is, and what to write instead.
    """
    given = {
        name: value for name, value in parts.items() if name not in _OPTIONAL or value is not None
    }
    for name in CALLS:
        if name in given:
            _check_function(name, given[name])

    for name in ("batch_size", "evaluation_batch_size", "log_every"):
        size = given.get(name, 1)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UsageError(f"{name}: expected an integer, at least 1, got {size!r:.80}")


def _check_function(name: str, value: Any) -> None:
    """Refuse a part that cannot be called as the task calls it."""
    cure = _replacement(name, value)
    if cure or not callable(value):
        raise UsageError(
            f"{name}: expected a function, called as {CALLS[name]}, got {_named(value)}{_advice(cure)}"
        )

    arguments = CALLS[name].partition("(")[2].rstrip(")")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(*filter(None, arguments.split(", ")))
    except TypeError:
        taken = str(signature).partition(" -> ")[0]
        raise UsageError(
            f"{name}: expected a function, called as {CALLS[name]}, got one of "
            f"{taken}{_advice(_wrapper(name, value))}"
        ) from None


def _replacement(name: str, value: Any) -> str:
    """Return what to write in place of an object that is no such function; "" = unknown."""
    match name:
        case "model" if isinstance(value, nn.Module):
            return "a function that makes it, model=lambda hparams: ..., so that each member has its own"
        case "optimizer" if _is_a(value, Optimizer):
            return _wrapper(name, value if isinstance(value, type) else type(value))
        case "scheduler" if isinstance(value, LRScheduler):
            return _wrapper(name, type(value))
        case "data" if isinstance(value, Splits):
            return "data=lambda: splits"
        case "data" if isinstance(value, tuple | list | Mapping):
            return "data=lambda: Splits(train=(inputs, targets), validation=..., test=...)"
        case "loss" if _is_a(value, nn.Module):
            own = value.__name__ if isinstance(value, type) else type(value).__name__
            return f"loss=lambda module, batch, hparams: nn.{own}()(module(batch[0]), batch[1])"
        case "metrics" if isinstance(value, Mapping | list | tuple):
            return 'metrics=lambda outputs, targets: {"accuracy": ...}'
    return ""


def _wrapper(name: str, value: Any) -> str:
    """Return a function around a class or function that takes other arguments; "" = unknown."""
    own = getattr(value, "__name__", "<lambda>")
    if name == "data" and own != "<lambda>":
        return f"data=lambda: {own}(...)"
    if name == "model":
        return "model=lambda hparams: ..., which may leave hparams unused"
    if not isinstance(value, type):
        return ""

    match name:
        case "optimizer":
            rate = inspect.signature(value).parameters.get("lr")
            further = ", lr=..." if rate is not None and rate.default is rate.empty else ""
            return f"optimizer=lambda module, hparams: {own}(module.parameters(){further})"
        case "scheduler":
            return f"scheduler=lambda optimizer: {own}(optimizer, ...)"
    return ""


def _advice(cure: str) -> str:
    return f"; write {cure}" if cure else ""


def _is_a(value: object, kind: type) -> bool:
    """Whether a value is an instance of a class, or a class derived from it."""
    return isinstance(value, kind) or (isinstance(value, type) and issubclass(value, kind))


def _named(value: object) -> str:
    """Return a value by its kind, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, bool | int | float | str):
        return f"{value!r:.80}"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
