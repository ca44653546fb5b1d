"""Keys of the original's files: the sections that each may stand in, and the reader of its value."""

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from popgrad.config.values import short
from popgrad.core.choices import Choice, Ordinal
from popgrad.core.errors import UsageError
from popgrad.core.explore import check_factors
from popgrad.core.ranges import Integer, LogUniform, Uniform
from popgrad.core.space import Dimension
from popgrad.core.spelling import did_you_mean
from popgrad.core.values import EXACT, is_number

Sections = Mapping[str, Mapping[str, Any]]
Reader = Callable[[Any], Any]
"""A value of a file -> typed value. Raises ValueError that holds what is expected."""

LAYERS = {"fc": "n_hiddens", "conv": "n_filters"}
"""Network -> the key of its layers' widths."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_BOOLEANS = {"0": False, "1": True, "false": False, "true": True}


def read(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the values of a file, each checked and in its type, for every section.

    Args:
        values: Keys and values by section; keys with the value None, JSON's null, are left out.

    Returns:
        Typed values by section and key; the value of a PBT_ key is a `Dimension`.

    Raises:
        UsageError: An unknown section or key, or a value of the wrong kind.

    Example:
        >>> read({"general": {"n_hiddens": "16,32"}})["general"]
        {'n_hiddens': [16, 32]}
    """
    sections: dict[str, dict[str, Any]] = {section: {} for section in KEYS}
    for section, table in values.items():
        if section not in KEYS:
            listing = f"; known are {', '.join(KEYS)}"
            raise UsageError(
                f"unknown section {short(section)}{did_you_mean(section, KEYS) or listing}"
            )
        if not isinstance(table, Mapping):
            raise UsageError(f"{section}: expected a table of keys, got {short(table)}")

        for key, value in table.items():
            reader = _reader(section, key)
            if value is not None:
                sections[section][key] = _read_value(reader, value, f"{section}.{key}")
    return sections


def _read_value(reader: Reader, value: Any, path: str) -> Any:
    try:
        return reader(value)
    except UsageError as error:  # of the search space, which names what it got
        raise UsageError(f"{path}: {error}") from None
    except ValueError as error:
        raise UsageError(f"{path}: expected {error}, got {short(value)}") from None


def _reader(section: str, key: Any) -> Reader:
    """Return the reader of a key, and refuse a key that is unknown."""
    if section == "train" and isinstance(key, str) and key.startswith("PBT_"):
        name = key.removeprefix("PBT_")
        if name not in _SEARCHED:
            names = [f"PBT_{known}" for known in _SEARCHED]
            listing = f"; known are {', '.join(_SEARCHED)}"
            raise UsageError(
                f"{short(key)} in train cannot be searched{did_you_mean(key, names) or listing}"
            )
        return lambda value: _dimension(name, value)

    if key not in KEYS[section]:
        known = ", ".join(KEYS[section]) + (", PBT_..." if section == "train" else "")
        similar = did_you_mean(key, KEYS[section]) or f"; known are {known}"
        raise UsageError(f"unknown key {short(key)} in {section}{similar}")
    return KEYS[section][key]


def _dimension(key: str, value: Any) -> Dimension:
    """Return a range for two numbers, in either order, and choices in order of size for more."""
    reader = _SEARCHED[key]
    options = _list(reader)(value)
    if len(options) < 2:
        raise ValueError("two values (a range) or more (choices)")

    init_only = key in ("batch_norm", *LAYERS.values())
    if reader is _boolean:
        return Choice(tuple(options), init_only=init_only)
    low, *between, high = sorted(options)
    if between:
        return Ordinal((low, *between, high), init_only=init_only)
    if isinstance(low, int):
        return Integer(low, high, init_only=init_only)
    return LogUniform(low, high) if key == "lr" else Uniform(low, high)


# --- readers ----------------------------------------------------------------------------------------
# A ValueError raised here holds what is expected, as it follows the word "expected" in a message.


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    return value.strip()


def _model(value: Any) -> str:
    if value not in tuple(LAYERS):
        raise ValueError(" or ".join(LAYERS))
    return str(value)


def _metric(value: Any) -> str:
    name = _string(value)
    return "accuracy" if name == "accuracy_categ" else name  # two names of one metric


