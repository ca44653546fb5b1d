"""Progress of a run: a live table of the population in a terminal, a line for each interval elsewhere."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from statistics import median

from rich import progress
from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from popgrad.cli.escape import Escaped
from popgrad.core.population import Segment
from popgrad.core.score import Score
from popgrad.core.space import Space
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.record.lineage import rank

_UNBOUNDED = 10_000
"""Columns of a console that fits any table."""

_OTHER_LINES = 4
"""Lines of the terminal beside those of members: headings, the count of hidden members, bar, prompt."""


@contextmanager
def show_progress(
    console: Console, *, members: int, intervals: int, score: str, space: Space, plain: bool = False
) -> Iterator[Callbacks]:
    """Show a run on a console during the block.

    Output of this process goes to standard error meanwhile, so that standard output holds only the results.
    If there is a table, the output comes line by line above it. Other processes write over the table.

    Args:
        console: Console of standard error, with `markup=False`: output of a task is no markup.
        members: Size of the population.
        intervals: Intervals that each member trains in all.
        score: Metric that ranks, as `Score.parse` reads it.
        space: Search space.
        plain: Whether to print a line for each interval in a terminal too.
    """
    # With FORCE_COLOR rich takes a file for a terminal; a table that is redrawn needs a real one.
    if plain or not (console.is_interactive and console.file.isatty()):
        with redirect_stdout(sys.stderr):
            yield Callbacks(on_interval=_Lines(console, intervals, score).print_interval)
        return

    table = LiveTable(members, intervals, score, space)
    with Live(console=console, get_renderable=lambda: Escaped(table.render(console))) as live:
        yield Callbacks(table.add_segment, table.add_interval)
        # The results that follow show the population too; the table of an interrupted run stays.
        live.transient = True


class _Lines:
    """A line for each interval."""

    def __init__(self, console: Console, intervals: int, score: str) -> None:
        self._console = console
        self._intervals = intervals
        self._score = Score.parse(score)

    def print_interval(self, end: IntervalEnd) -> None:
        """Print the line of an interval that all members have trained."""
        line = f"{end.interval + 1}/{self._intervals} intervals: {self._scores(end)}"
        failed = sum(segment.failed for segment in end.segments)
        if failed:
            line += f", {failed} failed"

        if end.decision is not None:
            plan = end.decision.plan
            pairs = zip(plan.members, plan.sources, strict=True)
            copies = [f"m{member} ← m{source}" for member, source in pairs if member != source]
            if copies:
                line += f"; inherit {', '.join(copies)}"
            if end.decision.size is not None:
                line += f"; {end.decision.size} members from now on"
        self._console.print(f"{line} ({end.seconds:.1f} s)", markup=False, soft_wrap=True)

    def _scores(self, end: IntervalEnd) -> str:
        scores = [segment.score for segment in end.segments if not segment.failed]
        if not scores:
            return "no member alive"
        best = self._score.shown(max(scores))
        middle = self._score.shown(median(scores))
        direction = " (lower is better)" if self._score.minimize else ""
        return f"best {self._score.metric} {best:.4g}, median {middle:.4g}{direction}"


class LiveTable:
    """Table of the members' latest segments, with the progress of the run.

    Args:
        members: Size of the population at the start; it may change.
        intervals: Intervals that each member trains in all.
        score: Metric that ranks, as `Score.parse` reads it.
        space: Search space.
    """

    def __init__(self, members: int, intervals: int, score: str, space: Space) -> None:
        self._score = Score.parse(score)
        self._space = space
        self._members = members
        self._intervals = intervals
        # First interval with the present size, and segments before it.
        self._since = 0
        self._before = 0
        self._last: dict[int, Segment] = {}
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            progress.MofNCompleteColumn(),
            progress.TextColumn("segments"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(compact=True),
            expand=True,
        )
        self._bar = self._progress.add_task("starting", total=members * intervals)

    def add_segment(self, segment: Segment) -> None:
        """Show a finished segment."""
        self._last[segment.member] = segment
        self._progress.update(self._bar, advance=1, description=self._done(segment.interval))

    def add_interval(self, end: IntervalEnd) -> None:
        """Show a finished interval; some of its segments may have been recorded in an earlier session."""
        self._last |= {segment.member: segment for segment in end.segments}
        done = self._before + (end.interval + 1 - self._since) * self._members
        self._progress.update(self._bar, completed=done, description=self._done(end.interval + 1))
        if end.decision is not None and end.decision.size is not None:
            self._resize(end.decision.size, end.interval + 1, done)

    def _resize(self, size: int, since: int, before: int) -> None:
        self._members = size
        self._since = since
        self._before = before
        self._last = {member: segment for member, segment in self._last.items() if member < size}
        self._progress.update(self._bar, total=before + size * (self._intervals - since))

    def _done(self, intervals: int) -> str:
        return f"{intervals}/{self._intervals} intervals"

    def render(self, console: Console) -> Group:
        """Return the bar, and above it as much of the table as fits, the best members first."""
        # The terminal writes ^C at the end of the bar.
        bar = Constrain(self._progress, console.width - len("^C"))
        if not self._last:
            return Group(bar)

        # Segments finish in another thread than the one that draws, so a copy is sorted.
        ranked = sorted(self._last.copy().values(), key=rank)
        shown = ranked[: max(1, console.height - _OTHER_LINES)]
        return Group(*self._fit(shown, len(ranked) - len(shown), console), bar)

    def _fit(self, ranked: Sequence[Segment], more: int, console: Console) -> list[Table | Text]:
        """Return the table with as many hyperparameters as fit, and a line on the hidden rest."""
        # It imports matplotlib, which only the end of a run needs.
        from popgrad.report.history import searched

        names = list(searched(self._space))
        unbounded = console.options.update_width(_UNBOUNDED)
        for count in range(len(names), -1, -1):
            table = self._table(ranked, names[:count])
            if console.measure(table, options=unbounded).maximum <= console.width:
                break
        hidden = [_more(more, "member")] * (more > 0)
        hidden += [_more(len(names) - count, "hyperparameter")] * (count < len(names))
        line = Text(
            f"and {', '.join(hidden)}", style="dim italic", no_wrap=True, overflow="ellipsis"
        )
        return [table, line] if hidden else [table]

    def _table(self, ranked: Sequence[Segment], names: Sequence[str]) -> Table:
        from popgrad.report.tables import headings, numbers
        from popgrad.report.text import style

        first = ("member", "", "interval", self._score.heading)
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in (*first, *headings(names, first).values(), ""):
            table.add_column(Text(heading), justify="right", no_wrap=True)
        scores = numbers(self._score.shown(segment.score) for segment in ranked)
        columns = [
            [str(segment.member) for segment in ranked],
            ["best", *[""] * (len(ranked) - 1)],
            [str(segment.interval) for segment in ranked],
            ["failed" if s.failed else text for s, text in zip(ranked, scores, strict=True)],
            *(numbers(segment.hparams[name] for segment in ranked) for name in names),
            [_origin(segment) for segment in ranked],
        ]
        for segment, *row in zip(ranked, *columns, strict=True):
            best = segment is ranked[0]
            table.add_row(*map(Text, row), style=style(segment, best=best))
        return table


def _more(count: int, noun: str) -> str:
    return f"{count} more {noun}{'s' * (count > 1)}"


def _origin(segment: Segment) -> str:
    """Return the donor, if the segment continues from another member."""
    if segment.source is None or segment.source[0] == segment.member:
        return ""
    return f"← m{segment.source[0]}"
