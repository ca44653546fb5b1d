"""Checks and arithmetic that the dimensions share."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.population import Value

EXACT = 2**53
"""Largest magnitude of a bound: integers beyond it have no exact float."""

_MOST_OPTIONS = 1_000
"""Most options of a dimension; each is compared, and listed in messages."""

_T = TypeVar("_T", int, float)


def is_number(value: object) -> bool:
    """Return whether it is an integer or float of Python or NumPy; a boolean is not a number."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def number(value: Any) -> float:
    """Return a finite float, or raise UsageError."""
    if not is_number(value) or abs(value) > sys.float_info.max or value != value:
        raise UsageError(f"expected a finite number, got {_typed(value)}")
    return float(value)


def integer(value: Any) -> int:
    """Return an integer of at most 2**53, or raise UsageError."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or abs(int(value)) > EXACT:
        raise UsageError(f"expected an integer within +-2**53, got {_typed(value)}")
    return int(value)


def scalar(name: str, value: Any) -> Value:
    """Return a plain JSON scalar, or raise UsageError."""
    plain = value.item() if isinstance(value, np.generic) else value
    if type(plain) not in (bool, int, float, str) or (
        type(plain) is float and not math.isfinite(plain)
    ):
        raise UsageError(f"{name}: expected a string, a boolean or a finite number, got {value!r}")
    return plain  # type: ignore[no-any-return]


def boolean(name: str, value: object) -> None:
    """Raise UsageError unless the value is a boolean."""
    if not isinstance(value, bool):
        raise UsageError(f"{name}: expected true or false, got {value!r}")


def set_bounds(dimension: Any, typed: Callable[[Any], float]) -> None:
    """Check a range and keep its bounds in their own type (frozen, hence object.__setattr__)."""
    for name in ("low", "high"):
        try:
            object.__setattr__(dimension, name, typed(getattr(dimension, name)))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None

    if dimension.low >= dimension.high:
        raise UsageError(
            f"low: expected a number below high = {dimension.high}, got {dimension.low}; "
            "for a single value use a constant"
        )
    boolean("init_only", dimension.init_only)


def set_options(dimension: Any) -> None:
    """Check the options and keep them as a tuple of plain scalars."""
    options = dimension.options
    if isinstance(options, str) or not isinstance(options, Sequence) or not options:
        raise UsageError(f"options: expected a list with at least one option, got {options!r}")

    if len(options) > _MOST_OPTIONS:
        raise UsageError(
            f"options: expected at most {_MOST_OPTIONS:,}, got {len(options):,}; use a range for numbers"
        )

    scalars = tuple(scalar("options", option) for option in options)
    if len({(type(option), option) for option in scalars}) < len(scalars):
        raise UsageError(f"options: expected each option once, got {list(scalars)}")
    object.__setattr__(dimension, "options", scalars)
    boolean("init_only", dimension.init_only)


def position(dimension: Any, options: tuple[Value, ...], value: Any) -> int:
    """Return the index of `value` among the options.

    An option of its own type comes first (True is not 1), else an equal number.

    Raises:
        UsageError: It is none of the options.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    for i, option in enumerate(options):
        if type(option) is type(plain) and option == plain:
            return i
    for i, option in enumerate(options):
        if is_number(option) and is_number(plain) and option == plain:
            return i
    raise UsageError(f"expected {dimension.describe()}, got {_typed(value)}")


def within(dimension: Any, value: _T, low: _T, high: _T) -> _T:
    """Return the value, or raise UsageError if it is not in [low, high]."""
    if low <= value <= high:
        return value
    raise UsageError(f"expected {dimension.describe()}, got {value!r}")


def spec_of(dimension: Any) -> dict[str, Any]:
    """Return kind and fields as plain JSON; booleans that are false are left out."""
    spec: dict[str, Any] = {"kind": dimension.kind}
    for field in fields(dimension):
        value = getattr(dimension, field.name)
        if field.name in ("init_only", "log") and value is False:
            continue
        spec[field.name] = list(value) if isinstance(value, tuple) else value
    return spec


def suffix(dimension: Any) -> str:
    """Return the end of a description."""
    return ", init-only" if dimension.init_only else ""


def clamp(x: _T, low: _T, high: _T) -> _T:
    """Return the number in [low, high] that is nearest to x."""
    return min(max(x, low), high)


def to_unit(x: float, low: float, high: float) -> float:
    """Return the position of x in [low, high], from 0 to 1; 0 if the ends are equal."""
    # Halved first, since the difference of two large bounds overflows.
    width = high / 2 - low / 2
    return clamp((x / 2 - low / 2) / width, 0.0, 1.0) if width > 0 else 0.0


def draw_factor(rng: np.random.Generator, factors: Sequence[float]) -> float:
    """Draw one of the factors uniformly; consumes one bounded integer."""
    return float(factors[int(rng.integers(len(factors)))])


def _typed(value: object) -> str:
    """Return a value with its type, for messages."""
    return f"{value!r} ({type(value).__name__})"
