"""Progress of a benchmark on standard error: one bar over all its runs, or a line for each."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from popgrad.core.errors import UsageError
from popgrad.reports.console import err

BarKind = bool | Literal["lines", "table"]
"""Kind of progress: True = a bar in a terminal, else lines; False = none."""


class Bar:
    """Progress over the segments of all runs of a benchmark.

    Args:
        kind: Kind of progress.
        runs: Number of runs.
        segments: Segments of a run.

    Raises:
        UsageError: There is no such kind.
    """

    def __init__(self, kind: BarKind, runs: int, segments: int) -> None:
        if not isinstance(kind, bool) and kind not in ("lines", "table"):
            raise UsageError(f'progress: expected True, False, "lines" or "table", got {kind!r}')

        self._runs = runs
        self._segments = segments
        # Without standard error there is nowhere to show anything.
        self._quiet = kind is False or sys.stderr is None
        self._drawn = not self._quiet and (kind == "table" or (kind is True and err.is_terminal))

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("segments"),
            TimeRemainingColumn(compact=True),
        )
        self._progress = Progress(
            *columns, console=err, disable=not self._drawn, transient=True, expand=True
        )
        self._bar = self._progress.add_task("", total=runs * segments)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar during the block."""
        with self._progress:
            yield

    def start(self, number: int, name: str, recorded: int) -> None:
        """Show that a run starts or continues.

        Args:
            number: Number of the run, from 0.
            name: Name of the run.
            recorded: Segments that are recorded already.
        """
        completed = number * self._segments + min(recorded, self._segments)
        description = f"run {number + 1} of {self._runs}: {name}"
        self._progress.update(self._bar, completed=completed, description=description)

    def advance(self) -> None:
        """Count a segment."""
        self._progress.advance(self._bar)

    def finish(self, number: int, line: str) -> None:
        """Show that a run is finished, with a line if no bar is drawn."""
        self._progress.update(self._bar, completed=(number + 1) * self._segments)
        if not self._drawn and not self._quiet:
            # A reader of the progress that has gone does not end the benchmark.
            try:
                err.print(f"{number + 1}/{self._runs} runs: {line}", soft_wrap=True)
            except (OSError, ValueError):
                self._quiet = True
