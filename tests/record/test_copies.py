"""Copies between members, and the order of members: against the shortest of all orders."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.segment import Segment
from popgrad.record.copies import arc_length, copy_counts, copy_matrix, slot_order


def segment(member, interval, source):
    return Segment(
        *(member, interval, source, {}, {}, 0),
        first_step=interval,
        steps=1,
        samples=0,
        score=0.0,
        metrics={},
        digest="",
        status="done",
    )


def test_counts_are_of_donors_and_heirs():
    segments = [segment(m, 0, None) for m in range(3)]
    segments += [segment(0, 1, (0, 0)), segment(1, 1, (0, 0)), segment(2, 1, (2, 0))]
    segments += [segment(0, 2, (2, 1)), segment(1, 2, (0, 1)), segment(2, 2, (2, 0))]
    counts = copy_counts(segments)
    assert counts == {(0, 1): 2, (2, 0): 1, (2, 2): 1}  # member 2 has returned to its older state
    assert copy_matrix(counts, [2, 0, 1]).tolist() == [[1, 1, 0], [0, 0, 2], [0, 0, 0]]
    assert copy_matrix(counts, [0, 1]).tolist() == [[0, 2], [0, 0]]  # member 2 is left out


def test_without_copies_members_ascend():
    assert slot_order([2, 0, 1], {}) == [0, 1, 2]
    assert slot_order([], {}) == []
    assert slot_order([1, 0], {(0, 0): 5}) == [0, 1]


COPIES = st.dictionaries(
    st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(1, 4), max_size=9
)


@given(COPIES)
def test_the_order_is_near_the_shortest(copies):
    order = slot_order(range(6), copies)
    assert sorted(order) == list(range(6))
    shortest = min(arc_length(each, copies) for each in permutations(range(6)))
    assert arc_length(order, copies) <= min(1.5 * shortest, arc_length(range(6), copies))


def test_groups_that_copy_among_themselves_lie_together():
    groups = [(0, 7, 3), (4, 1, 9), (8, 2, 6, 5)]
    copies = {(a, b): 1 for group in groups for a in group for b in group if a != b}
    order = slot_order(range(10), copies)
    for group in groups:
        places = sorted(map(order.index, group))
        assert places[-1] - places[0] == len(group) - 1


@pytest.mark.parametrize("size", [0, 1, 2])
def test_few_members(size):
    assert slot_order(range(size), {(0, 1): 3} if size == 2 else {}) == list(range(size))
