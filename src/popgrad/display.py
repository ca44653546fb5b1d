"""A run as it goes: a live table of the population in a terminal, plain lines elsewhere."""

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from threading import Event, Thread

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from popgrad.core.population import Segment
from popgrad.core.space import Space
from popgrad.watch import IntervalEnd, Watch

_BOUNDLESS = 10_000  # columns
_REFRESH = 0.25  # seconds
_PIECE = 1 << 16  # bytes
_AROUND = 4  # lines of the terminal that are not members: headings, how many more there are, bar, prompt


@contextmanager
def watching(console: Console, *, members: int, intervals: int, score: str, space: Space) -> Iterator[Watch]:
    """Show a run on a console while the block lasts.

    What anyone prints meanwhile, worker processes too, goes to standard error, so that standard output holds
    the results alone; in a terminal it comes line by line above the table.

    Args:
        console: Where to.
        members: Size of the population.
        intervals: That each member trains, in all.
        score: The metric that ranks.
        space: What is searched.
    """
    # FORCE_COLOR makes rich take a file for a terminal; a table that moves is for real ones.
    if not (console.is_interactive and console.file.isatty()):
        with _diverted(2):
            yield Watch(interval=_Lines(console, intervals, score).interval)
        return
    table = LiveTable(members, intervals, score, space)
    with _drawing(console, table.render) as live:
        yield Watch(table.segment, table.interval)
        live.transient = True  # what follows shows the population too; an interrupted table stays


