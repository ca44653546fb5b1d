"""Ancestry: lineages, winners, copies and founders, derived from segments.

Every function is pure, accepts segments in any order, and takes one pass over them.
"""

from collections.abc import Container, Iterable, Sequence
from itertools import pairwise

from popgrad.core.errors import AllMembersFailedError, RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.record.live import Curves, live_values
from popgrad.record.schedule import Phase, Schedule


def index(segments: Iterable[Segment]) -> dict[SegmentId, Segment]:
    """Return the segments by (member, interval)."""
    return {segment.id: segment for segment in segments}


def last_segments(segments: Iterable[Segment]) -> dict[int, Segment]:
    """Return each member's last segment, by member in ascending order."""
    last: dict[int, Segment] = {}
    for segment in segments:
        if segment.member not in last or segment.interval > last[segment.member].interval:
            last[segment.member] = segment
    return dict(sorted(last.items()))


# --- scores ---------------------------------------------------------------------------------------


def rank(segment: Segment) -> tuple[bool, float, int]:
    """Return a sort key: best score first, equal scores by member, failed segments last."""
    return segment.failed, 0.0 if segment.failed else -segment.score, segment.member


def best_segments(segments: Iterable[Segment]) -> dict[int, Segment]:
    """Return the best segment of each member with a finite score; ties: the earliest interval."""
    best: dict[int, Segment] = {}
    for segment in segments:
        if not segment.failed:
            so_far = best.setdefault(segment.member, segment)
            best[segment.member] = min(so_far, segment, key=lambda s: (-s.score, s.interval))
    return best


def winner(last: Iterable[Segment]) -> Segment:
    """Return the segment with the best last score; ties: the lowest member.

    While an interval is in progress, a member that has yet to finish it counts with the one before.

    Args:
        last: Segments of the present members. Earlier segments of a member are ignored.

    Raises:
        AllMembersFailedError: No last score is finite.
    """
    alive = [segment for segment in last_segments(last).values() if not segment.failed]
    if not alive:
        raise AllMembersFailedError(
            "no member has a finite score in the last interval, so the run has no winner"
        )
    return min(alive, key=rank)


def best_ever(segments: Iterable[Segment]) -> Segment:
    """Return the segment with the best score; ties: the earliest interval, then the lowest member.

    Raises:
        AllMembersFailedError: No score is finite.
    """
    alive = [segment for segment in segments if not segment.failed]
    if not alive:
        raise AllMembersFailedError("no segment has a finite score, so the run has no best one")
    return min(alive, key=lambda segment: (-segment.score, segment.interval, segment.member))


# --- ancestry -------------------------------------------------------------------------------------


