"""The command line: each command is a few lines over `run`, `load` and `report`."""

import functools
import inspect
import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from popgrad import config as configuration
from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.data import DATASETS, data_dir, download
from popgrad.display import watching
from popgrad.engine import Watch
from popgrad.parts import make_parts
from popgrad.result import Result
from popgrad.run import load, start
from popgrad.run import resume as go_on
from popgrad.tasks import TASKS

app = typer.Typer(
    help="Population Based Training for PyTorch: a trained model, and the hyperparameter schedule that trained it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_DataDir = Annotated[Path | None, typer.Option("--data-dir", help="where data lies; else POPGRAD_DATA, else the cache")]
_Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
_Run = Annotated[Path, typer.Argument(metavar="DIR", help="the directory of a run")]


def main() -> None:
    """Exit codes: 0, 2 for a user's mistake, 1 for a failure of ours or of a run, 130 for Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(handlers=[_ToConsole()], format="popgrad: %(message)s")
    try:
        code = typer.main.get_command(app).main(prog_name="popgrad", standalone_mode=False)
    except Exception as error:
        message = getattr(error, "format_message", None)  # a command line that typer cannot read
        if message is None:
            raise
        _complain(f"{message()} (popgrad {' '.join(sys.argv[1:2])} --help says what there is)")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


class _ToConsole(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        err.print(self.format(record), markup=False, soft_wrap=True)


def _complain(message: str) -> None:
    err.print(f"popgrad: {message}", markup=False, soft_wrap=True)


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors become one line and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except PopgradError as error:
            _complain(str(error))
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except KeyboardInterrupt:
            _complain("interrupted")
            raise typer.Exit(130) from None

    return app.command()(guarded)


@_command
def run(
    what: Annotated[str, typer.Argument(metavar="TASK|CONFIG", help="a task (see `popgrad tasks`), module:Name, file.py:Name, or a TOML or JSON file")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="any key of the configuration, or an option of the task")] = None,
    population: Annotated[int | None, typer.Option(help="members")] = None,
    intervals: Annotated[int | None, typer.Option(help="intervals that each member trains")] = None,
    interval: Annotated[str | None, typer.Option(help='training between two decisions: "275" steps or "1 epoch"')] = None,
    strategy: Annotated[str | None, typer.Option(help="pbt or random-search")] = None,
    fraction: Annotated[float | None, typer.Option(help="share replaced, and share that donates, 0 to 0.5")] = None,
    burn_in: Annotated[int | None, typer.Option(help="intervals before a member can be replaced")] = None,
    seed: Annotated[int | None, typer.Option(help="same seed, same run")] = None,
    executor: Annotated[str | None, typer.Option(help="processes or serial")] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes; one per core when not given")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:0,1 or auto")] = None,
    max_time: Annotated[str | None, typer.Option(help="start no further interval after this: 90s, 10m, 2h")] = None,
    target_score: Annotated[float | None, typer.Option(help="start no further interval at this score")] = None,
    initial: Annotated[Path | None, typer.Option(help="JSON list of the first members' hyperparameters")] = None,
    weights: Annotated[Path | None, typer.Option("--from", help="weights that every member starts from: a file or a run")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="where to keep the run; a new one under runs/ when not given")] = None,
    data: _DataDir = None,
    no_test: Annotated[bool, typer.Option("--no-test", help="leave the test split unread at the end")] = False,
    as_json: _Json = False,
) -> None:  # fmt: skip
    """Train a population, and show the winner and its schedule."""
    values: dict[str, Any] = configuration.read(Path(what)) if what.endswith((".toml", ".json")) else {"task": what}
    flags = {
        "population": population, "intervals": intervals, "interval": interval, "seed": seed, "executor": executor,
        "workers": workers, "device": device, "max_time": max_time, "target_score": target_score,
        "initial": None if initial is None else _initial(initial),
        "weights": None if weights is None else str(weights), "data_dir": None if data is None else str(data),
    }  # fmt: skip
    own = {"name": strategy, "fraction": fraction, "burn_in": burn_in}
    values |= {key: value for key, value in flags.items() if value is not None}
    if table := {key: value for key, value in own.items() if value is not None}:
        values["strategy"] = {**values.get("strategy", {}), **table}
    config = configuration.parse(configuration.override(values, settings or []))
    score = make_parts(config).task.score
    place = directory or _new_directory(config.task)
    with _resumable(place), watching(err, members=config.population, intervals=config.intervals, score=score) as watch:
        result = start(config, directory=place, watch=watch)
    _finish(result, read_test=not no_test, as_json=as_json)


@_command
def resume(
    directory: _Run,
    intervals: Annotated[int | None, typer.Option(help="intervals in all; as configured when not given")] = None,
    executor: Annotated[str | None, typer.Option(help="another executor than before")] = None,
    workers: Annotated[int | None, typer.Option(help="another number of workers")] = None,
    device: Annotated[str | None, typer.Option(help="another device; bits are promised on the recorded kind only")] = None,
    data: _DataDir = None,
    allow_changed_task: Annotated[bool, typer.Option("--allow-changed-task", help="go on although the task's source has changed")] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="leave the test split unread at the end")] = False,
    as_json: _Json = False,
) -> None:  # fmt: skip
    """Go on with a run: after an interruption, or for more intervals than it had."""
    before = load(directory)
    size, total, score = before.config.population, intervals or before.config.intervals, before.score_name
    with _resumable(directory), watching(err, members=size, intervals=total, score=score) as watch:
        result = go_on(
            directory, intervals=intervals, executor=executor, workers=workers, device=device, data_dir=data,
            allow_changed_task=allow_changed_task, on_segment=watch.segment, on_interval=watch.interval,
        )  # fmt: skip
    _finish(result, read_test=not no_test, as_json=as_json)


@_command
def show(directory: _Run, as_json: _Json = False) -> None:
    """The winner, its schedule and its lineage. Works on a run in progress; runs no code of the task."""
    _show(load(directory), as_json=as_json)


@_command
def test(directory: _Run, data: _DataDir = None, as_json: _Json = False) -> None:
    """The winner on the test split, which selection has never seen."""
    result = load(directory, data_dir=data)
    metrics = result.test(reader="popgrad test")
    if as_json:
        out.print_json(data={"member": result.winner.member, "split": "test", "metrics": _plain(metrics)})
    else:
        out.print(f"winner, member {result.winner.member}, on the test split: {_words(metrics)}")


@_command
def tasks(as_json: _Json = False) -> None:
    """The built-in tasks, what they search, and their options."""
    listed = {name: _describe(factory) for name, factory in TASKS.items()}
    if as_json:
        out.print_json(data=listed)
        return
    for name, each in listed.items():
        table = Table(title=f"{name}: {each['about']}", title_justify="left", title_style="bold", box=None, show_header=False)
        for key, value in each["space"].items():
            table.add_row("  searched", key, value)
        for key, value in each["options"].items():
            table.add_row("  option", key, str(value))
        out.print(table)


@_command
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help=" or ".join(DATASETS))],
    directory: Annotated[Path | None, typer.Option("--dir", help="where to; else POPGRAD_DATA, else the cache")] = None,
) -> None:
    """Download a data set; what is there already is checked and kept."""
    place = data_dir(directory)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        bars: dict[str, Any] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        files = download(name, place, progress=report)
    for file in files:
        out.print(str(file), soft_wrap=True)


def _initial(path: Path) -> object:
    """A list of hyperparameters, or a table with the key "initial"."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--initial: cannot read {path}: {error}") from None
    return values["initial"] if isinstance(values, dict) and "initial" in values else values


