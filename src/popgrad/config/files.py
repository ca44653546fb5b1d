"""Configurations as files: read from TOML and JSON, written as TOML, changed by `--set` settings."""

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
"""Largest size of a file in bytes; hyperparameters of 100,000 members take less."""


def read(path: Path) -> dict[str, Any]:
    """Return the plain values of a TOML or JSON file.

    Raises:
        UsageError: The file cannot be read, or is neither.
    """
    text = _read_text(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        values = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    # Beside its own errors, a ValueError is raised for an integer of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not {kind}: {error}") from None

    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a table of keys, got a {type(values).__name__}")
    return plain(values, str(path))  # type: ignore[no-any-return]


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise UsageError(f"cannot read {path}: it is not a file")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"cannot read {path}: it is larger than {_LARGEST >> 20} MiB")
        return content.decode()
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def write(config: RunConfig, *, brief: bool = False) -> str:
    """Return the configuration as TOML, which `read` and `parse` accept.

    Args:
        config: Configuration of a run.
        brief: Whether to leave out values that are the default.
    """
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True, exclude_defaults=brief))


def override(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return values changed by "key=value" settings; a dot enters a table ("strategy.fraction=0.3").

    A value is read as TOML (number, true, [list], {table}, "quoted"), else as a string. A key that no
    configuration has is an argument of the task: "batch_size=64" is "options.batch_size=64".

    Args:
        values: Plain values of a configuration; they are not modified.
        settings: Settings in the order in which they apply.

    Raises:
        UsageError: A setting has no "=", or enters a value that is not a table.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise UsageError(
                f"--set: expected key=value, such as seed=1 or strategy.fraction=0.25, got {setting!r}"
            )
        if path[0] not in RunConfig.model_fields:
            path = ["options", *path]

        table = result
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UsageError(f"--set: {part!r} is not a table, got {setting!r}")
        table[path[-1]] = _read_value(text.strip())
    return result


def _read_value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):
        return text
