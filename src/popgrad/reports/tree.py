"""The ancestry of a population as text that fits a terminal, and as nested JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from popgrad.core.segment import Segment
from popgrad.record.record import Record
from popgrad.record.tree import Branch, Forest, LeftOut, Tree
from popgrad.reports.text import scores

LINES = 16
"""Most lines of a tree that is to fit a terminal of 24 lines."""

_UNBOUNDED = 10_000
"""Columns of a console that fits any table."""

_HEADING = "ancestry"
_LEGEND = "m4 (2-5): member 4, intervals 2-5; → its heir; ◇ founder; ◆ ● winner's line"


@dataclass(frozen=True)
class _Row:
    """A line of the tree: a part of a branch up to the next fork.

    Attributes:
        graph: Characters before the first name.
        stays: Names of members with their intervals, in order.
        end: Last segment of the part.
        notes: Words on its end.
        style: Style of the line.
    """

    graph: str
    stays: Sequence[str]
    end: Segment
    notes: str
    style: str

    def text(self, width: int) -> str:
        """Return the line, with stays in the middle left out until it fits.

        Args:
            width: Most characters.
        """
        for head in range(len(self.stays) - 1, -1, -1):
            middle = ["…"] if head < len(self.stays) - 1 else []
            line = self.graph + " → ".join([*self.stays[:head], *middle, self.stays[-1]])
            if len(line) <= width:
                break
        return line


class TreeTable:
    """The tree as a table: ancestry, score, and notes.

    Args:
        record: Record of the run, with at least one segment.
        every_branch: Whether to show every member, and branches that died out.
        more: Command that shows what is left out.
    """

    def __init__(self, record: Record, *, every_branch: bool = False, more: str = "") -> None:
        forest = Forest(record)
        tree = forest.tree(extinct=True) if every_branch else _fitting(forest, len(record.last))
        self._rows = [row for each in tree.founders for row in _rows(each, tree, record)]
        self._score = record.ranking.heading
        self._scores = scores([row.end for row in self._rows], record)
        self._note = _note(tree.left_out, len(record.last) - _count(tree), more)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table as wide as it may be, and what it leaves out."""
        noted = any(row.notes for row in self._rows)
        room = self._room(console, options, notes=noted)
        if noted and room < max(len(row.text(0)) for row in self._rows):
            yield self._table(self._room(console, options, notes=False), notes=False)
            yield Text("no room for notes on members", style="dim italic")
        else:
            yield self._table(room, notes=noted)

        if self._note:
            yield Text(self._note, style="dim italic")
        yield Text(_LEGEND, style="dim italic")

    def _room(self, console: Console, options: ConsoleOptions, *, notes: bool) -> int:
        """Return the columns that are left for the ancestry."""
        unbounded = options.update_width(_UNBOUNDED)
        shortest = self._table(0, notes=notes)
        own = max(len(row.text(0)) for row in self._rows)
        other = console.measure(shortest, options=unbounded).maximum - max(own, len(_HEADING))
        return max(0, options.max_width - other)

    def _table(self, width: int, *, notes: bool) -> Table:
        """Return the table.

        Args:
            width: Columns for the ancestry.
            notes: Whether to show the notes.
        """
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column(_HEADING, no_wrap=True, overflow="ellipsis")
        table.add_column(Text(self._score), justify="right", no_wrap=True)
        if notes:
            table.add_column("", no_wrap=True, overflow="ellipsis", style="not bold")
        for row, score in zip(self._rows, self._scores, strict=True):
            cells = [row.text(width), score, row.notes]
            table.add_row(*map(Text, cells[: len(table.columns)]), style=row.style)
        return table


def _fitting(forest: Forest, members: int) -> Tree:
    """Return the tree with as many of the best members as fit a terminal."""
    low = 1
    high = min(members, LINES)
    while low < high:
        middle = (low + high + 1) // 2
        tree = forest.tree(most=middle)
        if sum(_lines(each, tree) for each in tree.founders) <= LINES:
            low = middle
        else:
            high = middle - 1
    return forest.tree(most=low)


def _count(tree: Tree) -> int:
    """Return the members that a tree shows."""
    return sum(map(len, tree.present.values()))


def _note(left_out: LeftOut, members: int, more: str) -> str:
    """Return a line on what the tree leaves out; "" = nothing."""
    parts = [f"{members} more member{'s' * (members > 1)}"] if members else []
    if left_out.branches:
        plural = "s" * (left_out.branches > 1)
        parts.append(f"{left_out.branches} founder{plural} without a present descendant")
    line = f"and {', '.join(parts)}" if parts else ""
    return f"{line}: {more}" if line and more else line


# --- lines ----------------------------------------------------------------------------------------


def _parts(branch: Branch, tree: Tree) -> Iterator[tuple[int, int]]:
    """Yield the first and the last position of each part of a branch: it ends at forks and members."""
    first = 0
    for position, segment in enumerate(branch.segments):
        last = position == len(branch.segments) - 1
        if last or position in branch.branches or segment.id in tree.present:
            yield first, position
            first = position + 1


