"""The display of a run on standard error: its first lines, its progress, and its last lines."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Literal

from rich.console import Console
from rich.live import Live

from popgrad.core.errors import UsageError
from popgrad.engine.callbacks import Callbacks
from popgrad.reports.console import draws, err
from popgrad.reports.escape import Escaped
from popgrad.runs.advice import next_steps, shown_path
from popgrad.runs.progress import Course, Lines, LiveTable, NotebookTable
from popgrad.runs.result import Result

ProgressKind = bool | Literal["lines", "table"]
"""Kind of progress: True = a table in a terminal or a notebook, else lines; False = none."""

_live = threading.Lock()
"""Held while a live table is shown: a second one would be drawn over the first."""


class Display:
    """Display of one run.

    Args:
        kind: Kind of progress.
        program: Whether this process is the command line: its standard output holds only results, so
            all other output goes to standard error, and it prints the final report itself.
        console: Console of standard error, with `markup=False`: output of a task is no markup.

    Raises:
        UsageError: There is no such kind.
    """

    def __init__(
        self, kind: ProgressKind = False, *, program: bool = False, console: Console = err
    ) -> None:
        if not isinstance(kind, bool) and kind not in ("lines", "table"):
            raise UsageError(f'progress: expected True, False, "lines" or "table", got {kind!r}')
        self._kind = kind
        self._program = program
        self._console = console
        self._begin = time.perf_counter()
        self._lines: Lines | NotebookTable | None = None

    @contextmanager
    def show(self, course: Course, lines: Sequence[str]) -> Iterator[Callbacks]:
        """Show a run during the block; gives the callbacks that show it.

        Args:
            course: Course of the run.
            lines: First lines, on what is about to happen.
        """
        self._begin = time.perf_counter()
        if self._kind is False or sys.stderr is None:
            yield Callbacks()
            return

        if self._kind is True and _in_notebook():
            notebook = self._lines = NotebookTable(LiveTable(course), lines)
            try:
                yield notebook.callbacks
            finally:
                notebook.update()
            return

        plain = self._lines = Lines(self._console, course)
        for line in lines:
            plain.print(line)
        with ExitStack() as stack:
            if self._draws() and _live.acquire(blocking=False):
                stack.callback(_live.release)
                yield stack.enter_context(self._table(course))
                return
            if self._program:
                stack.enter_context(redirect_stdout(sys.stderr))
            yield plain.callbacks

    def _draws(self) -> bool:
        """Return whether to draw a table on the console."""
        if self._kind is not True:
            return self._kind == "table"
        return draws(self._console)

    @contextmanager
    def _table(self, course: Course) -> Iterator[Callbacks]:
        """Draw a live table. Output of this process comes line by line above it.

        Other processes write over the table.
        """
        table = LiveTable(course)
        console = self._console
        live = Live(
            console=console,
            get_renderable=lambda: Escaped(table.render(console)),
            # Forty members take some 30 ms, and a task may train in this process.
            refresh_per_second=1,
            # What a script prints into a file stays in the file.
            redirect_stdout=self._program or sys.stdout.isatty(),
        )
        with live:
            yield table.callbacks
            # The report that follows shows the population too; the table of an interrupted run
            # stays.
            live.transient = self._program

    def finish(self, result: Result) -> None:
        """Print the last lines: the result, and what to do next. The command line prints its own."""
        if self._lines is None or self._program:
            return
        seconds = time.perf_counter() - self._begin
        self._lines.print(f"{result.status.describe()} in {seconds:.1f} s: {result.headline}")
        if result.directory is not None:
            self._lines.print(f"kept in {shown_path(result.directory)}; next:")
            for step in next_steps(result):
                self._lines.print(f"  {step}")


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
