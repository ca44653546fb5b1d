"""Where a run stands: who trains what next, and who waits for a decision; from the record alone."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from popgrad.core.errors import RunError
from popgrad.core.population import Changes, Decision, Hparams, Segment, SegmentId
from popgrad.store.journal import Journal
from popgrad.store.lineage import index, last_segments


@dataclass(frozen=True)
class Start:
    """A segment that has been decided on.

    Attributes:
        member: The slot.
        interval: The member's interval, from 0.
        source: Segment whose final state it starts from; None = a fresh member.
        hparams: Complete.
        changes: What made them.
    """

    member: int
    interval: int
    source: SegmentId | None
    hparams: Hparams
    changes: Changes

    @property
    def id(self) -> SegmentId:
        """(member, interval)."""
        return self.member, self.interval


def first_starts(hparams: Sequence[Hparams], changes: Sequence[Changes]) -> dict[int, Start]:
    """What the members begin with, by member."""
    each = enumerate(zip(hparams, changes, strict=True))
    return {member: Start(member, 0, None, h, c) for member, (h, c) in each}


@dataclass(frozen=True)
class Seat:
    """A slot that was filled anew when the population changed its size.

    Attributes:
        interval: The first that is trained in it since.
        holds: The segment whose state it has until it has trained that; None = it has none.
    """

    interval: int
    holds: SegmentId | None


@dataclass(frozen=True)
class Standing:
    """Where the members are. It moves on with each decision.

    Attributes:
        newest: Each member's newest start.
        seats: Slots that were filled anew.
        left: The interval that a slot had come to which nobody is in any more.
    """

    newest: dict[int, Start]
    seats: dict[int, Seat] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)

    def first_interval(
        self, member: int, number: int, segments: Mapping[SegmentId, Segment], *, together: bool
    ) -> int:
        """A new member's first interval: the one that comes next, for whoever has come the least far.

        Args:
            member: The new one.
            number: Of the decision that it begins with.
            segments: The record, with every member's newest.
            together: Whether all decide at once, so that intervals are counted by decisions.
        """
        if together:
            return number + 1
        last = [segments[start.id] for start in self.newest.values()]
        alive = [segment.interval for segment in last if not segment.failed]
        least = min(alive or [segment.interval for segment in last])
        return 1 + max(least, self.left.get(member, -1))  # a slot never trains an interval twice

    def last(self, segments: Iterable[Segment]) -> dict[int, Segment]:
        """Each member's last segment: that of the state which it has. Members that have none are left out."""
        by_id = {segment.id: segment for segment in segments}
        found: dict[int, Segment] = {}
        for segment in by_id.values():
            member = segment.member
            if member not in self.newest or segment.interval < self.begun(member):
                continue
            if member not in found or segment.interval > found[member].interval:
                found[member] = segment
        for member, seat in self.seats.items():
            if member not in found and seat.holds in by_id:
                found[member] = by_id[seat.holds]
        return dict(sorted(found.items()))

    def begun(self, member: int) -> int:
        """The first interval of whoever is in a slot now."""
        return self.seats[member].interval if member in self.seats else 0

    def ahead(self, segments: Container[SegmentId]) -> set[SegmentId]:
        """Segments that somebody is yet to start from."""
        return {s.source for s in self.newest.values() if s.id not in segments and s.source is not None}


def obeyed(decision: Decision, before: Standing, segments: Mapping[SegmentId, Segment]) -> list[Start]:
    """What follows from a decision. A member that keeps a failed state has nothing to go on from.

    Args:
        decision: Its sources' segments are named, or are those that each source had started last.
        before: Where the members were.
        segments: The record; holds all of these.

    Raises:
        RunError: It does not.
    """
    plan, newest, found = decision.plan, before.newest, []
    for i, (member, source) in enumerate(zip(plan.members, plan.sources, strict=True)):
        begins = decision.size is not None and member not in newest
        start = None if begins and source == member else _source(decision, i, newest)
        segment = None if start is None else segments.get(start)
        if not begins and segment is None and source == member:
            continue  # it kept a failure, which has been set aside since, to be trained again
        if segment is None and source != member:
            raise RunError(
                f"the record is damaged: decision {decision.number} starts from member {source}, which it "
                "lacks"
            )
        if segment is not None and segment.failed:
            continue
        interval = _interval(decision, member, before, segments)
        found.append(Start(member, interval, start, plan.hparams[i], plan.changes[i]))
    return found


