"""What a command line asks for: a configuration, a run that there is, the place of a new one."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from popgrad import config as configuration
from popgrad.config.model import RunConfig
from popgrad.config.original import convert, is_original
from popgrad.core.errors import UsageError
from popgrad.runs.api import load
from popgrad.runs.result import Result
from popgrad.store.directory import Directory


def read_config(
    what: str,
    given: Mapping[str, Any],
    strategy: Mapping[str, Any],
    settings: Sequence[str],
    *,
    mode: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> tuple[RunConfig, list[str]]:
    """The configuration of a file or a task, with the options over it, and the settings over these.

    Args:
        what: A TOML or JSON file, also one of the original project's, or the name of a task.
        given: Options by key; what is None was not given.
        strategy: The strategy's name and settings, likewise.
        settings: "key=value", over everything.
        mode: The mode of the original's `test` and `val`, which have sections of their own.
        defaults: What holds where neither the file nor an option says anything.

    Returns:
        The configuration, and notes on what of an original file has no effect.

    Raises:
        UsageError: The file cannot be read, or a value is not allowed.
    """
    values, notes = _read(what, mode)
    options = {key: value for key, value in given.items() if value is not None}
    if {"intervals", "epochs"} <= options.keys():
        raise UsageError("intervals, epochs: given both; they say the same thing, give one")
    if "intervals" in options:
        values.pop("epochs", None)
    values = {**(defaults or {}), **values, **options}
    if chosen := {key: value for key, value in strategy.items() if value is not None}:
        before = values.get("strategy", {})
        before = {"name": before} if isinstance(before, str) else before
        if isinstance(before, dict) and chosen.get("name", before.get("name")) != before.get(
            "name"
        ):
            before = {}  # the settings were another strategy's
        values["strategy"] = {**before, **chosen} if isinstance(before, dict) else before
    return configuration.parse(configuration.override(values, settings)), notes


def _read(what: str, mode: str) -> tuple[dict[str, Any], list[str]]:
    if not what.endswith((".toml", ".json")):
        return {"task": what}, []
    values = configuration.read(Path(what))
    return convert(values, name=what, mode=mode) if is_original(values) else (values, [])


def read_initial(path: Path) -> list[Any]:
    """Hyperparameters of the first members from a TOML or JSON file.

    It holds a list of tables, or a table with the key "initial" or "hparams" (as the best.json of a run).

    Raises:
        UsageError: It cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--initial: cannot read {path}: {error}") from None
    if isinstance(values, dict):
        values = values.get("initial", [values["hparams"]] if "hparams" in values else None)
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise UsageError(
            f'--initial: {path} holds no list of hyperparameters, such as [{{"lr": 0.01}}]'
        )
    return values


def new_directory(config: RunConfig) -> Path:
    """Make a directory that nobody else has, also not a run that starts in the same second."""
    place, _, name = config.task.rpartition(":")
    stem = Path(place).stem if place.endswith(".py") else ".".join(filter(None, (place, name)))
    base = Path(config.runs_dir) / f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    for path in (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 1000))):
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"the directory {path} cannot be made: {error.strerror}; name another by --dir"
            ) from None
        return path
    raise UsageError(f"the directory {base} and its like are taken: name another by --dir")


def of_run(directory: Path) -> Path:
    """The directory, which holds a run.

    Raises:
        UsageError: It holds none.
    """
    try:
        there = Directory(directory).journal.is_file()
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"DIR: given {str(directory)[:80]}: {error.strerror}") from None
    if not there:
        raise UsageError(
            f"DIR: given {directory}, which holds no run (there is no journal.db in it)"
        )
    return directory


def open_run(directory: Path) -> Result:
    """The run in a directory, as far as it has come; no code of its task is run.

    Raises:
        UsageError: It holds no run.
    """
    return load(of_run(directory))
