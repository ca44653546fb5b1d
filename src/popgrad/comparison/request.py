"""The request of a benchmark as a file: what all of its runs share, so that it continues as it began."""

import json
from pathlib import Path
from typing import Any

from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT, parse_json
from popgrad.runs.advice import shown_path
from popgrad.store.atomic import replacing

_FILE = "benchmark.json"

RESUMED = ("executor", "workers", "address", "device", "fail_fast", "data_dir", "max_time")
"""Keys that an unfinished run is resumed with."""

_FREE = (
    *RESUMED,
    *("cpus", "gpus", "check", "checkpoint_every", "durability", "log_every", "outputs", "refresh"),
    *("events", "tracker", "runs_dir", "made_with", "sleep", "strategy", "seed"),
)
"""Keys that may differ when a benchmark is continued."""


def begin(directory: Path, config: RunConfig, digest: str) -> None:
    """Write the request of a benchmark, or refuse one that differs from that of an earlier session.

    Args:
        directory: Directory of the benchmark; it is created if it does not exist.
        config: Configuration of all runs.
        digest: SHA-256 of the task's source; "" = the task is built in.

    Raises:
        UsageError: A key or the task has changed, or the directory holds something else.
    """
    request = {"keys": _shared(config), "source": digest}
    path = directory / _FILE
    if path.exists():
        _check_unchanged(request, path)
        return

    if (directory / "journal.db").exists():
        raise UsageError(
            f"--dir: {shown_path(directory)} holds a run, not a benchmark; choose another"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--dir: {directory} cannot be created: {error.strerror}") from None
    with replacing(path) as aside:
        aside.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")


def _shared(config: RunConfig) -> dict[str, Any]:
    """Return the keys that all runs of a benchmark share, as plain data."""
    values = config.model_dump(mode="json")
    return {key: value for key, value in values.items() if key not in _FREE}


def _check_unchanged(request: dict[str, Any], path: Path) -> None:
    try:
        recorded = parse_json(read_bytes(path, TEXT))
        before = dict(recorded["keys"])
        source = recorded["source"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UsageError(
            f"--dir: {shown_path(path)} describes no benchmark ({error}); choose another directory"
        ) from None

    where = shown_path(path.parent)
    for key, value in request["keys"].items():
        if before.get(key) != value:
            was = json.dumps(before.get(key))
            raise UsageError(
                f"{key}: the benchmark in {where} was started with {was:.100}, got "
                f"{json.dumps(value):.100}; its runs are compared, so they share it: give that, or another "
                "--dir"
            )
    if source != request["source"]:
        raise UsageError(
            f"task: its source has changed since the benchmark in {where} was started, so that its runs "
            "could not be compared; undo the change, or choose another --dir"
        )
