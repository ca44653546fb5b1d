"""The places of segments in a family tree: a row for each member, and a clock that never runs back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.record.copies import copy_counts, slot_order
from popgrad.record.record import Record

Times = Mapping[SegmentId, tuple[float, float]]
"""Begin and end of each segment on the horizontal axis."""


@dataclass(frozen=True)
class Layout:
    """Places of the segments of a run.

    Attributes:
        rows: Row by member, from 0 at the top.
        times: Begin and end of each segment.
        label: Words for the horizontal axis.
        groups: (role, its first row, its last row) from the top, if members have roles.
    """

    rows: Mapping[int, int]
    times: Times
    label: str
    groups: tuple[tuple[str, int, int], ...] = ()


def lay_out(record: Record) -> Layout:
    """Return the places of the segments of a run.

    Rows are in an order that keeps donors and heirs close, within each role if there are any.

    Args:
        record: Record with at least one segment.
    """
    copies = copy_counts(record.segments)
    roles = _roles(record.segments)
    order: list[int] = []
    groups: list[tuple[str, int, int]] = []
    for role in sorted(set(roles.values()), key=_by_number):
        members = [member for member in roles if roles[member] == role]
        own = {pair: n for pair, n in copies.items() if roles[pair[0]] == roles[pair[1]] == role}
        groups.append((role, len(order), len(order) + len(members) - 1))
        order += slot_order(members, own)

    label, times = _times(record.segments)
    named = tuple(groups) if len(groups) > 1 else ()
    return Layout({member: row for row, member in enumerate(order)}, times, label, named)


def _roles(segments: Sequence[Segment]) -> dict[int, str]:
    """Return the last role of each member."""
    last: dict[int, Segment] = {}
    for segment in segments:
        if segment.member not in last or segment.interval > last[segment.member].interval:
            last[segment.member] = segment
    return {member: segment.role for member, segment in last.items()}


def _by_number(role: str) -> tuple[int, str]:
    """Return a sort key: "every 5" comes before "every 25"."""
    digits = "".join(character for character in role if character in "0123456789")
    return int(digits[:9] or 0), role


def _times(segments: Sequence[Segment]) -> tuple[str, Times]:
    """Return the label of the horizontal axis, and begin and end of each segment along it.

    It counts training steps, unless bars of a member would overlap: an heir may take over fewer
    steps than its slot had trained, and a fresh member has none. Then it counts intervals.
    """
    ends: dict[int, int] = {}
    for segment in sorted(segments, key=lambda segment: segment.interval):
        if segment.first_step < ends.get(segment.member, 0):
            return "interval", {
                each.id: (each.interval - 0.5, each.interval + 0.5) for each in segments
            }
        ends[segment.member] = segment.last_step
    return "training steps", {each.id: (each.first_step, each.last_step) for each in segments}
