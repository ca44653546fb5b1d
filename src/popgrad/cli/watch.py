"""The command that follows a run which was started elsewhere: watch. It needs no torch."""

import time
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from popgrad.cli import options, reports
from popgrad.cli.arguments import RecordedRun, read_run
from popgrad.cli.printing import out, print_folded, print_line
from popgrad.core.errors import RunError
from popgrad.reports.console import draws
from popgrad.reports.escape import Escaped
from popgrad.reports.live import members_table
from popgrad.runs.progress import score_words
from popgrad.runs.status import work

_PERIOD = 2.0
"""Seconds between two views of a run in progress."""

_SHARE = 4
"""Times longer than a view took that the next one waits: a long record is read less often."""

_ATTEMPTS = 3
"""Attempts to read a run that could be read before."""

_OTHER_LINES = 5
"""Lines of the terminal beside those of members: headings, what is hidden, status, bar, prompt."""


def watch(directory: options.Run, plain: options.Plain = False) -> None:
    """Show a run that was started elsewhere, until it ends.

    In a terminal it is a live table of the members, else a line for each interval. The run is not
    disturbed, and no code of the task is run. Ctrl-C ends the view, not the run.
    """
    follow(lambda: read_run(directory), plain=plain)


def follow(open_run: Callable[[], RecordedRun], *, plain: bool = False) -> None:
    """Show a run until it is no longer in progress, and then what `popgrad show` prints.

    Args:
        open_run: Opens the run as far as it has come.
        plain: Whether to print lines even to a terminal.
    """
    lines = plain or not draws(out)
    run = _print_lines(open_run) if lines else _draw(open_run)
    reports.show_run(run, every_row=False, as_json=False)


def _draw(open_run: Callable[[], RecordedRun]) -> RecordedRun:
    """Draw a table until the run has ended, and return it. Interrupted, it leaves the table there."""
    with Live(console=out, auto_refresh=False) as live:
        while True:
            begin = time.monotonic()
            run = _reopen(open_run)
            if run.status.state != "in progress":
                # The report that follows shows the population too.
                live.transient = True
                return run

            live.update(Escaped(_frame(run)), refresh=True)
            _pause(begin)


def _print_lines(open_run: Callable[[], RecordedRun]) -> RecordedRun:
    """Print a line for each interval until the run has ended, and return it."""
    run = open_run()
    if run.status.state == "in progress":
        print_folded(reports.status_line(run))

    printed = 0
    while run.status.state == "in progress":
        begin = time.monotonic()
        status = run.status
        if status.completed > printed:
            scores = score_words([*run.record.last.values()], run.record.ranking)
            print_line(f"{status.completed}/{status.intervals} intervals: {scores}")
            out.file.flush()
            printed = status.completed
        _pause(begin)
        run = _reopen(open_run)
    return run


def _reopen(open_run: Callable[[], RecordedRun]) -> RecordedRun:
    """Open the run again; one that is just being written to is tried again."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return open_run()
        except RunError:
            time.sleep(_PERIOD)
    return open_run()


def _pause(begin: float) -> None:
    """Wait until the next view.

    Args:
        begin: Monotonic time at which the last view began.
    """
    time.sleep(max(_PERIOD, _SHARE * (time.monotonic() - begin)))


def _frame(run: RecordedRun) -> RenderableType:
    """Return the table of members, the status, and a bar; all of it fits the terminal."""
    record = run.record
    status = Text(run.status.describe(), no_wrap=True, overflow="ellipsis")
    if not record.last:
        return Group(Text("No segment is finished yet."), status)

    table = members_table(
        record.last.values(),
        record.ranking,
        record.space,
        out,
        height=out.height - _OTHER_LINES,
        resting=record.resting,
    )
    done, total = work(record, run.status.intervals)
    counts = Text(f"{done}/{total} segments", style="green", no_wrap=True, overflow="ellipsis")
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column()
    bar.add_row(ProgressBar(total=total, completed=done), counts)
    return Group(*table, status, bar)
