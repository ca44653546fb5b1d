"""The live table: the members' latest segments, as many as fit a terminal, the best first."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record.lineage import rank
from popgrad.reports.history import searched
from popgrad.reports.tables import headings, numbers
from popgrad.reports.text import style

_UNBOUNDED = 10_000
"""Columns of a console that fits any table."""


def members_table(
    last: Iterable[Segment],
    score: Score,
    space: Space,
    console: Console,
    *,
    height: int,
    resting: Collection[int] = (),
) -> list[Table | Text]:
    """Return a table of members that fits a console, and a line on what it hides.

    Args:
        last: Latest segment of each member, at least one.
        score: Metric that ranks.
        space: Search space; its constants are left out.
        console: Console to fit.
        height: Most members.
        resting: Members that rest.
    """
    ranked = sorted(last, key=rank)
    shown = ranked[: max(1, height)]
    more = len(ranked) - len(shown)

    names = list(searched(space))
    unbounded = console.options.update_width(_UNBOUNDED)
    for count in range(len(names), -1, -1):
        table = _table(shown, score, names[:count], resting)
        if console.measure(table, options=unbounded).maximum <= console.width:
            break

    hidden = [_more(more, "member")] * (more > 0)
    hidden += [_more(len(names) - count, "hyperparameter")] * (count < len(names))
    line = Text(f"and {', '.join(hidden)}", style="dim italic", no_wrap=True, overflow="ellipsis")
    return [table, line] if hidden else [table]


def _table(
    ranked: Sequence[Segment], score: Score, names: Sequence[str], resting: Collection[int]
) -> Table:
    first = ("member", "", "interval", score.heading)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in (*first, *headings(names, first).values(), ""):
        table.add_column(Text(heading), justify="right", no_wrap=True)

    scores = numbers(score.shown(segment.score) for segment in ranked)
    marks = ["rests" if segment.member in resting else "" for segment in ranked]
    columns = [
        [str(segment.member) for segment in ranked],
        ["best", *marks[1:]],
        [str(segment.interval) for segment in ranked],
        ["failed" if s.failed else text for s, text in zip(ranked, scores, strict=True)],
        *(numbers(segment.hparams[name] for segment in ranked) for name in names),
        [_origin(segment) for segment in ranked],
    ]
    for segment, *row in zip(ranked, *columns, strict=True):
        best = segment is ranked[0]
        table.add_row(
            *map(Text, row), style=style(segment, best=best, copied=bool(_origin(segment)))
        )
    return table


def _more(count: int, noun: str) -> str:
    return f"{count} more {noun}{'s' * (count > 1)}"


def _origin(segment: Segment) -> str:
    """Return the donor, if the segment continues from another member."""
    if segment.source is None or segment.source[0] == segment.member:
        return ""
    return f"← m{segment.source[0]}"
