"""Numbers and values as strict JSON, which has neither nan nor infinities."""

import json
import math
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
"""An object of plain JSON."""


def plain_number(value: float) -> float | None:
    """Return a number, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def plain(value: object) -> Any:
    """Return a value as strict JSON: numbers that are not finite as words, tuples as lists.

    Example:
        >>> plain({"loss": float("inf"), "sizes": (1, 2)})
        {'loss': 'inf', 'sizes': [1, 2]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def text(value: object) -> str:
    """Return a value as the text of strict JSON, without a space."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
