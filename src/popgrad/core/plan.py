"""Plans and decisions as frozen data: what the ready members do next.

In the shape descriptions N is the size of the population and R the number of ready members.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from popgrad.core.population import Changes, Hparams, SegmentId

LONGEST_ROLE = 200
"""Most characters of a role."""

LONGEST_SEGMENT = 1_000_000
"""Most intervals that a segment lasts, so that a damaged record asks for no endless training."""


@dataclass(frozen=True)
class Transform:
    """A change of the state that a member inherits, before it trains: a name and its numbers.

    Attributes:
        name: Name of the transform, a key of `popgrad.tasks.transforms.TRANSFORMS`.
        settings: Its numbers, by name.
    """

    name: str
    settings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The next step of each ready member. Executors obey it; the journal stores it as obeyed.

    Attributes:
        members: [R] ready members.
        sources: [R] members to continue from, each from its last completed segment; the member
            itself = keep, or start fresh if it is new. N + i = the i-th segment of the population's
            archive. `FRESH` = start fresh.
        hparams: [R] complete hyperparameters, changed or not.
        changes: [R] origin of each hyperparameter.
        rests: [R] whether each member rests: it keeps its state and trains nothing. () = none.
        lengths: [R] intervals that the next segment of each member lasts, at least 1; () = one each.
        transforms: [R] change of the state that each member starts from; None = it is not changed.
            () = none.
        roles: [R] role of each member, from its next segment on; () = none has a role.
        keep: Segments whose states stay, as the archive of the next decision. Each is the last
            segment of a member, or in the present archive.

    Example:
        Member 0 continues; member 1 copies its weights, and explores.

        >>> from popgrad import Plan
        >>> plan = Plan(
        ...     members=(0, 1),
        ...     sources=(0, 0),
        ...     hparams=({"lr": 0.1}, {"lr": 0.08}),
        ...     changes=({"lr": "kept"}, {"lr": 0.8}),
        ... )
        >>> [member for member, source in zip(plan.members, plan.sources) if source != member]
        [1]
    """

    members: tuple[int, ...]
    sources: tuple[int, ...]
    hparams: tuple[Hparams, ...]
    changes: tuple[Changes, ...]
    rests: tuple[bool, ...] = ()
    lengths: tuple[int, ...] = ()
    transforms: tuple[Transform | None, ...] = ()
    roles: tuple[str, ...] = ()
    keep: tuple[SegmentId, ...] = ()


class Entry(NamedTuple):
    """The part of a plan for one member. The attributes are those of `Plan`, in the singular."""

    source: int
    hparams: Hparams
    changes: Changes
    rests: bool = False
    length: int = 1
    transform: Transform | None = None
    role: str = ""


def entries(plan: Plan) -> dict[int, Entry]:
    """Return the entries of a plan by member, in its order."""
    count = len(plan.members)
    columns = zip(
        plan.sources,
        plan.hparams,
        plan.changes,
        plan.rests or (False,) * count,
        plan.lengths or (1,) * count,
        plan.transforms or (None,) * count,
        plan.roles or ("",) * count,
        strict=True,
    )
    return {member: Entry(*own) for member, own in zip(plan.members, columns, strict=True)}


def resting(plan: Plan) -> frozenset[int]:
    """Return the members that rest after a plan."""
    return frozenset(member for member, entry in entries(plan).items() if entry.rests)


def plan_of(by_member: Mapping[int, Entry], keep: tuple[SegmentId, ...] = ()) -> Plan:
    """Return the plan of entries by member, in their order; a column of defaults is ().

    Args:
        by_member: Entries of the members.
        keep: Segments whose states stay.

    Example:
        >>> plan = plan_of({1: Entry(1, {"lr": 0.1}, {"lr": "kept"})})
        >>> plan.members, plan.sources, plan.rests
        ((1,), (1,), ())
    """
    own = tuple(by_member.values())
    rests = tuple(entry.rests for entry in own)
    lengths = tuple(entry.length for entry in own)
    transforms = tuple(entry.transform for entry in own)
    roles = tuple(entry.role for entry in own)

    return Plan(
        tuple(by_member),
        tuple(entry.source for entry in own),
        tuple(entry.hparams for entry in own),
        tuple(entry.changes for entry in own),
        rests=rests if any(rests) else (),
        lengths=lengths if any(length != 1 for length in lengths) else (),
        transforms=transforms if any(transforms) else (),
        roles=roles if any(roles) else (),
        keep=keep,
    )


def cut(plan: Plan, left: int) -> Plan:
    """Return the plan cut to the member-intervals that are left.

    All segments are shortened alike; if not every member can train one interval, the last ones of
    the plan rest.

    Args:
        plan: Plan that may want more.
        left: Member-intervals that are left, at least 0.

    Example:
        >>> plan = Plan((0, 1), (0, 0), ({}, {}), ({}, {}), lengths=(4, 4))
        >>> cut(plan, 6).lengths, cut(plan, 1).rests
        ((3, 3), (False, True))
    """
    by_member = entries(plan)
    at_work = [member for member, entry in by_member.items() if not entry.rests]
    wanted = [by_member[member].length for member in at_work]
    if sum(wanted) <= left and max(wanted, default=0) <= LONGEST_SEGMENT:
        return plan

    share = min(max(1, left // len(at_work)), LONGEST_SEGMENT)
    for place, member in enumerate(at_work):
        entry = by_member[member]
        by_member[member] = entry._replace(
            length=min(entry.length, share), rests=(place + 1) * share > left
        )
    return plan_of(by_member, plan.keep)


@dataclass(frozen=True)
class Decision:
    """A plan as it was obeyed, with the strategy's memory after it.

    Attributes:
        number: Position among the decisions of a run, from 0.
        plan: The obeyed plan.
        memory: Memory of the strategy, plain JSON; its input at the next decision.
        starts: [R] last completed segments of the sources if members decide one by one; None = a
            new member that starts fresh. Empty if all members decide at once.
        size: Members of the population from this decision on; None = unchanged.
        archived: Archived segments that entries of the plan start from, by position of the entry.
    """

    number: int
    plan: Plan
    memory: Mapping[str, object]
    starts: tuple[SegmentId | None, ...] = ()
    size: int | None = None
    archived: Mapping[int, SegmentId] = field(default_factory=dict)