def lineage(segments: Sequence[Segment], leaf: int | SegmentId) -> tuple[Segment, ...]:
    """Return the segments behind a member's weights, root first.

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
        raise _missing(segments, leaf)

    chain = [by_id[leaf]]
    while (source := chain[-1].source) is not None:
        chain.append(_source(by_id, chain[-1], source))
        if len(chain) > len(by_id):
            raise _circle(leaf)
    return tuple(reversed(chain))


def _missing(segments: Sequence[Segment], leaf: SegmentId) -> UsageError:
    """Return the error of a segment that the record does not have, with those that it has."""
    member, interval = leaf
    message = f"the record has no segment of member {member} in interval {interval}"
    intervals = sorted(segment.interval for segment in segments if segment.member == member)
    if intervals:
        return UsageError(f"{message}; its intervals lie in {intervals[0]}..{intervals[-1]}")
    last = max((segment.member for segment in segments), default=None)
    return UsageError(message if last is None else f"{message}; its members lie in 0..{last}")


def _source(by_id: dict[SegmentId, Segment], segment: Segment, source: SegmentId) -> Segment:
    if source not in by_id:
        raise RunError(
            f"the record is damaged: segment {segment.id} starts from {source}, which is missing"
        )
    return by_id[source]


def _circle(leaf: SegmentId) -> RunError:
    return RunError(f"the record is damaged: the sources behind segment {leaf} run in a circle")


def schedule(lineage: Sequence[Segment], curves: Curves | None = None) -> Schedule:
    """Return the hyperparameters along a lineage (root first), one phase per segment.

    Args:
        lineage: Segments of the lineage, root first.
        curves: Telemetry by segment, for live values; None = unknown.
    """
    phases = (
        Phase(
            segment.first_step, segment.steps, segment.hparams, live_values(segment, curves or {})
        )
        for segment in lineage
    )
    return Schedule(tuple(phases))


def inherited(segments: Iterable[Segment]) -> frozenset[SegmentId]:
    """Return the segments that started from a donor's state: neither fresh nor their member's last one.

    A member that has rested continues from its own last segment, several intervals back.

    Args:
        segments: All segments of a run.
    """
    heirs: set[SegmentId] = set()
    last: dict[int, SegmentId] = {}
    for segment in sorted(segments, key=lambda s: s.interval):
        if segment.source is not None and segment.source != last.get(segment.member):
            heirs.add(segment.id)
        last[segment.member] = segment.id
    return frozenset(heirs)


def ancestors(segments: Sequence[Segment], leaves: Iterable[SegmentId]) -> frozenset[SegmentId]:
    """Return the segments behind the states of some segments, these included.

    Args:
        segments: All segments of a run.
        leaves: Segments of the record, such as the last one of each present member.

    Raises:
        RunError: The record is damaged: a source is missing.
    """
    by_id = index(segments)
    found: set[SegmentId] = set()
    for leaf in leaves:
        # Each walk ends at a segment that an earlier one has passed.
        segment: Segment | None = by_id[leaf]
        while segment is not None and segment.id not in found:
            found.add(segment.id)
            source = segment.source
            segment = None if source is None else _source(by_id, segment, source)
    return frozenset(found)


def jumps(
    lineage: Sequence[Segment], copied: Container[SegmentId]
) -> list[tuple[Segment, Segment]]:
    """Return each (donor's segment, heir's segment) along a lineage.

    Args:
        lineage: Segments of the lineage, root first.
        copied: Segments that inherited, from `inherited`.
    """
    return [(donor, heir) for donor, heir in pairwise(lineage) if heir.id in copied]


def donors(segments: Sequence[Segment]) -> dict[int, dict[int, SegmentId]]:
    """Return the copies of each interval that has any: heir -> the donor's segment."""
    copies: dict[int, dict[int, SegmentId]] = {}
    copied = inherited(segments)
    for segment in sorted(segments, key=lambda s: (s.interval, s.member)):
        if segment.source is not None and segment.id in copied:
            copies.setdefault(segment.interval, {})[segment.member] = segment.source
    return copies


def heirs(segments: Sequence[Segment]) -> dict[SegmentId, tuple[SegmentId, ...]]:
    """Return the inverse of `donors`: donor's segment -> the segments that started from it as heirs."""
    by_donor: dict[SegmentId, list[SegmentId]] = {}
    for interval, copies in donors(segments).items():
        for heir, donor in copies.items():
            by_donor.setdefault(donor, []).append((heir, interval))
    return {donor: tuple(copies) for donor, copies in by_donor.items()}


def roots(segments: Sequence[Segment]) -> dict[SegmentId, SegmentId]:
    """Return the founder of each segment: the fresh segment at the root of its lineage.

    Raises:
        RunError: The record is damaged: a source is missing, or the sources run in a circle.
    """
    by_id = index(segments)
    found: dict[SegmentId, SegmentId] = {}
    for segment in segments:
        # Walk back to a segment with a known root, so that all walks together take one pass.
        path = [segment]
        while path[-1].id not in found and (source := path[-1].source) is not None:
            path.append(_source(by_id, path[-1], source))
            if len(path) > len(by_id):
                raise _circle(segment.id)
        root = found.get(path[-1].id, path[-1].id)
        found.update((passed.id, root) for passed in path)
    return found


def founders(segments: Sequence[Segment]) -> dict[int, int]:
    """Return the number of fresh ancestors behind the members without a failure, for each interval.

    It measures diversity: it starts at the number of members and, unless members start fresh,
    cannot grow in a synchronous run.

    Raises:
        RunError: The record is damaged: a source is missing, or the sources run in a circle.
    """
    founder = roots(segments)
    alive: dict[int, set[SegmentId]] = {}
    for segment in segments:
        founding = alive.setdefault(segment.interval, set())
        if not segment.failed:
            founding.add(founder[segment.id])
    return {interval: len(alive[interval]) for interval in sorted(alive)}
