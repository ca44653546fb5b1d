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

from popgrad.core.plan import Decision, entries, resting
from popgrad.core.population import FRESH
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.reports.escape import Escaped, escape
from popgrad.reports.live import members_table

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
        recorded: Segments of earlier sessions, in member-intervals if the members share a budget.
        budget: Member-intervals that the members share; None = each trains all intervals.
    """

    members: int
    intervals: int
    score: str
    space: Space
    start: str = "starting"
    recorded: int = 0
    budget: int | None = None


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
        self._budget = course.budget
        self._spent = course.recorded

    @property
    def callbacks(self) -> Callbacks:
        """Functions that a run calls."""
        count = None if self._budget is None else self.count
        return Callbacks(count, self.print_interval)

    def count(self, segment: Segment) -> None:
        """Charge a finished segment to the budget."""
        self._spent += segment.length

    def print(self, line: str) -> None:
        """Print a line as it is. A stream that is closed or full never ends a run."""
        try:
            self._console.print(line, markup=False, soft_wrap=True)
        except (OSError, ValueError):
            self._console.quiet = True

    def print_interval(self, end: IntervalEnd) -> None:
        """Print the line of an interval that all members have trained."""
        done = f"{end.interval + 1}/{self._intervals} intervals"
        if self._budget is not None:
            done = f"{end.interval + 1} intervals, {self._spent}/{self._budget} of the budget"
        line = f"{done}: {score_words(end.segments, self._score)}"
        if end.decision is not None:
            line += _describe(end.decision)
            if end.decision.size is not None:
                line += f"; {end.decision.size} members from now on"
        self.print(f"{line} ({end.seconds:.1f} s)")


def score_words(segments: Sequence[Segment], score: Score) -> str:
    """Return the best and the median score of segments in words, and how many have failed."""
    scores = [segment.score for segment in segments if not segment.failed]
    failed = len(segments) - len(scores)
    suffix = f", {failed} failed" if failed else ""
    if not scores:
        return f"no member alive{suffix}"
    best = score.shown(max(scores))
    middle = score.shown(median(scores))
    direction = " (lower is better)" if score.minimize else ""
    return f"best {score.metric} {best:.4g}, median {middle:.4g}{direction}{suffix}"


def _describe(decision: Decision) -> str:
    """Return the copies of a decision, its fresh members and those that rest, in words."""
    copies: list[str] = []
    fresh: list[str] = []
    rests: list[str] = []
    for place, (member, entry) in enumerate(entries(decision.plan).items()):
        if entry.rests:
            rests.append(f"m{member}")
        elif place in decision.archived:
            donor, interval = decision.archived[place]
            copies.append(f"m{member} ← m{donor} of interval {interval}")
        elif entry.source == FRESH:
            fresh.append(f"m{member}")
        elif entry.source != member:
            copies.append(f"m{member} ← m{entry.source}")

    groups = (("inherit", copies), ("start fresh", fresh), ("rest", rests))
    return "".join(f"; {verb} {', '.join(names)}" for verb, names in groups if names)


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
        self._resting: frozenset[int] = frozenset()
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
        self._budget = course.budget
        total = course.members * course.intervals if course.budget is None else course.budget
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
        advance = 1 if self._budget is None else segment.length
        self._progress.update(self._bar, advance=advance, description=self._done(segment.interval))

    def add_interval(self, end: IntervalEnd) -> None:
        """Show a finished interval; some of its segments may have been recorded in an earlier session."""
        self._last |= {segment.member: segment for segment in end.segments}
        if end.decision is not None:
            self._resting = resting(end.decision.plan)
        if self._budget is not None:
            self._progress.update(self._bar, description=self._done(end.interval + 1))
            return
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
        if self._budget is not None:
            return f"{intervals} intervals"
        return f"{intervals}/{self._intervals} intervals"

    def render(self, console: Console) -> Group:
        """Return the bar, and above it as much of the table as fits, the best members first."""
        # The terminal writes ^C at the end of the bar.
        bar = Constrain(self._progress, console.width - len("^C"))
        if not self._last:
            return Group(bar)

        # Segments finish in another thread than the one that draws, so a copy is shown.
        last = self._last.copy().values()
        height = console.height - _OTHER_LINES
        table = members_table(
            last, self._score, self._space, console, height=height, resting=self._resting
        )
        return Group(*table, bar)


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
        text = escape("\n".join([*self._above, *drawn, *self._below]))
        return {"text/plain": text, "text/html": f"<pre>{escape_html(text)}</pre>"}
