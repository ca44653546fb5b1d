"""Progress of a run: a live table of the population in a terminal or a notebook, else a line per interval."""

import importlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape_html
from statistics import median
from typing import Any

from rich import progress
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from popgrad.core.population import Segment
from popgrad.core.score import Score
from popgrad.core.space import Space
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.record.lineage import rank
from popgrad.report.escape import Escaped
from popgrad.report.history import searched
from popgrad.report.tables import headings, numbers
from popgrad.report.text import style

_UNBOUNDED = 10_000
"""Columns of a console that fits any table."""

_OTHER_LINES = 4
"""Lines of the terminal beside those of members: headings, the count of hidden members, bar, prompt."""

_NOTEBOOK_COLUMNS = 100
_NOTEBOOK_LINES = 40
_NOTEBOOK_PERIOD = 0.5
"""Seconds between two updates of a notebook's output."""


@dataclass(frozen=True)
class Course:
    """Course of a run, as far as its progress needs it.

    Attributes:
        members: Size of the population at the start; it may change.
        intervals: Intervals that each member trains in all.
        score: Metric that ranks, as `Score.parse` reads it.
        space: Search space.
        start: Words for the time before the first segment.
        recorded: Segments of earlier sessions.
    """

    members: int
    intervals: int
    score: str
    space: Space
    start: str = "starting"
    recorded: int = 0


class Lines:
    """A line for each interval.

    Args:
        console: Console to print to.
        course: Course of the run.
    """

    def __init__(self, console: Console, course: Course) -> None:
        self._console = console
        self._intervals = course.intervals
        self._score = Score.parse(course.score)

    @property
    def callbacks(self) -> Callbacks:
        """Functions that a run calls."""
        return Callbacks(on_interval=self.print_interval)

    def print(self, line: str) -> None:
        """Print a line as it is. A stream that is closed or full never ends a run."""
        try:
            self._console.print(line, markup=False, soft_wrap=True)
        except (OSError, ValueError):
            self._console.quiet = True

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
        self.print(f"{line} ({end.seconds:.1f} s)")

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
        course: Course of the run.
    """

    def __init__(self, course: Course) -> None:
        self._score = Score.parse(course.score)
        self._space = course.space
        self._members = course.members
        self._intervals = course.intervals
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
        total = course.members * course.intervals
        self._bar = self._progress.add_task(
            course.start, total=total, completed=min(course.recorded, total)
        )

    @property
    def callbacks(self) -> Callbacks:
        """Functions that a run calls."""
        return Callbacks(self.add_segment, self.add_interval, on_start=self.start)

    def start(self) -> None:
        """Show that the executor has started."""
        self._progress.update(self._bar, description="training")

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


class NotebookTable:
    """A live table as one output of a notebook, which is updated in place.

    Args:
        table: Table to show.
        lines: Lines above the table.
    """

    def __init__(self, table: LiveTable, lines: Sequence[str]) -> None:
        self._table = table
        # Plain text: in a kernel, rich would show each piece as an output of its own.
        self._console = Console(
            file=io.StringIO(),
            force_jupyter=False,
            color_system=None,
            width=_NOTEBOOK_COLUMNS,
            height=_NOTEBOOK_LINES,
        )
        self._above = list(lines)
        self._below: list[str] = []
        self._updated = time.monotonic()
        # IPython is installed wherever a notebook runs; popgrad does not need it.
        display = importlib.import_module("IPython.display").display
        self._handle = display(self._bundle(), raw=True, display_id=True)

    @property
    def callbacks(self) -> Callbacks:
        """Functions that a run calls."""
        return Callbacks(self._add_segment, self._add_interval, on_start=self._start)

    def _start(self) -> None:
        self._table.start()
        self.update()

    def _add_segment(self, segment: Segment) -> None:
        self._table.add_segment(segment)
        self._update_in_time()

    def _add_interval(self, end: IntervalEnd) -> None:
        self._table.add_interval(end)
        self._update_in_time()

    def _update_in_time(self) -> None:
        if time.monotonic() >= self._updated + _NOTEBOOK_PERIOD:
            self.update()

    def print(self, line: str) -> None:
        """Show a line below the table."""
        self._below.append(line)
        self.update()

    def update(self) -> None:
        """Show the table as it is now."""
        self._updated = time.monotonic()
        self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, Any]:
        """Return the output in the formats that a notebook may show."""
        table: RenderableType = Escaped(self._table.render(self._console))
        with self._console.capture() as capture:
            self._console.print(table)
        drawn = [line.rstrip() for line in capture.get().splitlines()]
        text = "\n".join([*self._above, *drawn, *self._below])
        return {"text/plain": text, "text/html": f"<pre>{escape_html(text)}</pre>"}