class _Lines:
    """One line an interval."""

    def __init__(self, console: Console, intervals: int, score: str) -> None:
        self._console, self._intervals, self._score = console, intervals, score

    def interval(self, end: IntervalEnd) -> None:
        """All members have trained an interval."""
        scores = sorted(segment.score for segment in end.segments if not segment.failed)
        median = scores[len(scores) // 2] if scores else 0.0
        line = f"{end.interval + 1}/{self._intervals} intervals: "
        line += f"best {self._score} {scores[-1]:.4g}, median {median:.4g}" if scores else "nobody alive"
        if failed := sum(segment.failed for segment in end.segments):
            line += f", {failed} failed"
        plan = end.decision.plan if end.decision else None
        if plan and (heirs := [(m, s) for m, s in zip(plan.members, plan.sources, strict=True) if m != s]):
            line += f"; inherit {' '.join(f'{member}←{source}' for member, source in heirs)}"
        self._console.print(f"{line} ({end.seconds:.1f} s)", markup=False, soft_wrap=True)


class LiveTable:
    """What is known of each member at the moment, and how far the run has come.

    Args:
        members: Size of the population.
        intervals: That each member trains, in all.
        score: The metric that ranks.
        space: What is searched.
    """

    def __init__(self, members: int, intervals: int, score: str, space: Space) -> None:
        self._score, self._space = score, space
        self._members, self._intervals = members, intervals
        self._last: dict[int, Segment] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("segments"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            expand=True,
        )
        self._bar = self._progress.add_task("starting", total=members * intervals)

    def segment(self, segment: Segment) -> None:
        """One more is finished."""
        self._last[segment.member] = segment
        self._progress.update(self._bar, advance=1, description=self._done(segment.interval))

    def interval(self, end: IntervalEnd) -> None:
        """An interval is finished; some of its segments may have been on record before."""
        self._last |= {segment.member: segment for segment in end.segments}
        done = (end.interval + 1) * self._members
        self._progress.update(self._bar, completed=done, description=self._done(end.interval + 1))

    def _done(self, intervals: int) -> str:
        return f"{intervals}/{self._intervals} intervals"

    def render(self, console: Console) -> Group:
        """The bar, and above it as much of the table as the console has room for: the best members first."""
        _measure(console)
        bar = Constrain(self._progress, console.width - len("^C"))  # which the terminal writes there
        if not self._last:
            return Group(bar)
        ranked = sorted(self._last.copy().values(), key=_rank)  # a copy: segments finish meanwhile
        shown = ranked[: max(1, console.height - _AROUND)]
        return Group(*self._fitting(shown, len(ranked) - len(shown), console), bar)

    def _fitting(self, ranked: Sequence[Segment], more: int, console: Console) -> list[Table | Text]:
        """The table with as many hyperparameters as its width allows, and what is not shown."""
        from popgrad.report.history import searched  # brings matplotlib, which is needed at the end only

        names = list(searched(self._space))
        boundless = console.options.update_width(_BOUNDLESS)
        for count in range(len(names), -1, -1):
            table = self._table(ranked, names[:count])
            if console.measure(table, options=boundless).maximum <= console.width:
                break
        hidden = [_more(more, "member")] * (more > 0)
        hidden += [_more(len(names) - count, "hyperparameter")] * (count < len(names))
        line = Text(f"and {', '.join(hidden)}", style="dim italic", no_wrap=True, overflow="ellipsis")
        return [table, line] if hidden else [table]

    def _table(self, ranked: Sequence[Segment], names: Sequence[str]) -> Table:
        from popgrad.report.text import numbers

        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("member", "", "intervals", self._score, *names, ""):
            table.add_column(Text(heading), justify="right", no_wrap=True)
        scores = numbers(each.score for each in ranked)
        columns = [
            [str(each.member) for each in ranked],
            ["best", *[""] * (len(ranked) - 1)],
            [str(each.interval + 1) for each in ranked],
            ["failed" if each.failed else text for each, text in zip(ranked, scores, strict=True)],
            *(numbers(each.hparams[name] for each in ranked) for name in names),
            [_origin(each) for each in ranked],
        ]
        for each, *row in zip(ranked, *columns, strict=True):
            style = "red" if each.failed else "bold" if each is ranked[0] else ""
            table.add_row(*map(Text, row), style=style)
        return table


def _rank(segment: Segment) -> tuple[bool, float, int]:
    return segment.failed, 0.0 if segment.failed else -segment.score, segment.member


def _more(count: int, what: str) -> str:
    return f"{count} more {what}{'s' * (count > 1)}"


def _origin(segment: Segment) -> str:
    inherited = segment.source is not None and segment.source[0] != segment.member
    return f"← {segment.source[0]}" if inherited and segment.source else ""


def _measure(console: Console) -> None:
    """Tell a console how large its terminal is: rich asks the standard streams, which lead elsewhere."""
    with suppress(OSError):
        columns, lines = os.get_terminal_size(console.file.fileno())
        if columns and lines:
            console.size = ConsoleDimensions(columns, lines)


@contextmanager
def _drawing(console: Console, render: Callable[[Console], RenderableType]) -> Iterator[Live]:
    """Draw on a terminal until the block ends; what anyone prints meanwhile comes in whole lines above it."""
    with open(os.dup(console.file.fileno()), "w", encoding=console.encoding, errors="replace") as file:
        terminal = Console(file=file, highlight=False, emoji=False)
        live = Live(
            console=terminal,
            get_renderable=lambda: render(terminal),
            auto_refresh=False,  # one thread alone writes: two could come between the lines of each other
            redirect_stdout=False,
            redirect_stderr=False,
        )
        read, write = os.pipe()
        over = Event()
        with live:
            live.refresh()
            drawer = Thread(target=_draw, args=(live, read, over), daemon=True)
            drawer.start()
            try:
                with _diverted(write):
                    os.close(write)
                    yield live
            finally:
                over.set()
                drawer.join()


def _draw(live: Live, read: int, over: Event) -> None:
    """Print the lines that come through a pipe, and draw what is live, until it is over and nothing comes."""
    begun, gone = b"", False
    with open(read, "rb", buffering=0) as pipe:
        while True:
            coming = select.select([pipe], [], [], 0.0 if over.is_set() else _REFRESH)[0]
            piece = pipe.read(_PIECE) if coming else b""
            ended = over.is_set() and not piece
            *lines, begun = (begun + piece + (b"\n" if ended and begun else b"")).split(b"\n")
            try:
                if lines and not gone:
                    _print(live.console, lines)
                if not gone:
                    live.refresh()
            except OSError:  # the terminal is gone; the run is not, and what it prints has to go somewhere
                gone = True
            if ended:
                return


def _print(terminal: Console, lines: Sequence[bytes]) -> None:
    shown = [line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace") for line in lines]
    terminal.print("\n".join(shown), markup=False, soft_wrap=True)


@contextmanager
def _diverted(to: int) -> Iterator[None]:
    """Send what is printed, here and in child processes, to a file descriptor while the block lasts."""
    _flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    for number in saved:
        os.dup2(to, number)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        for number, before in saved.items():
            os.dup2(before, number)
            os.close(before)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
