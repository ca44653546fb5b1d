"""A run as it goes: a live table of the population in a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from popgrad.core.population import Segment
from popgrad.engine import IntervalEnd, Watch

ROWS = 20  # members shown at most: the best ones, so that the table fits a small terminal


@contextmanager
def watching(console: Console, *, members: int, intervals: int, score: str) -> Iterator[Watch]:
    """Show a run on a console while the block lasts.

    Args:
        console: Where to.
        members: Size of the population.
        intervals: That each member trains, in all.
        score: The metric that ranks.
    """
    if not console.is_terminal:
        yield _plain(console, intervals, score)
        return
    table = _LiveTable(members, intervals, score)
    with Live(console=console, refresh_per_second=4, get_renderable=table.render):
        yield Watch(table.segment, table.interval)


def _plain(console: Console, intervals: int, score: str) -> Watch:
    def interval(end: IntervalEnd) -> None:
        scores = sorted(segment.score for segment in end.segments if not segment.failed)
        best = f"best {score} {scores[-1]:.4g}, median {scores[len(scores) // 2]:.4g}" if scores else "nobody alive"
        plan = end.decision.plan if end.decision else None
        heirs = [f"{m}←{s}" for m, s in zip(plan.members, plan.sources, strict=True) if m != s] if plan else []
        failed = sum(segment.failed for segment in end.segments)
        line = f"interval {end.interval + 1}/{intervals}: {best}"
        line += f", {failed} failed" if failed else ""
        line += f"; inherit {' '.join(heirs)}" if heirs else ""
        console.print(f"{line} ({end.seconds:.1f} s)", highlight=False, soft_wrap=True)

    return Watch(interval=interval)


class _LiveTable:
    """What is known of each member at the moment, and how far the run has come."""

    def __init__(self, members: int, intervals: int, score: str) -> None:
        self._score = score
        self._members = members
        self._last: dict[int, Segment] = {}
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        )
        self._bar = self._progress.add_task("segments", total=members * intervals)
        self._begin = time.perf_counter()

    def segment(self, segment: Segment) -> None:
        """One more is finished."""
        self._last[segment.member] = segment
        self._progress.advance(self._bar)

    def interval(self, end: IntervalEnd) -> None:
        """An interval is finished; some of its segments may have been on record before."""
        self._last.update({segment.member: segment for segment in end.segments})
        self._progress.update(self._bar, completed=(end.interval + 1) * self._members)

    def render(self) -> Group:
        """The table, the best on top, and the bar."""
        ranked = sorted(self._last.values(), key=lambda s: (s.failed, -s.score if math.isfinite(s.score) else 0.0, s.member))
        names = list(ranked[0].hparams) if ranked else []
        table = Table(box=None, header_style="bold")
        for heading in ("member", "interval", self._score, *names, "from"):
            table.add_column(heading, justify="right")
        for segment in ranked[:ROWS]:
            source = "" if segment.source in (None, (segment.member, segment.interval - 1)) else f"← {segment.source[0]}"  # type: ignore[index]
            values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in segment.hparams.values()]
            score = "failed" if segment.failed else f"{segment.score:.4g}"
            table.add_row(str(segment.member), str(segment.interval + 1), score, *values, source)
        if len(ranked) > ROWS:
            table.caption = f"and {len(ranked) - ROWS} more"
        return Group(table, self._progress)
