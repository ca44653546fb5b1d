"""A run as it goes: a live table of the population in a terminal, plain lines elsewhere."""

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
from popgrad.core.space import Space
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.record.lineage import rank

_BOUNDLESS = 10_000  # columns
_AROUND = (
    4  # lines of the terminal that are not members: headings, how many more there are, bar, prompt
)


@contextmanager
def watching(
    console: Console, *, members: int, intervals: int, score: str, space: Space, plain: bool = False
) -> Iterator[Callbacks]:
    """Show a run on a console while the block lasts.

    What this process prints meanwhile goes to standard error, so that standard output holds the results
    alone; where there is a table, it comes line by line above it. A table knows nothing of what other
    processes write to the terminal, and is drawn over it.

    Args:
        console: For standard error, with `markup=False`: what a task prints is no markup, and must not fail.
        members: Size of the population.
        intervals: That each member trains, in all.
        score: The metric that ranks.
        space: What is searched.
        plain: A line for each interval in a terminal too.
    """
    # FORCE_COLOR makes rich take a file for a terminal; a table that moves is for real ones.
    if plain or not (console.is_interactive and console.file.isatty()):
        with redirect_stdout(sys.stderr):
            yield Callbacks(on_interval=_Lines(console, intervals, score).interval)
        return
    table = LiveTable(members, intervals, score, space)
    with Live(console=console, get_renderable=lambda: Escaped(table.render(console))) as live:
        yield Callbacks(table.segment, table.interval)
        live.transient = True  # what follows shows the population too; an interrupted table stays


class _Lines:
    """One line an interval."""

    def __init__(self, console: Console, intervals: int, score: str) -> None:
        self._console, self._intervals, self._score = console, intervals, score

    def interval(self, end: IntervalEnd) -> None:
        """All members have trained an interval."""
        scores = [segment.score for segment in end.segments if not segment.failed]
        line = f"{end.interval + 1}/{self._intervals} intervals: "
        if scores:
            line += f"best {self._score} {max(scores):.4g}, median {median(scores):.4g}"
        else:
            line += "nobody alive"
        if failed := sum(segment.failed for segment in end.segments):
            line += f", {failed} failed"
        plan = end.decision.plan if end.decision else None
        if plan and (
            heirs := [(m, s) for m, s in zip(plan.members, plan.sources, strict=True) if m != s]
        ):
            line += f"; inherit {' '.join(f'{member}←{source}' for member, source in heirs)}"
        if end.decision and end.decision.size is not None:
            line += f"; {end.decision.size} members from now on"
        self._console.print(f"{line} ({end.seconds:.1f} s)", markup=False, soft_wrap=True)


class LiveTable:
    """What is known of each member at the moment, and how far the run has come.

    Args:
        members: Size of the population; it may change.
        intervals: That each member trains, in all.
        score: The metric that ranks.
        space: What is searched.
    """

    def __init__(self, members: int, intervals: int, score: str, space: Space) -> None:
        self._score, self._space = score, space
        self._members, self._intervals = members, intervals
        self._since, self._before = (
            0,
            0,
        )  # the interval since which there are as many, and segments before it
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

    def segment(self, segment: Segment) -> None:
        """One more is finished."""
        self._last[segment.member] = segment
        self._progress.update(self._bar, advance=1, description=self._done(segment.interval))

    def interval(self, end: IntervalEnd) -> None:
        """An interval is finished; some of its segments may have been on record before."""
        self._last |= {segment.member: segment for segment in end.segments}
        done = self._before + (end.interval + 1 - self._since) * self._members
        self._progress.update(self._bar, completed=done, description=self._done(end.interval + 1))
        if end.decision is not None and end.decision.size is not None:
            self._resize(end.decision.size, end.interval + 1, done)

    def _resize(self, size: int, since: int, before: int) -> None:
        self._members, self._since, self._before = size, since, before
        self._last = {member: segment for member, segment in self._last.items() if member < size}
        self._progress.update(self._bar, total=before + size * (self._intervals - since))

    def _done(self, intervals: int) -> str:
        return f"{intervals}/{self._intervals} intervals"

    def render(self, console: Console) -> Group:
        """The bar, and above it as much of the table as the console has room for: the best members first."""
        bar = Constrain(
            self._progress, console.width - len("^C")
        )  # which the terminal writes there
        if not self._last:
            return Group(bar)
        ranked = sorted(self._last.copy().values(), key=rank)  # a copy: segments finish meanwhile
        shown = ranked[: max(1, console.height - _AROUND)]
        return Group(*self._fitting(shown, len(ranked) - len(shown), console), bar)

    def _fitting(
        self, ranked: Sequence[Segment], more: int, console: Console
    ) -> list[Table | Text]:
        """The table with as many hyperparameters as its width allows, and what is not shown."""
        from popgrad.report.history import (
            searched,  # brings matplotlib, which is needed at the end only
        )

        names = list(searched(self._space))
        boundless = console.options.update_width(_BOUNDLESS)
        for count in range(len(names), -1, -1):
            table = self._table(ranked, names[:count])
            if console.measure(table, options=boundless).maximum <= console.width:
                break
        hidden = [_more(more, "member")] * (more > 0)
        hidden += [_more(len(names) - count, "hyperparameter")] * (count < len(names))
        line = Text(
            f"and {', '.join(hidden)}", style="dim italic", no_wrap=True, overflow="ellipsis"
        )
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


def _more(count: int, what: str) -> str:
    return f"{count} more {what}{'s' * (count > 1)}"


def _origin(segment: Segment) -> str:
    source = segment.source
    return f"← {source[0]}" if source is not None and source[0] != segment.member else ""
