"""Arguments of the command line: a configuration, an existing run, the directory of a new one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.config.original import convert, is_original
from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT, parse_json, parse_toml
from popgrad.record.check import check_record
from popgrad.record.record import Record
from popgrad.record.timings import Activity, Timings, controller_seconds, timings
from popgrad.runs.status import Status, run_status
from popgrad.store.directory import find_run

if TYPE_CHECKING:
    from popgrad.runs.result import Result


def read_config(
    what: str,
    keys: Mapping[str, Any],
    strategy: Mapping[str, Any],
    settings: Sequence[str],
    *,
    mode: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> tuple[RunConfig, list[str]]:
    """Return the configuration of a file or a task, with options over it, and settings over these.

    Args:
        what: A TOML or JSON file, also one of the original project's, or the name of a task.
        keys: Options by key; None values were not given.
        strategy: Name and settings of the strategy; None values were not given.
        settings: Settings "key=value", over everything else.
        mode: Mode of the original's `test` and `val`, which have sections of their own.
        defaults: Values for keys that neither the file nor an option sets.

    Returns:
        The configuration, and notes on keys of an original file that have no effect.

    Raises:
        UsageError: The file cannot be read, or a value is not allowed.
    """
    values, notes = _read(what, mode)
    if values.get("task") == "study" and "lease" in values:
        raise UsageError(
            f"{what} describes a study, which has no task to train: create one by `popgrad study DIR {what}`"
        )
    keys = {key: value for key, value in keys.items() if value is not None}
    if {"intervals", "epochs"} <= keys.keys():
        raise UsageError("intervals, epochs: given both, which set the same length; give one")
    if "intervals" in keys:
        values.pop("epochs", None)
    values = {**(defaults or {}), **values, **keys}

    chosen = {key: value for key, value in strategy.items() if value is not None}
    if chosen:
        values["strategy"] = _merge_strategy(values.get("strategy", {}), chosen)
    config = configuration.parse(configuration.override(values, settings))
    if config.load is None:
        from popgrad.tasks.reference import full_reference

        config = config.model_copy(update={"task": full_reference(config.task)})
    return config, notes


def _read(what: str, mode: str) -> tuple[dict[str, Any], list[str]]:
    """Plain values of a file, or of a task alone, and notes."""
    if not what.endswith((".toml", ".json")):
        return {"task": what}, []
    values = configuration.read(Path(what))
    return convert(values, name=what, mode=mode) if is_original(values) else (values, [])


def _merge_strategy(before: Any, chosen: dict[str, Any]) -> Any:
    """Return the strategy of a file with options over it. Settings of another strategy are dropped."""
    if isinstance(before, str):
        before = {"name": before}
    if not isinstance(before, dict):
        return before  # `parse` refuses it
    if chosen.get("name", before.get("name")) != before.get("name"):
        before = {}
    return {**before, **chosen}


def read_initial(path: Path) -> list[Any]:
    """Read hyperparameters of the first members from a TOML or JSON file.

    It holds a list of tables, or a table with the key "initial" or "hparams" (as the best.json of a run).

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    try:
        text = read_bytes(path, TEXT).decode()
        values = parse_toml(text) if path.suffix == ".toml" else parse_json(text)
    except OSError as error:
        raise UsageError(f"--initial: cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"--initial: cannot read {path}: {error}") from None

    if isinstance(values, dict):
        values = values.get("initial", [values["hparams"]] if "hparams" in values else None)
    if not isinstance(values, list) or not all(isinstance(table, dict) for table in values):
        raise UsageError(
            f'--initial: {path} holds no list of hyperparameters, such as [{{"lr": 0.01}}]'
        )
    return values


def new_directory(config: RunConfig) -> Path:
    """Create a directory for a run, also if another run starts in the same second."""
    place, _, name = config.task.rpartition(":")
    if place.endswith(".py"):
        stem = Path(place).stem
    else:
        stem = ".".join(filter(None, (place, name)))

    base = Path(config.runs_dir) / f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    for path in (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 1000))):
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"the directory {path} cannot be created: {error.strerror}; choose another with --dir"
            ) from None
        return path
    raise UsageError(f"the directory {base} and its like are taken: choose another with --dir")


@dataclass(frozen=True)
class RecordedRun:
    """A run as far as its journal has it.

    Attributes:
        directory: Directory of the run.
        record: Its record.
        telemetry: Telemetry by segment.
        process: Number of the process that works on it; "" = none does.
        controller_seconds: Seconds of the controller by activity, of all sessions that have ended.
    """

    directory: Path
    record: Record
    telemetry: Mapping[SegmentId, Telemetry]
    process: str
    controller_seconds: Mapping[Activity, float]

    @property
    def timings(self) -> Timings:
        """Time of the run, divided."""
        return timings(self.telemetry, self.controller_seconds)

    @property
    def status(self) -> Status:
        """Status of the run: in progress, interrupted, or finished."""
        return run_status(self.record, self.telemetry, self.process)


def read_run(directory: Path) -> RecordedRun:
    """Read the run in a directory, as far as it has come; needs no torch.

    Raises:
        UsageError: The directory holds no run.
        RunError: The record is damaged.
    """
    opened = find_run(directory, "DIR")
    # Read before the record: a run that ends in between is finished, and not interrupted.
    process = opened.holder()
    with opened.reading() as journal:
        record = journal.record()
        telemetry = journal.telemetry()
        spent = controller_seconds(journal.about())
    check_record(replace(record, decisions=()))
    configuration.parse(record.config)
    return RecordedRun(directory.absolute(), record, telemetry, process, spent)


def open_run(directory: Path) -> "Result":
    """Open the run in a directory, as far as it has come; no code of its task is run.

    Raises:
        UsageError: The directory holds no run.
    """
    from popgrad.runs.api import load

    find_run(directory, "DIR")
    return load(directory)
