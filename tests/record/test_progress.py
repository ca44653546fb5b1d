"""Where the members are after the decisions of a record: who starts from what, and who is there."""

from dataclasses import replace

import pytest

from popgrad.core.errors import RunError
from popgrad.core.plan import Decision, Plan
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record.progress import progress_after, recorded_starts
from popgrad.record.record import Record

NOBODY: tuple[SegmentId | None, ...] = ()


def segment(
    member: int, interval: int = 0, score: float = 1.0, source: SegmentId | None = None
) -> Segment:
    return Segment(member, interval, source, {}, {}, 0, 0, 1, 0, score, {}, "ab", "done")


def decision(
    number: int,
    *sources: int,
    size: int | None = None,
    starts: tuple[SegmentId | None, ...] = NOBODY,
) -> Decision:
    n = len(sources)
    return Decision(number, Plan(tuple(range(n)), sources, ({},) * n, ({},) * n), {}, starts, size)


FOUR = [segment(member) for member in range(4)]
SHRUNK = decision(0, 3, 1, size=2)
GROWN = decision(0, 0, 1, 2, 3, 1, 5, size=6)


def record(segments: list[Segment], *decisions: Decision) -> Record:
    resizes = [decision.size for decision in decisions if decision.size is not None]
    return Record(
        space=Space({}),
        score_name="q",
        segments=tuple(segments),
        decisions=decisions,
        sizes=(4, *resizes),
    )


def last(segments: list[Segment], *decisions: Decision) -> dict[int, SegmentId]:
    return {member: each.id for member, each in record(segments, *decisions).last.items()}


def test_where_the_size_never_changed_everybody_is_there_with_the_last_segment() -> None:
    segments = [*FOUR, segment(1, 1)]
    assert (
        last(segments)
        == last(segments, decision(0, 1, 1, 2, 3))
        == {0: (0, 0), 1: (1, 1), 2: (2, 0), 3: (3, 0)}
    )
    assert record(segments).ahead == set()


def test_who_has_moved_has_the_state_of_its_old_slot_until_it_has_trained() -> None:
    now = record(FOUR, SHRUNK)
    assert last(FOUR, SHRUNK) == {0: (3, 0), 1: (1, 0)}
    assert now.ahead == {(3, 0), (1, 0)}
    trained = [*FOUR, segment(0, 1, source=(3, 0))]
    assert last(trained, SHRUNK) == {0: (0, 1), 1: (1, 0)}
    assert record(trained, SHRUNK).ahead == {(1, 0)}


def test_a_new_member_is_there_once_it_has_trained() -> None:
    assert list(last(FOUR, GROWN)) == [0, 1, 2, 3]
    assert last([*FOUR, segment(5, 1)], GROWN)[5] == (5, 1)


def test_new_members_start_from_their_donors_or_fresh() -> None:
    newest = progress_after(recorded_starts(FOUR), [GROWN], {each.id: each for each in FOUR}).newest
    assert [(newest[m].interval, newest[m].source) for m in (4, 5)] == [(1, (1, 0)), (1, None)]


def test_whoever_was_in_a_slot_before_does_not_stand_for_a_new_member() -> None:
    two = [*FOUR, segment(0, 1, source=(3, 0)), segment(1, 1, source=(1, 0))]
    again = decision(1, 0, 1, 2, size=3)
    assert last(two, SHRUNK, again) == {0: (0, 1), 1: (1, 1)}
    assert last([*two, segment(2, 2)], SHRUNK, again)[2] == (2, 2)


def test_one_by_one_a_new_member_begins_where_the_last_is_who_is_alive_and_after_all_of_its_slot() -> (
    None
):
    far = [
        segment(m, i, float("nan") if (m, i) == (1, 0) else 1.0)
        for m, end in ((0, 4), (1, 1), (2, 7))
        for i in range(end)
    ]
    steps = [Decision(n, Plan((m,), (m,), ({},), ({},)), {}, ((m, i),)) for n, (m, i) in enumerate(
        [(0, i) for i in range(3)] + [(2, i) for i in range(6)])]  # fmt: skip
    by_id = {each.id: each for each in far}
    for sources, starts, size, expected in (
        ((0, 1, 2, 3), ((0, 3), (1, 0), (2, 6), None), 4, {3: 4}),
        ((0, 0), ((0, 3), (0, 3)), 2, {}),
    ):
        change = decision(9, *sources, size=size, starts=starts)
        newest = progress_after(recorded_starts(far), [*steps, change], by_id).newest
        assert {m: newest[m].interval for m in expected} == expected
    by_id |= {(m, i): segment(m, i) for m, i in ((0, 4), (1, 1))}
    again = decision(10, 0, 1, 2, size=3, starts=((0, 4), (1, 1), None))
    newest = progress_after(recorded_starts(far), [*steps, change, again], by_id).newest
    assert newest[2].interval == 7


def test_a_decision_for_somebody_who_is_not_there_is_refused() -> None:
    for broken in (
        replace(decision(1, 0, 1, 3), plan=Plan((0,), (3,), ({},), ({},))),
        Decision(1, Plan((3,), (1,), ({},), ({},)), {}, ((1, 0),)),
    ):
        with pytest.raises(RunError, match="the record is damaged: decision 1"):
            progress_after(
                recorded_starts(FOUR), [SHRUNK, broken], {each.id: each for each in FOUR}
            )
