"""Configurations as files: read from TOML and JSON, written as TOML, with `--set` settings over them."""

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from popgrad.config.model import RunConfig
from popgrad.config.values import plain
from popgrad.core.errors import UsageError

_LARGEST = 16 << 20
"""Bytes of a file; hyperparameters of 100,000 members take less."""


def read(path: Path) -> dict[str, Any]:
    """The plain values of a TOML or JSON file.

    Raises:
        UsageError: It cannot be read, or is neither.
    """
    text = _text(path)
    try:
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: its own errors, and an integer without end
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise UsageError(f"{path} is not {kind}: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(
            f"{path} holds a {type(values).__name__}; a configuration is a table of keys"
        )
    return plain(values, str(path))  # type: ignore[no-any-return]


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device need not end
            raise UsageError(f"cannot read {path}: it is no file")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"cannot read {path}: it has more than {_LARGEST >> 20} MiB")
        return content.decode()
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def write(config: RunConfig, *, brief: bool = False) -> str:
    """The configuration as TOML, which `read` and `parse` take back; brief = without what is by default."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True, exclude_defaults=brief))


def override(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Values with "key=value" settings over them; a dot goes into a table ("strategy.fraction=0.3").

    A value is read as TOML (number, true, [list], {table}, "quoted"), else taken as text. A key that no
    configuration has is an argument of the task: "batch_size=64" is "options.batch_size=64".

    Raises:
        UsageError: A setting has no "=", or goes into something that is not a table.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise UsageError(
                f"--set {setting!r}: write key=value, such as seed=1 or strategy.fraction=0.25"
            )
        if path[0] not in RunConfig.model_fields:
            path = ["options", *path]
        table = result
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UsageError(f"--set {setting!r}: {part!r} is not a table")
        table[path[-1]] = _value(text.strip())
    return result


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):
        return text
