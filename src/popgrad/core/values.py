"""What the dimensions share: the checks at their door, and the little arithmetic that all of them need."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.population import Value

EXACT = 2**53
"""Integers beyond it have no exact float, so bounds stay within."""

_T = TypeVar("_T", int, float)


def is_number(value: object) -> bool:
    """Python's or NumPy's integer or float; a boolean is not a number."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def number(value: Any) -> float:
    """A finite float, or UsageError."""
    if not is_number(value) or abs(value) > sys.float_info.max or value != value:
        raise UsageError(f"given {value!r} ({type(value).__name__}), needs a finite number")
    return float(value)


def integer(value: Any) -> int:
    """An integer of at most 2**53, or UsageError."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or abs(int(value)) > EXACT
    ):
        raise UsageError(
            f"given {value!r} ({type(value).__name__}), needs an integer within +-2**53"
        )
    return int(value)


def scalar(name: str, value: Any) -> Value:
    """A plain JSON scalar, or UsageError."""
    plain = value.item() if isinstance(value, np.generic) else value
    if type(plain) not in (bool, int, float, str) or (
        type(plain) is float and not math.isfinite(plain)
    ):
        raise UsageError(f"{name} = {value!r}: needs a string, a boolean or a finite number")
    return plain  # type: ignore[no-any-return]


def boolean(name: str, value: object) -> None:
    """Raise UsageError unless the value is a boolean."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} = {value!r}: needs true or false")


def set_bounds(dimension: Any, typed: Callable[[Any], float]) -> None:
    """Check a range and keep its bounds in their own type (frozen, hence object.__setattr__)."""
    for name in ("low", "high"):
        try:
            object.__setattr__(dimension, name, typed(getattr(dimension, name)))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    if dimension.low >= dimension.high:
        raise UsageError(
            f"low = {dimension.low}, high = {dimension.high}: low has to be below high (or use a constant)"
        )
    boolean("init_only", dimension.init_only)


def set_options(dimension: Any) -> None:
    """Check the options and keep them as a tuple of plain scalars."""
    if (
        isinstance(dimension.options, str)
        or not isinstance(dimension.options, Sequence)
        or not dimension.options
    ):
        raise UsageError(f"options = {dimension.options!r}: needs a list with at least one option")
    options = tuple(scalar("options", option) for option in dimension.options)
    if len({(type(option), option) for option in options}) < len(options):
        raise UsageError(f"options = {list(options)}: each option may appear once")
    object.__setattr__(dimension, "options", options)
    boolean("init_only", dimension.init_only)


def position(dimension: Any, options: tuple[Value, ...], value: Any) -> int:
    """Where `value` is among the options: of its own type first (True is not 1), else an equal number."""
    plain = value.item() if isinstance(value, np.generic) else value
    for i, option in enumerate(options):
        if type(option) is type(plain) and option == plain:
            return i
    for i, option in enumerate(options):
        if is_number(option) and is_number(plain) and option == plain:
            return i
    raise UsageError(f"given {value!r} ({type(value).__name__}), allowed is {dimension.describe()}")


def within(dimension: Any, value: _T, low: _T, high: _T) -> _T:
    """The value, or UsageError when it is not in [low, high]."""
    if low <= value <= high:
        return value
    raise UsageError(f"given {value!r}, allowed is {dimension.describe()}")


def spec_of(dimension: Any) -> dict[str, Any]:
    """Kind and fields; flags that are off are left out."""
    given = {field.name: getattr(dimension, field.name) for field in fields(dimension)}
    flags = {name for name in ("init_only", "log") if given.get(name) is False}
    plain = {name: list(each) if isinstance(each, tuple) else each for name, each in given.items()}
    return {"kind": dimension.kind} | {
        name: each for name, each in plain.items() if name not in flags
    }


def suffix(dimension: Any) -> str:
    """What a description ends with."""
    return ", init-only" if dimension.init_only else ""


def clamp(x: _T, low: _T, high: _T) -> _T:
    """The number in [low, high] that is nearest to x."""
    return min(max(x, low), high)


def to_unit(x: float, low: float, high: float) -> float:
    """Where x is in [low, high], 0 to 1; 0 where the two ends are one number. Halved against overflow."""
    width = high / 2 - low / 2
    return clamp((x / 2 - low / 2) / width, 0.0, 1.0) if width > 0 else 0.0


def draw_factor(rng: np.random.Generator, factors: Sequence[float]) -> float:
    """One of the factors, uniformly; consumes one bounded integer."""
    return float(factors[int(rng.integers(len(factors)))])