def _boolean(value: Any) -> bool:
    text = str(int(value)) if value in (0, 1) else value
    if isinstance(text, str):
        text = text.strip().lower()
        if text in _BOOLEANS:
            return _BOOLEANS[text]
    raise ValueError("1 or 0")


def _number(low: float, high: float, expected: str) -> Callable[[Any], float]:
    """Return a reader of floats in [low, high], given as numbers or strings."""

    def read(value: Any) -> float:
        number = value
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            number = float(value)
        if not is_number(number) or not low <= number <= high or math.isinf(number):
            raise ValueError(expected)
        return float(number)

    return read


def _integer(low: int) -> Callable[[Any], int]:
    """Return a reader of integers from `low` on, given as numbers or strings."""
    expected = f"an integer, at least {low}"
    number = _number(low, EXACT, expected)

    def read(value: Any) -> int:
        exact = number(value)
        if not exact.is_integer():
            raise ValueError(expected)
        return int(exact)

    return read


def _list(reader: Reader) -> Callable[[Any], list[Any]]:
    """Return a reader of lists: "16,32", [16, 32] or a single value; an empty string is an empty list."""

    def read(value: Any) -> list[Any]:
        if isinstance(value, str):
            value = value.split(",") if value.strip() else []
        items = value if isinstance(value, list | tuple) else [value]
        try:
            return [reader(item) for item in items]
        except ValueError as error:
            raise ValueError(f'a list such as "1,2", each {error}') from None

    return read


def _factors(value: Any) -> list[float]:
    return list(check_factors(_list(_POSITIVE)(value)))


def _layers(value: Any) -> list[int]:
    widths = _list(_integer(1))(value)
    if not widths:
        raise ValueError("at least one layer")
    return widths


_POSITIVE = _number(sys.float_info.min, sys.float_info.max, "a number above 0")
_NOT_NEGATIVE = _number(0, sys.float_info.max, "a number, at least 0")
_SHARE = _number(0, 1, "a number from 0 to 1")
_BETA = _number(0, math.nextafter(1, 0), "a number from 0 to below 1")


# --- keys -------------------------------------------------------------------------------------------

SHAPE = {key: _integer(1) for key in ("height", "width", "num_channels", "num_classes")}
"""Keys of the shape of images and the number of classes."""

LOADER: dict[str, Reader] = {
    "crop": _boolean,
    "crop_shift": _integer(0),
    "hflip": _boolean,
    "vflip": _boolean,
    "shuffle": _boolean,
}
"""Keys of the order and the augmentation of training images."""

_SEARCHED: dict[str, Reader] = {
    "lr": _POSITIVE,
    "keep_prob": _SHARE,
    "weight_decay": _NOT_NEGATIVE,
    "batch_size": _integer(1),
    "beta1": _BETA,
    "beta2": _BETA,
    "eps": _POSITIVE,
    "n_hiddens": _integer(1),
    "n_filters": _integer(1),
    "batch_norm": _boolean,
}
"""Keys that can be searched, by a key with PBT_ before it."""

_TESTED: dict[str, Reader] = {
    "version": _string,
    "load_ckpt": _string,
    "batch_size": _integer(1),
    "gpus": _list(_integer(0)),
}
"""Keys that train, test and val share."""

KEYS: dict[str, dict[str, Reader]] = {
    "general": {
        **dict.fromkeys(("data_dir", "train_dir", "data_loader", "load_ckpt"), _string),
        "model": _model,
        "metric": _metric,
        **SHAPE,
        **dict.fromkeys(LAYERS.values(), _layers),
        "batch_norm": _boolean,
        "seed": _integer(0),
        "worker_num": _integer(0),
        **LOADER,
    },
    "train": {
        **_TESTED,
        "metric": _metric,
        **{key: _SEARCHED[key] for key in ("lr", "keep_prob", "weight_decay")},
        **{key: _integer(1) for key in ("num_epochs", "num_epochs_tot", "num_iters_for_ckpt")},
        "decreasing_lr_epochs": _list(_integer(1)),
        "num_worker_tot": _integer(2),
        "num_workers_paral": _integer(1),
        "mutation": _factors,
        **LOADER,
    },
    "test": {**_TESTED, "sleep_time_sec": _NOT_NEGATIVE},
    "val": {**_TESTED, "val": _string},
}
"""Every known key except for the PBT_ ones, by section."""
