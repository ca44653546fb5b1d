"""The command that lists runs: list. It needs no torch, so that it does not wait for its import."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from popgrad.cli import options
from popgrad.cli.printing import out, print_json, print_line
from popgrad.core.score import Score
from popgrad.reports.duration import duration
from popgrad.reports.tables import Column, FittedTable
from popgrad.runs.advice import shown_path
from popgrad.runs.listing import RunSummary, list_runs

_STYLES = {"in progress": "bold green", "interrupted": "yellow"}
"""Styles of rows by the state of the run."""


def list(folder: options.Folder = None, as_json: options.Json = False) -> None:  # noqa: A001
    """List the runs below a folder with their status and best score, the newest first.

    A run that cannot be read is listed with the reason. Links are not followed, and no code of a task
    is run.
    """
    if folder is None:
        folder = Path("runs") if Path("runs").is_dir() else Path()
    runs = list_runs(folder)
    if as_json:
        print_json([run.row() for run in runs])
        return

    readable = [run for run in runs if not run.error]
    if readable:
        out.print(_table(readable, time.time()))
    elif not runs:
        print_line(f"no run in {shown_path(folder.absolute())} or in its folders")
    for run in runs:
        if run.error:
            out.print(Text.assemble((f"{run.name}: ", "bold red"), run.error), soft_wrap=True)


def _table(runs: Sequence[RunSummary], now: float) -> FittedTable:
    """Return the table of runs.

    Args:
        runs: Runs that can be read, in order.
        now: Seconds since 1970.
    """
    columns = [
        Column("run", [run.name for run in runs], left=True),
        Column("status", [run.state or "" for run in runs], left=True),
        Column("intervals", [f"{run.completed}/{run.intervals}" for run in runs], priority=1),
        Column("best", _bests(runs), left=True),
        Column("task", [_short(run.task) for run in runs], priority=4, left=True),
        Column("strategy", [run.strategy for run in runs], priority=2, left=True),
        Column("members", [str(run.members) for run in runs], priority=3),
        Column("changed", [_ago(now - run.changed) for run in runs], priority=2),
    ]
    styles = [_STYLES.get(run.state or "", "") for run in runs]
    return FittedTable("", columns, styles=styles)


def _bests(runs: Sequence[RunSummary]) -> Sequence[str]:
    """Return the best score of each run with its metric, such as "0.25 loss ↓", the numbers flush right."""
    numbers = ["" if run.best is None else f"{run.best:.4g}" for run in runs]
    width = max(map(len, numbers))
    headings = [Score(run.score, run.lower_is_better).heading for run in runs]
    return [
        f"{number:>{width}} {heading}" for number, heading in zip(numbers, headings, strict=True)
    ]


def _short(task: str) -> str:
    """Return the reference of a task without the folders of its file."""
    return task.rsplit("/", 1)[-1]


def _ago(seconds: float) -> str:
    """Return an age in words; a clock may have been set back."""
    return f"{duration(max(0.0, seconds))} ago"
