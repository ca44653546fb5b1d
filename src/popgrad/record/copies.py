"""Copies between members: counts of donor and heir, and an order of the members that keeps them close."""

from collections.abc import Mapping, Sequence

import numpy as np

from popgrad.core.seeding import Index
from popgrad.core.segment import Segment
from popgrad.record.lineage import inherited

Copies = Mapping[tuple[int, int], int]
"""Number of copies by (donor, heir), which are members."""

_ROUNDS = 30
"""Most rounds in which every member moves once."""

_LARGEST = 200
"""Members up to which each tries every place, which costs the cube of their number."""


def copy_counts(segments: Sequence[Segment]) -> dict[tuple[int, int], int]:
    """Return the number of copies by (donor, heir), ascending.

    A member that has returned to an older state of its own is its own donor.

    Args:
        segments: All segments of a run.
    """
    copied = inherited(segments)
    counts: dict[tuple[int, int], int] = {}
    for segment in segments:
        if segment.source is not None and segment.id in copied:
            pair = segment.source[0], segment.member
            counts[pair] = counts.get(pair, 0) + 1
    return dict(sorted(counts.items()))


def copy_matrix(copies: Copies, members: Sequence[int]) -> Index:
    """Return [N, N] numbers of copies: rows are donors, columns are heirs.

    Args:
        copies: Copies by (donor, heir); other members than these are left out.
        members: [N] members in the order of rows and columns.
    """
    place = {member: number for number, member in enumerate(members)}
    matrix = np.zeros((len(members), len(members)), dtype=np.int64)
    for (donor, heir), count in copies.items():
        if donor in place and heir in place:
            matrix[place[donor], place[heir]] += count
    return matrix


# --- an order with short arcs -----------------------------------------------------------------------


def slot_order(members: Sequence[int], copies: Copies) -> list[int]:
    """Return the members in an order in which donors and heirs are close; without copies, ascending.

    The shortest total length is hard to find. This takes the best of a few rounds, in each of which
    every member moves to the mean place of itself and its partners; then each member moves to its
    best place among the others, as long as that shortens the arcs. It depends on the arguments
    alone.

    Args:
        members: Members, each once.
        copies: Copies by (donor, heir), of these members.

    Example:
        >>> slot_order([0, 1, 2, 3], {(0, 3): 2, (1, 2): 1})
        [1, 2, 0, 3]
    """
    ascending = sorted(members)
    order = _gathered(ascending, copies)
    if len(order) <= _LARGEST:
        order = _settled(order, copies)
    return order if arc_length(order, copies) < arc_length(ascending, copies) else ascending


def arc_length(order: Sequence[int], copies: Copies) -> int:
    """Return the total distance between donors and heirs, in places, counted once for each copy."""
    place = {member: number for number, member in enumerate(order)}
    return sum(abs(place[donor] - place[heir]) * count for (donor, heir), count in copies.items())


def _gathered(order: Sequence[int], copies: Copies) -> list[int]:
    """Return the best order of a few rounds in which members move to the mean place of their partners."""
    best = list(order)
    found = best
    for _ in range(_ROUNDS):
        place = {member: number for number, member in enumerate(found)}
        # Each member counts once for itself.
        total = dict(place)
        weight = dict.fromkeys(found, 1)
        for (donor, heir), count in copies.items():
            total[donor] += place[heir] * count
            total[heir] += place[donor] * count
            weight[donor] += count
            weight[heir] += count
        means = {member: total[member] / weight[member] for member in found}
        found = sorted(found, key=lambda member: (means[member], place[member]))
        if arc_length(found, copies) < arc_length(best, copies):
            best = found
    return best


def _settled(order: Sequence[int], copies: Copies) -> list[int]:
    """Move each member in turn to its best place among the others, as long as that shortens the arcs."""
    found = list(order)
    numbers = {member: number for number, member in enumerate(sorted(order))}
    both_ways = copy_matrix(copies, sorted(order))
    both_ways = both_ways + both_ways.T
    np.fill_diagonal(both_ways, 0)

    for _ in range(_ROUNDS):
        before = list(found)
        for member in before:
            at = found.index(member)
            found.remove(member)
            costs = _insertion_costs(
                both_ways[numbers[member]], both_ways, [numbers[each] for each in found]
            )
            if costs.min() < costs[at]:
                at = int(costs.argmin())
            found.insert(at, member)
        if found == before:
            break
    return found


def _insertion_costs(own: Index, weights: Index, others: Sequence[int]) -> Index:
    """Return [N] lengths, but for a constant, if a member is inserted at each place among the others.

    Args:
        own: [N] copies between the member and each member.
        weights: [N, N] copies between members.
        others: [N - 1] the other members in their order.
    """
    zero = np.zeros(1, dtype=np.int64)
    place = np.arange(len(others))
    among = weights[np.ix_(others, others)]
    # An arc that spans the place gets longer by one.
    opened = among.sum(axis=1) - 2 * np.tril(among, -1).sum(axis=1)
    spanning = np.concatenate([zero, np.cumsum(opened)])

    mine = own[others]
    above = np.concatenate([zero, np.cumsum(mine)])
    moment = np.concatenate([zero, np.cumsum(mine * place)])
    at = np.arange(len(others) + 1)
    up = at * above - moment
    down = (moment[-1] - moment) - (at - 1) * (above[-1] - above)
    costs: Index = spanning + up + down
    return costs
