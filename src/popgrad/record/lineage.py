"""Questions to the record: who descends from whom, who won, and the schedule that trained it.

Every query is a pure function of the segments, takes any order of them, and costs one pass.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from popgrad.core.errors import NobodyLeftError, RunError, UsageError
from popgrad.core.population import Segment, SegmentId
from popgrad.record.schedule import Phase, Schedule


def index(segments: Iterable[Segment]) -> dict[SegmentId, Segment]:
    """The segments by (member, interval)."""
    return {segment.id: segment for segment in segments}


def last_segments(segments: Iterable[Segment]) -> dict[int, Segment]:
    """Each member's last segment, by member, members in ascending order."""
    last: dict[int, Segment] = {}
    for segment in segments:
        if segment.member not in last or segment.interval > last[segment.member].interval:
            last[segment.member] = segment
    return dict(sorted(last.items()))


def best_segments(segments: Iterable[Segment]) -> dict[int, Segment]:
    """The best score of each member that ever had a finite one; ties: the earliest interval."""
    best: dict[int, Segment] = {}
    for segment in segments:
        if not segment.failed:
            found = best.setdefault(segment.member, segment)
            best[segment.member] = min(found, segment, key=lambda s: (-s.score, s.interval))
    return best


def lineage(segments: Sequence[Segment], leaf: int | SegmentId) -> tuple[Segment, ...]:
    """The segments behind a member's weights, root first.

    Args:
        segments: The record.
        leaf: A member (its last segment is meant) or (member, interval).

    Raises:
        UsageError: The record has no such member or segment.
        RunError: The record is damaged: a source is missing, or the sources run in a circle.
    """
    by_id = index(segments)
    if not isinstance(leaf, tuple):
        last = last_segments(segments)
        if leaf not in last:
            raise UsageError(
                f"member {leaf} has no finished segment; members that have: {sorted(last)}"
            )
        leaf = last[leaf].id
    if leaf not in by_id:
        raise UsageError(f"the record has no segment of member {leaf[0]} in interval {leaf[1]}")
    chain = [by_id[leaf]]
    while (source := chain[-1].source) is not None:
        chain.append(_source(by_id, chain[-1], source))
        if len(chain) > len(by_id):
            raise RunError(
                f"the record is damaged: the sources behind segment {leaf} run in a circle"
            )
    return tuple(reversed(chain))


def _source(by_id: dict[SegmentId, Segment], segment: Segment, source: SegmentId) -> Segment:
    if source not in by_id:
        raise RunError(
            f"the record is damaged: segment {segment.id} starts from {source}, which it lacks"
        )
    return by_id[source]


def schedule(lineage: Sequence[Segment]) -> Schedule:
    """The hyperparameters along a lineage (root first), one phase per segment."""
    return Schedule(
        tuple(Phase(segment.first_step, segment.steps, segment.hparams) for segment in lineage)
    )


def winner(segments: Iterable[Segment]) -> Segment:
    """The best last score of a member that is alive; ties: the lowest member.

    While an interval is in progress, a member that has yet to finish it stands with the one before. Where
    members have left the population, give the last segments of those who are in it alone.

    Raises:
        NobodyLeftError: Nobody is alive.
    """
    alive = [segment for segment in last_segments(segments).values() if not segment.failed]
    if not alive:
        raise NobodyLeftError(
            "no member has a finite score in the last interval, so the run has no winner"
        )
    return min(alive, key=lambda segment: (-segment.score, segment.member))


def best_ever(segments: Sequence[Segment]) -> Segment:
    """The best score of the whole run; ties: the earliest interval, then the lowest member.

    Raises:
        NobodyLeftError: No score is finite.
    """
    best = _best(segments)
    if best is None:
        raise NobodyLeftError("no segment has a finite score, so the run has no best one")
    return best


def _best(segments: Iterable[Segment]) -> Segment | None:
    alive = (segment for segment in segments if not segment.failed)
    return min(alive, key=lambda s: (-s.score, s.interval, s.member), default=None)


def rank(segment: Segment) -> tuple[bool, float, int]:
    """Sort key: the best score first, equal scores by member, failed segments last."""
    return segment.failed, 0.0 if segment.failed else -segment.score, segment.member


def inherited(segment: Segment) -> bool:
    """Whether it started from a donor's state: neither fresh nor its own previous interval."""
    return segment.source is not None and segment.source != (segment.member, segment.interval - 1)


def donors(segments: Sequence[Segment]) -> dict[int, dict[int, SegmentId]]:
    """Who copied whom: for every interval in which somebody did, heir -> the donor's segment."""
    copies: dict[int, dict[int, SegmentId]] = {}
    for segment in sorted(segments, key=lambda s: (s.interval, s.member)):
        if segment.source is not None and inherited(segment):
            copies.setdefault(segment.interval, {})[segment.member] = segment.source
    return copies


def heirs(segments: Sequence[Segment]) -> dict[SegmentId, tuple[SegmentId, ...]]:
    """The other way round: donor's segment -> the segments that started from it as heirs."""
    found: dict[SegmentId, list[SegmentId]] = {}
    for interval, copies in donors(segments).items():
        for heir, donor in copies.items():
            found.setdefault(donor, []).append((heir, interval))
    return {donor: tuple(them) for donor, them in found.items()}


def founders(segments: Sequence[Segment]) -> dict[int, int]:
    """Diversity: for every interval, how many fresh ancestors the members that did not fail descend from.

    It starts at the number of members and, unless members start afresh, cannot grow in a synchronous run.
    """
    by_id = index(segments)
    roots: dict[SegmentId, SegmentId] = {}
    for segment in segments:
        path = [segment]
        while path[-1].id not in roots and (source := path[-1].source) is not None:
            path.append(_source(by_id, path[-1], source))
            if len(path) > len(by_id):
                raise RunError(
                    f"the record is damaged: the sources behind segment {segment.id} run in a circle"
                )
        root = roots.get(path[-1].id, path[-1].id)
        roots.update((passed.id, root) for passed in path)
    alive: dict[int, set[SegmentId]] = {}
    for segment in segments:
        roots_here = alive.setdefault(segment.interval, set())
        if not segment.failed:
            roots_here.add(roots[segment.id])
    return {interval: len(alive[interval]) for interval in sorted(alive)}


def jumps(lineage: Sequence[Segment]) -> list[tuple[Segment, Segment]]:
    """Along a lineage (root first): each (donor's segment, heir's segment)."""
    return [(donor, heir) for donor, heir in pairwise(lineage) if inherited(heir)]
