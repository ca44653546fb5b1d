"""Values of a configuration: plain data, and the types of keys with what each accepts."""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from popgrad.core.errors import UsageError
from popgrad.core.interval import parse_interval

_DEPTH = 16
"""Deepest nesting of tables and lists; the deepest known value, an option of a dimension, has 4."""

_MOST_ITEMS = 100_000
"""Most entries of a list: hyperparameters of the members, or phases of a schedule."""

_MOST_KEYS = 1_000
"""Most keys of a table."""

_HUGE = 2**64
"""Bound of integers. Larger ones count nothing, and Python may refuse to print them."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


# --- types of keys ----------------------------------------------------------------------------------
# A ValueError raised here holds what is expected, as it follows the word "expected" in a message.


def _refuse_boolean(expected: str) -> Callable[[object], object]:
    def refuse(value: object) -> object:
        if isinstance(value, bool):  # Python takes it for 0 or 1
            raise ValueError(expected)
        if isinstance(value, str) and not value.isascii():  # Python reads the digits of any script
            raise ValueError(f"{expected} in the digits 0 to 9")
        return value

    return refuse


def _refuse_huge(value: int) -> int:
    if abs(value) >= _HUGE:  # read from a string; `plain` has refused the others
        raise ValueError("an integer of at most 64 bits")
    return value


def _refuse_nul(value: object) -> object:
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a path or URL without NUL characters")
    return value


def _to_seconds(value: object) -> float:
    """Convert "90s", "10m", "1.5h" or "2d" to seconds; leave numbers as they are."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)

    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([smhd]?)\s*", str(value))
    try:
        if match is not None and isinstance(value, str):
            return float(match[1]) * _UNITS[match[2] or "s"]
    except ValueError:  # several points
        pass
    raise ValueError('a time: seconds such as 90, or "90s", "10m", "2h"')


def _check_dimension(value: object) -> object:
    if not isinstance(value, Mapping):
        example = 'kind = "log_uniform", low = 0.0001, high = 0.1'
        raise ValueError(f"a dimension such as LogUniform(0.0001, 0.1), in a file {{{example}}}")
    return value


def _check_hparams(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("a table of hyperparameters such as {lr = 0.01}")
    return value


def _to_interval(value: object) -> str:
    expected = (
        'a number of steps ("275"; "100 steps within epochs") or of epochs ("1 epoch"), at least 1'
    )
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(expected)
    try:
        interval = parse_interval(str(value))
    except ValueError:
        raise ValueError(expected) from None
    if interval.count >= 2**63:  # the journal cannot hold it
        raise ValueError("less than 2^63 steps or epochs")
    return str(value)


def _to_names(value: object) -> object:
    """Convert "a,b", or a list of such strings, to the names; a name that is repeated counts once."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('names such as "mlflow" or ["mlflow", "tensorboard"]')
    names = [name.strip() for text in texts for name in text.split(",")]
    return list(dict.fromkeys(name for name in names if name))


TrackerName = Literal["tensorboard", "mlflow", "wandb"]
"""Names of the built-in trackers."""

# `json_schema_input_type` is what a value may be written as; signatures and pages show it.
Integer = Annotated[
    int, BeforeValidator(_refuse_boolean("an integer")), AfterValidator(_refuse_huge)
]
Number = Annotated[float, BeforeValidator(_refuse_boolean("a number"))]
DimensionTable = Annotated[dict[str, Any], BeforeValidator(_check_dimension)]
HparamsTable = Annotated[dict[str, Any], BeforeValidator(_check_hparams)]
Seconds = Annotated[Number, BeforeValidator(_to_seconds, json_schema_input_type=float | str)]
IntervalText = Annotated[str, BeforeValidator(_to_interval, json_schema_input_type=int | str)]
TrackerNames = Annotated[
    list[TrackerName],
    BeforeValidator(_to_names, json_schema_input_type=str | list[str]),
]
UrlText = Annotated[str, BeforeValidator(_refuse_nul)]
PathText = Annotated[str, BeforeValidator(_refuse_nul, json_schema_input_type=str | Path)]


# --- plain data -------------------------------------------------------------------------------------


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """Return a value as tables, lists, strings, numbers and booleans, as TOML and JSON hold them.

    Numbers of NumPy, tuples and paths are converted; None values in tables are left out.

    Args:
        value: Value of any type.
        where: Key or file that holds it, for messages.
        depth: Number of tables and lists around it.

    Raises:
        UsageError: The value holds something else, or is nested too deeply.
    """
    if depth > _DEPTH:
        raise UsageError(f"{where[:80]}: nested more than {_DEPTH} deep; a configuration is flat")

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)

    if isinstance(value, Mapping):
        return _plain_table(value, where, depth)
    if isinstance(value, list | tuple):
        _check_count(len(value), _MOST_ITEMS, where)
        return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, str):
        _check_characters(value, where)
        return value
    if isinstance(value, int) and abs(value) >= _HUGE:
        raise UsageError(
            f"{where}: expected an integer of at most 64 bits, got a larger one; it would count nothing"
        )
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UsageError(
        f"{where}: expected strings, finite numbers, true, false, lists and tables, got {short(value)}"
    )


def _plain_table(table: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    _check_count(len(table), _MOST_KEYS, where)
    for key in table:
        if not isinstance(key, str):
            raise UsageError(f"{where}: expected strings as keys, got {key!r}")
        _check_characters(key, f"{where}: a key")

    result = {}
    for key, value in table.items():
        if value is not None:
            path = f"{where}.{key_text(key)}" if depth else key_text(key)
            result[key] = plain(value, path, depth + 1)
    return result


def _check_count(count: int, most: int, where: str) -> None:
    if count > most:
        raise UsageError(f"{where[:80]}: expected at most {most:,} entries, got {count:,}")


def _check_characters(text: str, where: str) -> None:
    """Refuse lone surrogates: JSON can write them as an escape, but no file can hold them."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{where}: expected a string without lone surrogates, got {short(text)}")


# --- values in messages -----------------------------------------------------------------------------


def key_text(key: str) -> str:
    """Return a key as a message shows it: quoted unless it is a plain word."""
    return key if re.fullmatch(r"[\w-]{1,80}", key) else short(key)


def short(value: object) -> str:
    """Return a value in one short line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python refuses to print an integer of thousands of digits
        text = "a huge number"
    return text if len(text) <= 100 else f"{text[:97]}..."
