"""The ancestry of a population as a tree: founders, branches that leave each other, and what died out.

A branch is a whole line of descent, not a node for each segment, and other branches leave it. The
first branch of a founder follows the winner's ancestry, or else whatever has the most descendants. So
the nesting stays flat: it grows with the logarithm of the members.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.record.lineage import rank
from popgrad.record.record import Record


@dataclass(frozen=True)
class LeftOut:
    """Branches that a tree leaves out.

    Attributes:
        members: Present members.
        branches: Branches without a present member, whole founders among them.
        segments: Segments of these branches.
    """

    members: int = 0
    branches: int = 0
    segments: int = 0

    def __add__(self, other: "LeftOut") -> "LeftOut":
        return LeftOut(
            self.members + other.members,
            self.branches + other.branches,
            self.segments + other.segments,
        )


@dataclass(frozen=True)
class Branch:
    """A line of descent, and the branches that leave it.

    Attributes:
        segments: Its segments, each of which starts from the state of the one before.
        branches: Branches that start from the state of a segment, by its position in `segments`.
        left_out: Sum of what else starts from it, by the same position.
    """

    segments: tuple[Segment, ...]
    branches: Mapping[int, tuple["Branch", ...]]
    left_out: Mapping[int, LeftOut]


@dataclass(frozen=True)
class Tree:
    """The ancestry of a population.

    Attributes:
        founders: First branch of each founder that is shown, the winner's first.
        present: Members by the segment whose state they have.
        winning: Segments of the winner's ancestry; empty if there is no winner.
        living: Segments that a present member has the state of, or descends from.
        left_out: Sum of the founders that are not shown.
    """

    founders: tuple[Branch, ...]
    present: Mapping[SegmentId, tuple[int, ...]]
    winning: frozenset[SegmentId]
    living: frozenset[SegmentId]
    left_out: LeftOut


class Forest:
    """Segments by descent, of which trees are made.

    Args:
        record: A record in which every source exists, and none run in a circle.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=4, intervals=6, executor="serial")
        >>> tree = Forest(result.record).tree()
        >>> branch = tree.founders[0]
        >>> branch.segments[0].source, branch.segments[-1] == result.winner.segment
        (None, True)
    """

    def __init__(self, record: Record) -> None:
        self._by_id = record.by_id
        self._roots = [segment.id for segment in record.segments if segment.source is None]
        self._children: dict[SegmentId, list[SegmentId]] = {}
        for segment in record.segments:
            if segment.source is not None:
                self._children.setdefault(segment.source, []).append(segment.id)

        self._ranked = sorted(record.last.items(), key=lambda item: rank(item[1]))
        self._winning: frozenset[SegmentId] = frozenset()
        with suppress(AllMembersFailedError):
            self._winning = frozenset(segment.id for segment in record.lineage())

    def tree(self, *, most: int | None = None, extinct: bool = False) -> Tree:
        """Return the ancestry of the present members.

        Args:
            most: Members to show, the best ones; None = all.
            extinct: Whether to show branches without a present member as well.
        """
        shown = self._ranked[:most]
        growth = _Growth(self, self._below(segment.id for _, segment in shown), extinct)
        kept, dropped = growth.sort(self._roots)
        founders = tuple(map(growth.branch, kept))

        present: dict[SegmentId, tuple[int, ...]] = {}
        for member, segment in shown:
            present[segment.id] = (*present.get(segment.id, ()), member)
        living = frozenset(each for each, count in self.members.items() if count)
        return Tree(founders, present, self._winning, living, growth.left_out(dropped))

    @cached_property
    def _order(self) -> list[SegmentId]:
        """All segments, each after its ancestors."""
        order = []
        waiting = [*self._roots]
        while waiting:
            each = waiting.pop()
            order.append(each)
            waiting += self._children.get(each, ())
        return order

    def _below(self, ends: Iterable[SegmentId]) -> dict[SegmentId, int]:
        """Return how many of these segments each segment has among itself and its descendants."""
        total = dict.fromkeys(self._order, 0)
        for end in ends:
            total[end] += 1
        for each in reversed(self._order):
            source = self._by_id[each].source
            if source is not None:
                total[source] += total[each]
        return total

    @cached_property
    def sizes(self) -> dict[SegmentId, int]:
        """Segments among each segment and its descendants."""
        return self._below(self._order)

    @cached_property
    def members(self) -> dict[SegmentId, int]:
        """Present members among each segment and its descendants."""
        return self._below(segment.id for _, segment in self._ranked)

    def children(self, segment: SegmentId) -> list[SegmentId]:
        """Return the segments that start from the state of a segment."""
        return self._children.get(segment, [])

    def segment(self, segment: SegmentId) -> Segment:
        """Return a segment."""
        return self._by_id[segment]

    def wins(self, segment: SegmentId) -> bool:
        """Return whether a segment is part of the winner's ancestry."""
        return segment in self._winning


@dataclass(frozen=True)
class _Growth:
    """Growth of a tree from its founders.

    Attributes:
        forest: All segments.
        shown: Members to show among each segment and its descendants.
        extinct: Whether to show branches without a present member.
    """

    forest: Forest
    shown: Mapping[SegmentId, int]
    extinct: bool

    def branch(self, first: SegmentId) -> Branch:
        """Return the branch that begins with a segment."""
        line = [first]
        branches: dict[int, tuple[Branch, ...]] = {}
        left_out: dict[int, LeftOut] = {}
        while True:
            position = len(line) - 1
            kept, dropped = self.sort(self.forest.children(line[-1]))
            if dropped:
                left_out[position] = self.left_out(dropped)
            if not kept:
                return Branch(tuple(map(self.forest.segment, line)), branches, left_out)
            if kept[1:]:
                branches[position] = tuple(map(self.branch, kept[1:]))
            line.append(kept[0])

    def sort(self, segments: Iterable[SegmentId]) -> tuple[list[SegmentId], list[SegmentId]]:
        """Return the segments to show, the one to follow first, and the others."""
        kept: list[SegmentId] = []
        dropped: list[SegmentId] = []
        for segment in segments:
            (kept if self._keeps(segment) else dropped).append(segment)
        return sorted(kept, key=self._preference), dropped

    def _keeps(self, segment: SegmentId) -> bool:
        return self.shown[segment] > 0 or (self.extinct and not self.forest.members[segment])

    def _preference(self, segment: SegmentId) -> tuple[bool, int, int, SegmentId]:
        """Return a sort key: the winner's ancestry first, then what has the most descendants."""
        forest = self.forest
        return not forest.wins(segment), -self.shown[segment], -forest.sizes[segment], segment

    def left_out(self, dropped: Iterable[SegmentId]) -> LeftOut:
        """Return the sum of branches that are not shown."""
        forest = self.forest
        counts = (
            LeftOut(members=forest.members[each])
            if forest.members[each]
            else LeftOut(branches=1, segments=forest.sizes[each])
            for each in dropped
        )
        return reduce(add, counts, LeftOut())