def _lines(branch: Branch, tree: Tree) -> int:
    """Return the lines that a branch takes, with those that leave it."""
    own = sum(1 for _ in _parts(branch, tree))
    return own + sum(_lines(each, tree) for group in branch.branches.values() for each in group)


def _rows(
    branch: Branch, tree: Tree, record: Record, first: str = "", rest: str = ""
) -> Iterator[_Row]:
    """Yield the lines of a branch, and of those that leave it.

    Args:
        branch: The branch.
        tree: Its tree.
        record: Record of the run.
        first: Characters before its first line.
        rest: Characters before its other lines.
    """
    for start, end in _parts(branch, tree):
        part = branch.segments[start : end + 1]
        left_out = [branch.left_out.get(position) for position in range(start, end + 1)]
        mark = _mark(part[-1], tree, founder=part[0].source is None)
        prefix = f"{rest if start else first}{mark} "
        notes = _notes(part[-1], list(filter(None, left_out)), tree, record)
        yield _Row(prefix, _stays(part), part[-1], notes, _style(part[-1], tree))

        for each in branch.branches.get(end, ()):
            yield from _rows(each, tree, record, f"{rest}├─", f"{rest}│ ")


def _mark(end: Segment, tree: Tree, *, founder: bool) -> str:
    if founder:
        return "◆" if end.id in tree.winning else "◇"
    if end.id in tree.winning:
        return "●"
    return "○" if end.id in tree.living else "·"


def _stays(part: Sequence[Segment]) -> list[str]:
    """Return each member with its first and last interval, such as "m3 (5-9)"."""
    spans = [
        (member, f"{own[0]}-{own[-1]}" if own[1:] else f"{own[0]}") for member, own in _paths(part)
    ]
    return [f"m{member} ({span})" for member, span in spans]


def _notes(end: Segment, left_out: Sequence[LeftOut], tree: Tree, record: Record) -> str:
    """Return the words on the end of a part: its members, and what leaves the part."""
    total = sum(left_out, LeftOut())
    here = tree.present.get(end.id, ())
    words = []
    if here:
        words.append("winner" if end.id == _winner(tree, record) else "present")
    if any(member in record.resting for member in here):
        words.append("rests")
    if total.members:
        words.append(f"+{total.members} member{'s' * (total.members > 1)}")
    if total.branches:
        words.append(f"{total.branches} died out")
    return ", ".join(words)


def _winner(tree: Tree, record: Record) -> object:
    return record.winner.id if tree.winning else None


def _style(end: Segment, tree: Tree) -> str:
    if end.failed:
        return "red"
    if end.id in tree.winning:
        return "bold green"
    return "" if end.id in tree.living else "dim"


# --- JSON -----------------------------------------------------------------------------------------


def tree_data(record: Record, *, every_branch: bool = False) -> dict[str, Any]:
    """Return the ancestry as nested plain JSON.

    Keys: metric, direction ("minimize" or "maximize"), winner ([member, interval] or None), founders
    (branches), left_out (founders without a present member). A branch has path (members with their
    first and last intervals, in order of training), score of its end (None = failed), present
    (members by the segment whose state they have), branches (each with `after`, the segment that it
    starts from) and left_out (counts of branches and of their segments).

    Args:
        record: Record of the run.
        every_branch: Whether branches without a present member are part of it.
    """
    tree = Forest(record).tree(extinct=every_branch)
    return {
        "metric": record.ranking.metric,
        "direction": record.ranking.direction,
        "winner": record.winner.id if tree.winning else None,
        "founders": [_branch_data(each, tree, record) for each in tree.founders],
        "left_out": _counts(tree.left_out),
    }


def _branch_data(branch: Branch, tree: Tree, record: Record) -> dict[str, Any]:
    end = branch.segments[-1]
    return {
        "path": [
            {"member": member, "first_interval": own[0], "last_interval": own[-1]}
            for member, own in _paths(branch.segments)
        ],
        "score": None if end.failed else record.ranking.shown(end.score),
        "winner": end.id in tree.winning,
        "living": end.id in tree.living,
        "present": [
            {"member": member, "segment": list(segment.id)}
            for segment in branch.segments
            for member in tree.present.get(segment.id, ())
        ],
        "branches": [
            {"after": list(branch.segments[position].id), **_branch_data(each, tree, record)}
            for position, group in branch.branches.items()
            for each in group
        ],
        "left_out": _counts(sum(branch.left_out.values(), LeftOut())),
    }


def _paths(segments: Sequence[Segment]) -> Iterator[tuple[int, list[int]]]:
    for member, group in groupby(segments, key=lambda segment: segment.member):
        yield member, [segment.interval for segment in group]


def _counts(left_out: LeftOut) -> Mapping[str, int]:
    return {"branches": left_out.branches, "segments": left_out.segments}
