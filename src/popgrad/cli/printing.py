"""Output of the command line: results to standard output, all else to standard error."""

import io
import json
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from popgrad.reports.console import err as err
from popgrad.reports.escape import Escaping

_BOUNDLESS = 10_000  # columns

out = Console(highlight=False, emoji=False)
out.push_render_hook(Escaping())


def prepare() -> None:
    """Send log lines to standard error, and let tables in a file have any width."""
    logger = logging.getLogger("popgrad")
    logger.addHandler(_LOG)
    logger.setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that a terminal cannot show is no error
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _BOUNDLESS


@contextmanager
def keep_for_results() -> Iterator[None]:
    """Keep standard output for results: what a task prints in the block goes to standard error."""
    out.file = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        out.file = None  # type: ignore[assignment]  # that of the moment again


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


_LOG = _ConsoleHandler()


def complain(message: object) -> None:
    """Print one line to standard error."""
    err.print(f"popgrad: {message}", markup=False, soft_wrap=True)


def explain(notes: list[str]) -> None:
    """Print notes on parts of a configuration that have no effect, a line each."""
    for note in notes:
        complain(note)


def print_line(text: str) -> None:
    """Print one line to standard output, never wrapped."""
    out.print(text, markup=False, soft_wrap=True)


def print_folded(text: str) -> None:
    """Print a line to standard output, in a terminal as several: a name is never broken in two."""
    if not out.is_terminal:
        print_line(text)
        return
    for line in textwrap.wrap(
        text, out.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    ):
        print_line(line)


def print_json(data: object) -> None:
    """Print JSON to standard output, never wrapped or coloured."""
    print_text(json.dumps(data, indent=2) + "\n")


def print_text(text: str) -> None:
    """Print text that ends its own lines to standard output, exactly as it is."""
    out.out(text, highlight=False, end="")


@contextmanager
def growing_bar(description: str, *, plain: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for work of a size that is known later; gives a function of what is done and of all."""
    with _progress(plain) as progress:
        bar = progress.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield update


@contextmanager
def progress_bar(description: str, total: int, *, plain: bool) -> Iterator[Callable[[], None]]:
    """Show a bar for segments that are trained one after the other; gives a function to advance it."""
    with _progress(plain) as progress:
        bar = progress.add_task(description, total=total)
        yield lambda: progress.advance(bar)


def _progress(plain: bool) -> Progress:
    """Return a display of bars on standard error; it shows nothing if that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = plain or not err.is_terminal
    return Progress(*columns, console=err, disable=hidden, transient=True)
