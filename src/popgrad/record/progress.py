"""Progress of the members: the next segment of each, derived from decisions and segments."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from popgrad.core.errors import RunError
from popgrad.core.plan import Decision, Transform, entries
from popgrad.core.population import FRESH, Changes, Hparams, SegmentId
from popgrad.core.segment import Segment


@dataclass(frozen=True)
class PendingSegment:
    """A segment that has been decided on and may not have been trained yet.

    Attributes:
        member: Slot that trains it.
        interval: Interval of that member, from 0.
        source: Segment whose final state it starts from; None = a fresh member.
        hparams: Complete hyperparameters.
        changes: Origin of each hyperparameter, as in `Segment`.
        transform: Change of the source state before it trains; None = there is none.
        role: Role of the member; "" = it has none.
        length: Intervals that it lasts.
    """

    member: int
    interval: int
    source: SegmentId | None
    hparams: Hparams
    changes: Changes
    transform: Transform | None = None
    role: str = ""
    length: int = 1

    @property
    def id(self) -> SegmentId:
        """(member, interval)."""
        return self.member, self.interval


@dataclass(frozen=True)
class RefilledSlot:
    """A slot that got a new occupant when the population changed its size.

    Attributes:
        interval: First interval of the new occupant.
        holds: Segment whose state it has before it has trained; None = it has none yet.
    """

    interval: int
    holds: SegmentId | None


@dataclass
class Progress:
    """State of the members between two decisions. `apply` moves it on.

    Attributes:
        newest: Newest decided segment of each present member, in the order of the decisions.
        refilled: Slots that got a new occupant, by member.
        departed: Last interval of each slot that is empty now, by member.
    """

    newest: dict[int, PendingSegment]
    refilled: dict[int, RefilledSlot] = field(default_factory=dict)
    departed: dict[int, int] = field(default_factory=dict)

    def apply(
        self, decision: Decision, segments: Mapping[SegmentId, Segment]
    ) -> list[PendingSegment]:
        """Move on by one decision, and return the segments that it starts.

        Args:
            decision: The next decision of the record.
            segments: The record; it holds every segment that the decision starts from.

        Raises:
            RunError: A segment that the decision starts from is missing.
        """
        starts = starts_after(decision, self, segments)
        if decision.size is not None:
            self._resize(decision.size, starts)

        for start in starts:
            # Inserted again below, so that the order is that of the decisions.
            self.newest.pop(start.member, None)
            self.newest[start.member] = start
        return starts

    def _resize(self, size: int, starts: Sequence[PendingSegment]) -> None:
        """Empty the slots from `size` on, and note the new occupants of the others.

        A new member has no state yet. If the population shrinks, a member that moves into a lower
        slot has the state that it inherits at once.
        """
        shrinks = size < len(self.newest)
        for member in [member for member in self.newest if member >= size]:
            self.departed[member] = self.newest.pop(member).interval
            self.refilled.pop(member, None)

        for start in starts:
            if start.member not in self.newest:
                self.refilled[start.member] = RefilledSlot(start.interval, None)
            elif (
                shrinks
                and start.source is not None
                and start.source != self.newest[start.member].id
            ):
                self.refilled[start.member] = RefilledSlot(start.interval, start.source)

    def first_interval(
        self, member: int, number: int, segments: Mapping[SegmentId, Segment], *, synchronous: bool
    ) -> int:
        """Return the first interval of a member that joins: the next one of the least advanced member.

        Args:
            member: Slot of the new member.
            number: Number of the decision that it joins with.
            segments: The record, with the newest segment of every member.
            synchronous: Whether all members decide at once; intervals then count decisions.
        """
        if synchronous:
            return number + 1

        newest = [segments[start.id] for start in self.newest.values()]
        alive = [segment.interval for segment in newest if not segment.failed]
        least = min(alive or [segment.interval for segment in newest])
        # A slot never trains an interval twice, even if its member has left meanwhile.
        return 1 + max(least, self.departed.get(member, -1))

    def last(self, segments: Iterable[Segment]) -> dict[int, Segment]:
        """Return the segment whose state each present member has, by member, if it has one."""
        by_id = {segment.id: segment for segment in segments}
        last: dict[int, Segment] = {}
        for segment in by_id.values():
            member = segment.member
            if member not in self.newest or segment.interval < self._begin(member):
                continue
            if member not in last or segment.interval > last[member].interval:
                last[member] = segment

        for member, slot in self.refilled.items():
            if member not in last and slot.holds in by_id:
                last[member] = by_id[slot.holds]
        return dict(sorted(last.items()))

    def _begin(self, member: int) -> int:
        """Return the first interval of the present occupant of a slot."""
        return self.refilled[member].interval if member in self.refilled else 0

    def ahead(self, trained: Container[SegmentId]) -> set[SegmentId]:
        """Return the segments that a decided but untrained segment starts from."""
        starts = self.newest.values()
        return {
            start.source for start in starts if start.id not in trained and start.source is not None
        }


def first_starts(
    hparams: Sequence[Hparams], changes: Sequence[Changes], roles: Sequence[str] = ()
) -> dict[int, PendingSegment]:
    """Return the first segments of the members, by member.

    Args:
        hparams: [N] complete hyperparameters of each member.
        changes: [N] origin of each hyperparameter.
        roles: [N] role of each member; () = none has a role.
    """
    columns = zip(hparams, changes, roles or [""] * len(hparams), strict=True)
    return {
        member: PendingSegment(member, 0, None, own, origin, role=role)
        for member, (own, origin, role) in enumerate(columns)
    }


def recorded_starts(segments: Iterable[Segment]) -> dict[int, PendingSegment]:
    """Return the recorded first segments of the members that the run started with."""
    first = (segment for segment in segments if segment.interval == 0)
    return {
        each.member: PendingSegment(
            each.member, 0, None, each.hparams, each.changes, role=each.role, length=each.length
        )
        for each in first
    }


def progress_after(
    first: Mapping[int, PendingSegment],
    decisions: Iterable[Decision],
    segments: Mapping[SegmentId, Segment],
) -> Progress:
    """Return the progress after all given decisions.

    Args:
        first: First segments of the members.
        decisions: Decisions in order.
        segments: The record.

    Raises:
        RunError: A segment that a decision starts from is missing.
    """
    progress = Progress(dict(first))
    for decision in decisions:
        progress.apply(decision, segments)
    return progress


def starts_after(
    decision: Decision, before: Progress, segments: Mapping[SegmentId, Segment]
) -> list[PendingSegment]:
    """Return the segments that a decision starts. A member that keeps a failed state starts none.

    Args:
        decision: The decision; it names the segments to start from, or means the newest of each
            source.
        before: Progress before the decision.
        segments: The record; it holds every segment that the decision starts from.

    Raises:
        RunError: A segment that the decision starts from is missing.
    """
    newest = before.newest
    starts = []
    for i, (member, entry) in enumerate(entries(decision.plan).items()):
        if entry.rests:
            continue
        joins = decision.size is not None and member not in newest
        begins = entry.source == FRESH or (joins and entry.source == member)
        source_id = None if begins else _source_id(decision, i, newest)
        segment = None if source_id is None else segments.get(source_id)

        if not begins and segment is None and entry.source == member:
            # It kept a failure, which has been set aside since and is retrained.
            continue
        if not begins and segment is None:
            raise RunError(
                f"the record is damaged: decision {decision.number} starts from member {entry.source}, "
                "whose segment is missing"
            )
        if segment is not None and segment.failed:
            continue

        interval = _interval(decision, member, before, segments)
        starts.append(
            PendingSegment(
                *(member, interval, source_id, entry.hparams, entry.changes),
                transform=entry.transform,
                role=entry.role,
                length=entry.length,
            )
        )
    return starts


def _source_id(
    decision: Decision, i: int, newest: Mapping[int, PendingSegment]
) -> SegmentId | None:
    """Return the segment that entry `i` of a plan starts from; None = the source has none."""
    if i in decision.archived:
        return decision.archived[i]
    if decision.starts:
        return decision.starts[i]
    source = decision.plan.sources[i]
    return newest[source].id if source in newest else None


def _interval(
    decision: Decision, member: int, before: Progress, segments: Mapping[SegmentId, Segment]
) -> int:
    """Return the interval that a member trains after a decision.

    Intervals count decisions if all members decide at once; else each member counts its own.
    """
    if not decision.starts:
        return decision.number + 1
    if member in before.newest:
        return before.newest[member].interval + 1
    if decision.size is None or not all(start.id in segments for start in before.newest.values()):
        raise RunError(
            f"the record is damaged: decision {decision.number} is for member {member}, which is missing"
        )
    return before.first_interval(member, decision.number, segments, synchronous=False)