def _source(decision: Decision, i: int, newest: Mapping[int, Start]) -> SegmentId | None:
    if decision.starts:
        return decision.starts[i]
    source = decision.plan.sources[i]
    return newest[source].id if source in newest else None


def _interval(
    decision: Decision, member: int, before: Standing, segments: Mapping[SegmentId, Segment]
) -> int:
    """Where all are asked at once intervals are counted by decisions, else each member counts its own."""
    if not decision.starts:
        return decision.number + 1
    if member in before.newest:
        return before.newest[member].interval + 1
    if decision.size is None or not all(start.id in segments for start in before.newest.values()):
        raise RunError(
            f"the record is damaged: decision {decision.number} is for member {member}, which it lacks"
        )
    return before.first_interval(member, decision.number, segments, together=False)


def standing(
    first: Mapping[int, Start], decisions: Iterable[Decision], segments: Mapping[SegmentId, Segment]
) -> Standing:
    """Where the members are, after all recorded decisions.

    Args:
        first: What the members began with.
        decisions: In order.
        segments: The record.
    """
    found = Standing(dict(first))
    for decision in decisions:
        follow(decision, found, segments)
    return found


def recorded_starts(segments: Iterable[Segment]) -> dict[int, Start]:
    """What the first members began with, as far as they have trained it."""
    first = (segment for segment in segments if segment.interval == 0)
    return {s.member: Start(s.member, 0, None, s.hparams, s.changes) for s in first}


def follow(decision: Decision, now: Standing, segments: Mapping[SegmentId, Segment]) -> list[Start]:
    """Bring the members to where they are after a decision; returns what follows from it."""
    starts = obeyed(decision, now, segments)
    if decision.size is not None:
        _resize(decision.size, starts, now)
    for start in starts:
        now.newest.pop(start.member, None)  # so that they are in the order in which they were decided
        now.newest[start.member] = start
    return starts


def _resize(size: int, starts: Sequence[Start], now: Standing) -> None:
    """New members have no state yet. Where some leave, those who stay have at once what they are given."""
    shrinks = size < len(now.newest)
    for member in [member for member in now.newest if member >= size]:
        now.left[member] = now.newest.pop(member).interval
        now.seats.pop(member, None)
    for start in starts:
        if start.member not in now.newest:
            now.seats[start.member] = Seat(start.interval, None)
        elif shrinks and start.source is not None and start.source != now.newest[start.member].id:
            now.seats[start.member] = Seat(start.interval, start.source)


class Present(NamedTuple):
    """Who is in the population now.

    Attributes:
        last: Each member's last segment, by member; its state is the member's.
        ahead: Segments that somebody is yet to start from, where members have left who had trained them.
    """

    last: dict[int, Segment]
    ahead: set[SegmentId]


def present(segments: Sequence[Segment], decisions: Sequence[Decision]) -> Present:
    """Who is in the population after all recorded decisions.

    Args:
        segments: The record.
        decisions: All of them; may be left out where the population has never changed its size.
    """
    if all(decision.size is None for decision in decisions):
        return Present(last_segments(segments), set())
    by_id = index(segments)
    found = standing(recorded_starts(segments), decisions, by_id)
    return Present(found.last(segments), found.ahead(by_id))


def present_in(journal: Journal, segments: Sequence[Segment]) -> Present:
    """The same from a journal, whose decisions are only read where they are needed."""
    return present(segments, journal.decisions() if len(journal.sizes()) > 1 else ())