def _new_directory(task: str) -> Path:
    name = Path(task.rpartition(":")[0]).stem if task.rpartition(":")[0].endswith(".py") else task.replace(":", ".")
    base = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = [base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


class _resumable:  # noqa: N801  # reads as a word: with _resumable(directory)
    """Says how to go on with a run that was interrupted or has failed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        stopped = isinstance(error, KeyboardInterrupt | RunError)
        if stopped and (self._directory / "journal.db").exists():
            _complain(f"what is recorded is kept; go on with: popgrad resume {self._directory}")


def _finish(result: Result, *, read_test: bool, as_json: bool) -> None:
    """The final report: the summary, and the winner on data that selection has never seen."""
    metrics = result.test(reader="final report") if read_test else None
    if as_json:
        _show(result, as_json=True, test=metrics)
        return
    _show(result, as_json=False)
    if metrics is not None:
        out.print(f"on the test split, which selection has never seen: {_words(metrics)}")
    out.print(f"kept in {result.directory} ({result.stopped}): results.png, schedule.png, history.csv, best.safetensors", soft_wrap=True)


def _show(result: Result, *, as_json: bool, test: Mapping[str, float] | None = None) -> None:
    from popgrad.report import summary, summary_data

    if as_json:
        data = {"directory": str(result.directory), "stopped": result.stopped}
        data |= summary_data(result.segments, result.space, result.score_name)
        out.print_json(data=data | ({"test": _plain(test)} if test is not None else {}))
    else:
        out.print(summary(result.segments, result.space, result.score_name))


def _words(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if abs(value) < float("inf") else None for name, value in metrics.items()}


def _describe(factory: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters.values()
    return {
        "about": (inspect.getdoc(factory) or "").partition("\n")[0],
        "space": {name: each.describe() for name, each in factory().space.items()},
        "options": {each.name: each.default for each in parameters if each.name not in ("space", "score")},
    }
