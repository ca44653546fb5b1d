"""Checks of settings that several strategies have."""

from collections.abc import Collection, Sequence
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.values import integer, number


def check_count(name: str, count: Any, unit: str, *, low: int = 0) -> int:
    """Return a number of things as an integer.

    Args:
        name: Name of the setting, for messages.
        count: The given value.
        unit: Word for the things that are counted, in the plural.
        low: Lowest allowed number.

    Raises:
        UsageError: It is not an integer, or below `low`.

    Example:
        >>> check_count("burn_in", 2, "intervals")
        2
    """
    try:
        checked = integer(count)
    except UsageError:
        checked = low - 1
    if checked < low:
        raise UsageError(f"{name}: expected a number of {unit}, {low} or more, got {count!r}")
    return checked


def check_between(name: str, given: Any, low: float, high: float) -> float:
    """Return a number in [low, high] as a float; `high` may be infinite.

    Raises:
        UsageError: It is not a finite number in the range; the message starts with the name.

    Example:
        >>> check_between("alpha", 0.05, 0.0, 1.0)
        0.05
    """
    allowed = f"{low:g} or more" if high == float("inf") else f"in [{low:g}, {high:g}]"
    try:
        checked = number(given)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if not low <= checked <= high:
        raise UsageError(f"{name}: expected a number {allowed}, got {given!r}")
    return checked


def check_option(name: str, given: Any, options: Collection[str]) -> str:
    """Return one of several words.

    Raises:
        UsageError: It is none of them; the message starts with the name.

    Example:
        >>> check_option("rule", "rank", ("rank", "deviation"))
        'rank'
    """
    if not isinstance(given, str) or given not in options:
        raise UsageError(f"{name}: expected {' or '.join(map(repr, options))}, got {given!r}")
    return given


def check_factor_range(given: Any) -> tuple[float, float]:
    """Return a range of factors as floats.

    Raises:
        UsageError: It is not two finite numbers, at least 1, the lower one first.

    Example:
        >>> check_factor_range([1.1, 1.5])
        (1.1, 1.5)
    """
    expected = "factor_range: expected two numbers, 1 <= low <= high, for example [1.1, 1.5]"
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise UsageError(f"{expected}, got {given!r}")
    low, high = (check_between("factor_range", factor, 1, float("inf")) for factor in given)
    if low > high:
        raise UsageError(f"{expected}, got {list(given)}")
    return low, high
