"""The keys of the original's files: where each may stand, and how its value is read."""

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from popgrad.core.choices import Choice, Ordinal
from popgrad.core.errors import UsageError
from popgrad.core.explore import check_factors
from popgrad.core.ranges import Integer, LogUniform, Uniform
from popgrad.core.space import Dimension
from popgrad.core.values import EXACT, is_number

Sections = Mapping[str, Mapping[str, Any]]
Reader = Callable[[Any], Any]
"""A value as given -> typed. Raises ValueError that says what is allowed."""

LAYERS = {"fc": "n_hiddens", "conv": "n_filters"}
"""Network -> the key of its layers' widths."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def read(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A file's values, each checked and in its type; all sections are there.

    A PBT_ key gives a `Dimension`; what JSON holds as null is left out.

    Raises:
        UsageError: An unknown section or key, or a value that is not allowed.
    """
    sections: dict[str, dict[str, Any]] = {section: {} for section in KEYS}
    for section, table in values.items():
        if section not in KEYS:
            raise UsageError(f"unknown section {_shown(section)}; known are {', '.join(KEYS)}")
        if not isinstance(table, Mapping):
            raise UsageError(f"{section}: given {_shown(table)}; a table of keys is allowed")
        for key, value in table.items():
            reader = _reader(section, key)
            if value is None:  # JSON's null
                continue
            try:
                sections[section][key] = reader(value)
            except ValueError as error:
                raise UsageError(f"{section}.{key}: given {_shown(value)}; {error}") from None
    return sections


def _reader(section: str, key: Any) -> Reader:
    if section == "train" and isinstance(key, str) and key.startswith("PBT_"):
        if key.removeprefix("PBT_") not in _SEARCHED:
            raise UsageError(
                f"{_shown(key)} in train cannot be searched; known are {', '.join(_SEARCHED)}"
            )
        return lambda value: _dimension(key.removeprefix("PBT_"), value)
    if key not in KEYS[section]:
        known = ", ".join(KEYS[section]) + (", PBT_..." if section == "train" else "")
        raise UsageError(f"unknown key {_shown(key)} in {section}; known are {known}")
    return KEYS[section][key]


def _shown(value: object) -> str:
    """A value in one short line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of thousands of digits
        text = "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dimension(key: str, value: Any) -> Dimension:
    """Two numbers = a range, in either order; more = choices, in order of size."""
    reader = _SEARCHED[key]
    given = _list(reader)(value)
    if len(given) < 2:
        raise ValueError("two values (a range) or more (choices) are allowed")
    init_only = key in ("batch_norm", *LAYERS.values())
    if reader is _flag:
        return Choice(tuple(given), init_only=init_only)
    low, *between, high = sorted(given)
    if between:
        return Ordinal((low, *between, high), init_only=init_only)
    if isinstance(low, int):
        return Integer(low, high, init_only=init_only)
    return LogUniform(low, high) if key == "lr" else Uniform(low, high)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is allowed")
    return value.strip()


def _model(value: Any) -> str:
    if value not in tuple(LAYERS):
        raise ValueError(f"{' or '.join(LAYERS)} is allowed")
    return str(value)


def _metric(value: Any) -> str:
    return "accuracy" if _text(value) == "accuracy_categ" else _text(value)  # one number, two names


def _flag(value: Any) -> bool:
    texts = {"0": False, "1": True, "false": False, "true": True}
    text = (
        value.strip().lower()
        if isinstance(value, str)
        else str(int(value))
        if value in (0, 1)
        else ""
    )
    if text not in texts:
        raise ValueError("1 or 0 is allowed")
    return texts[text]


def _number(low: float, high: float, allowed: str) -> Callable[[Any], float]:
    """A float in [low, high], given as a number or a text."""

    def read(value: Any) -> float:
        number = (
            float(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value
        )
        if not is_number(number) or not low <= number <= high or math.isinf(number):
            raise ValueError(f"{allowed} is allowed")
        return float(number)

    return read


def _whole(low: int) -> Callable[[Any], int]:
    """An integer from `low` on, in one of the ways of `_number`."""
    allowed = f"a whole number from {low}"
    number = _number(low, EXACT, allowed)

    def read(value: Any) -> int:
        given = number(value)
        if not given.is_integer():
            raise ValueError(f"{allowed} is allowed")
        return int(given)

    return read


def _list(reader: Reader) -> Callable[[Any], list[Any]]:
    """Values as "16,32" or [16, 32], or a single one as it is; an empty text has none."""

    def read(value: Any) -> list[Any]:
        if isinstance(value, str):
            value = value.split(",") if value.strip() else []
        try:
            return [
                reader(each) for each in (value if isinstance(value, list | tuple) else [value])
            ]
        except ValueError as error:
            raise ValueError(f'in a list such as "1,2", {error} for each') from None

    return read


def _factors(value: Any) -> list[float]:
    return list(check_factors(_list(_POSITIVE)(value)))


def _layers(value: Any) -> list[int]:
    widths = _list(_whole(1))(value)
    if not widths:
        raise ValueError("at least one layer is needed")
    return widths


_POSITIVE = _number(sys.float_info.min, sys.float_info.max, "a number above 0")
_NOT_NEGATIVE = _number(0, sys.float_info.max, "a number from 0")
_SHARE = _number(0, 1, "a number from 0 to 1")
_BETA = _number(0, math.nextafter(1, 0), "a number from 0 to below 1")
SHAPE = {key: _whole(1) for key in ("height", "width", "num_channels", "num_classes")}
LOADER: dict[str, Reader] = {
    "crop": _flag,
    "crop_shift": _whole(0),
    "hflip": _flag,
    "vflip": _flag,
    "shuffle": _flag,
}
_SEARCHED: dict[str, Reader] = {
    "lr": _POSITIVE,
    "keep_prob": _SHARE,
    "weight_decay": _NOT_NEGATIVE,
    "batch_size": _whole(1),
    "beta1": _BETA,
    "beta2": _BETA,
    "eps": _POSITIVE,
    "n_hiddens": _whole(1),
    "n_filters": _whole(1),
    "batch_norm": _flag,
}
_TESTED: dict[str, Reader] = {
    "version": _text,
    "load_ckpt": _text,
    "batch_size": _whole(1),
    "gpus": _list(_whole(0)),
}
KEYS: dict[str, dict[str, Reader]] = {
    "general": {
        **dict.fromkeys(("data_dir", "train_dir", "data_loader", "load_ckpt"), _text),
        "model": _model,
        "metric": _metric,
        **SHAPE,
        **dict.fromkeys(LAYERS.values(), _layers),
        "batch_norm": _flag,
        "seed": _whole(0),
        "worker_num": _whole(0),
        **LOADER,
    },
    "train": {
        **_TESTED,
        "metric": _metric,
        **{key: _SEARCHED[key] for key in ("lr", "keep_prob", "weight_decay")},
        **{key: _whole(1) for key in ("num_epochs", "num_epochs_tot", "num_iters_for_ckpt")},
        "decreasing_lr_epochs": _list(_whole(1)),
        "num_worker_tot": _whole(2),
        "num_workers_paral": _whole(1),
        "mutation": _factors,
        **LOADER,
    },
    "test": {**_TESTED, "sleep_time_sec": _NOT_NEGATIVE},
    "val": {**_TESTED, "val": _text},
}
"""Every known key but for the PBT_ ones, by section."""
