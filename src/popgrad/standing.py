"""Where a run stands: who trains what next, and who waits for a decision; from the record alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from popgrad.core.errors import RunError
from popgrad.core.population import Changes, Decision, Hparams, Segment, SegmentId


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


def obeyed(
    decision: Decision, newest: Mapping[int, Start], segments: Mapping[SegmentId, Segment]
) -> list[Start]:
    """What follows from a decision. A member that keeps a failed state has nothing to go on from.

    Args:
        decision: Its sources' segments are named, or are those that each source had started last.
        newest: Each member's start before it.
        segments: The record; holds all of these.

    Raises:
        RunError: It does not.
    """
    plan, found = decision.plan, []
    for i, (member, source) in enumerate(zip(plan.members, plan.sources, strict=True)):
        start = decision.starts[i] if decision.starts else newest[source].id if source in newest else None
        segment = None if start is None else segments.get(start)
        if segment is None and source == member:
            continue  # it kept a failure, which has been set aside since, to be trained again
        if segment is None:
            raise RunError(
                f"the record is damaged: decision {decision.number} starts from member {source}, which it "
                "lacks"
            )
        if segment.failed:
            continue
        # Where all are asked at once intervals are counted by decisions, else each member counts its own.
        interval = newest[member].interval + 1 if decision.starts else decision.number + 1
        found.append(Start(member, interval, start, plan.hparams[i], plan.changes[i]))
    return found


def standing(
    first: Mapping[int, Start], decisions: Sequence[Decision], segments: Mapping[SegmentId, Segment]
) -> dict[int, Start]:
    """Each member's newest start, after all recorded decisions.

    Args:
        first: What the members began with.
        decisions: In order.
        segments: The record.
    """
    newest = dict(first)
    for decision in decisions:
        follow(decision, newest, segments)
    return newest


def follow(
    decision: Decision, newest: dict[int, Start], segments: Mapping[SegmentId, Segment]
) -> list[Start]:
    """Bring each member's newest start to what it is after a decision; returns what follows from it."""
    starts = obeyed(decision, newest, segments)
    for start in starts:
        newest.pop(start.member, None)  # so that they are in the order in which they were decided
        newest[start.member] = start
    return starts
