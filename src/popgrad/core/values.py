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
    if dimension.start is not None:
        object.__setattr__(dimension, "start", _start_range(dimension, typed))


def _start_range(dimension: Any, typed: Callable[[Any], _T]) -> tuple[_T, _T]:
    """Return the start range of a range as (low, high), in the type of its bounds."""
    try:
        low, high = map(typed, dimension.start)
        fits = dimension.low <= low <= high <= dimension.high
    except (TypeError, ValueError):  # not two numbers; a UsageError is a ValueError
        fits = False

    if not fits:
        raise UsageError(
            f"start: expected two numbers in [{dimension.low}, {dimension.high}], the lower first, "
            f"got {dimension.start!r:.80}; low and high bound what explore may reach"
        )
    return low, high


def set_options(dimension: Any) -> None:
    """Check the options and keep them as a tuple of plain scalars."""
    object.__setattr__(dimension, "options", _scalars("options", dimension.options))
    boolean("init_only", dimension.init_only)
    if dimension.start is None:
        return

    start = _scalars("start", dimension.start)
    try:
        chosen = tuple(
            dimension.options[find_option(dimension, dimension.options, option)] for option in start
        )
    except UsageError:
        raise UsageError(
            f"start: expected some of the options {list(dimension.options)}, got {list(start)}"
        ) from None
    object.__setattr__(dimension, "start", chosen)


def _scalars(name: str, options: Any) -> tuple[Value, ...]:
    """Return different plain scalars as a tuple; `name` is their field, for messages."""
    if isinstance(options, str) or not isinstance(options, Sequence) or not options:
        raise UsageError(f"{name}: expected a list with at least one option, got {options!r}")

    if len(options) > _MOST_OPTIONS:
        raise UsageError(
            f"{name}: expected at most {_MOST_OPTIONS:,}, got {len(options):,}; use a range for numbers"
        )

    scalars = tuple(scalar(name, option) for option in options)
    if len({(type(option), option) for option in scalars}) < len(scalars):
        raise UsageError(f"{name}: expected each option once, got {list(scalars)}")
    return scalars


def find_option(dimension: Any, options: tuple[Value, ...], value: Any) -> int:
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
    """Return kind and fields as plain JSON; fields that have their default are left out."""
    spec: dict[str, Any] = {"kind": dimension.kind}
    for field in fields(dimension):
        value = getattr(dimension, field.name)
        if value is field.default:
            continue
        spec[field.name] = list(value) if isinstance(value, tuple) else value
    return spec


def suffix(dimension: Any, separator: str = "..") -> str:
    """Return the end of a description; the separator stands between the values of `start`."""
    start = dimension.start
    starts = f", start {separator.join(map(str, start))}" if start is not None else ""
    return starts + (", init-only" if dimension.init_only else "")


def clamp(x: _T, low: _T, high: _T) -> _T:
    """Return the number in [low, high] that is nearest to x."""
    return min(max(x, low), high)


def to_unit(x: float, low: float, high: float) -> float:
    """Return the position of x in [low, high], from 0 to 1; 0 if the ends are equal."""
    # Halved first, since the difference of two large bounds overflows.
    width = high / 2 - low / 2
    return clamp((x / 2 - low / 2) / width, 0.0, 1.0) if width > 0 else 0.0


def from_unit(
    position: float,
    low: float,
    high: float,
    scale: Callable[[float], float] = float,
    back: Callable[[float], float] = float,
) -> float:
    """Return the number at a position in [low, high], exactly an end at 0 and 1 and beyond.

    Args:
        position: Position in [0, 1] along the scale.
        low: Number at 0.
        high: Number at 1.
        scale: Increasing function from a number to its place on the scale.
        back: Its inverse.

    Raises:
        UsageError: The position is not a finite number.
    """
    share = number(position)
    if share <= 0 or share >= 1:
        return low if share <= 0 else high
    return clamp(back((1 - share) * scale(low) + share * scale(high)), low, high)


def draw_factor(rng: np.random.Generator, factors: Sequence[float]) -> float:
    """Draw one of the factors uniformly; consumes one bounded integer."""
    return float(factors[int(rng.integers(len(factors)))])


def _typed(value: object) -> str:
    """Return a value with its type, for messages."""
    return f"{value!r} ({type(value).__name__})"
