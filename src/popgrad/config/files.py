"""Configurations as files: read from TOML and JSON, written as TOML, changed by `--set` settings."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from popgrad.config.model import RunConfig
from popgrad.config.values import plain
from popgrad.core.errors import UsageError
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT, parse_json, parse_toml


def read(path: Path) -> dict[str, Any]:
    """Return the plain values of a TOML or JSON file.

    Raises:
        UsageError: The file cannot be read, or is neither.
    """
    text = _read_text(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        values = parse_json(text) if kind == "JSON" else parse_toml(text)
    # Beside its own errors, a ValueError is raised for an integer of thousands of digits.
    except ValueError as error:
        raise UsageError(f"{path} is not {kind}: {error}") from None

    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a table of keys, got a {type(values).__name__}")
    return plain(values, str(path))  # type: ignore[no-any-return]


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path, TEXT).decode()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
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
        return parse_toml(f"x = {text}")["x"]
    except ValueError:
        return text
