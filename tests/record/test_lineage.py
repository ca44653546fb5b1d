import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.errors import AllMembersFailedError, RunError, UsageError
from popgrad.core.segment import Segment
from popgrad.record.lineage import (
    best_ever,
    best_segments,
    donors,
    founders,
    heirs,
    inherited,
    jumps,
    last_segments,
    lineage,
    schedule,
    winner,
)

NAN = math.nan


def segment(member, interval, source, score, lr=0.1, steps=10, first_step=None):
    first = interval * 10 if first_step is None else first_step
    return Segment(
        member=member,
        interval=interval,
        source=source,
        hparams={"lr": lr},
        changes={"lr": "kept"},
        seed=0,
        first_step=first,
        steps=steps,
        samples=0,
        score=score,
        metrics={},
        digest="",
        status="done" if math.isfinite(score) else "failed",
    )


# Three members, four intervals. Member 2 copies member 0 before interval 1, member 1 copies member 2 before
# interval 3, and member 0 fails in interval 2 and is not replaced.
FAMILY = (
    segment(0, 0, None, 0.5, lr=0.1),
    segment(1, 0, None, 0.4, lr=0.2),
    segment(2, 0, None, 0.1, lr=0.3),
    segment(0, 1, (0, 0), 0.6, lr=0.1),
    segment(1, 1, (1, 0), 0.5, lr=0.2),
    segment(2, 1, (0, 0), 0.7, lr=0.08),
    segment(0, 2, (0, 1), NAN, lr=0.1),
    segment(1, 2, (1, 1), 0.5, lr=0.2),
    segment(2, 2, (2, 1), 0.95, lr=0.08),
    segment(1, 3, (2, 2), 0.9, lr=0.1),
    segment(2, 3, (2, 2), 0.8, lr=0.08),
)


def test_lineage_runs_from_the_root_through_donors():
    chain = [(0, 0), (2, 1), (2, 2), (1, 3)]
    assert [each.id for each in lineage(FAMILY, 1)] == chain
    assert [each.id for each in lineage(FAMILY, (1, 3))] == chain
    assert [each.id for each in lineage(FAMILY, (1, 2))] == [(1, 0), (1, 1), (1, 2)]
    assert [each.id for each in lineage(FAMILY, 0)] == [(0, 0), (0, 1), (0, 2)]


def test_lineage_does_not_depend_on_the_order_of_the_record():
    assert lineage(FAMILY[::-1], 1) == lineage(FAMILY, 1)


def test_lineage_follows_a_donor_that_is_ahead():
    ahead = segment(1, 1, (1, 0), 0.5)
    heir = segment(0, 1, (1, 1), 0.6, first_step=20)
    record = (segment(0, 0, None, 0.1), segment(1, 0, None, 0.3), heir, ahead)
    assert [each.id for each in lineage(record, 0)] == [(1, 0), (1, 1), (0, 1)]
    assert founders(record) == {0: 2, 1: 1}


@pytest.mark.parametrize("leaf", [7, (0, 9)])
def test_lineage_of_nobody_is_a_usage_error(leaf):
    with pytest.raises(UsageError, match=r"member 7 .*\[0, 1, 2\]|member 0 in interval 9"):
        lineage(FAMILY, leaf)


def test_a_damaged_record_is_refused():
    circle = (segment(0, 0, (1, 0), 0.1), segment(1, 0, (0, 0), 0.1))
    for query in (lambda record: lineage(record, 0), founders):
        with pytest.raises(RunError, match="circle"):
            query(circle)
        with pytest.raises(RunError, match="is missing"):
            query((segment(0, 1, (0, 0), 0.1),))


def test_schedule_gives_what_trained_each_step():
    found = schedule(lineage(FAMILY, 1))
    assert found.steps == 40
    assert [found.at(step)["lr"] for step in (0, 9, 10, 29, 30, 39)] == [
        0.1,
        0.1,
        0.08,
        0.08,
        0.1,
        0.1,
    ]
    assert found.at(1000) == {"lr": 0.1}
    with pytest.raises(UsageError, match="-1"):
        found.at(-1)


def test_schedule_merges_equal_neighbours_only():
    found = schedule(lineage(FAMILY, 1))
    rows = found.merged().rows()
    assert rows == [
        {"first_step": 0, "steps": 10, "hparams": {"lr": 0.1}},
        {"first_step": 10, "steps": 20, "hparams": {"lr": 0.08}},
        {"first_step": 30, "steps": 10, "hparams": {"lr": 0.1}},
    ]
    assert len(found.rows()) == 4
    assert found.only([]).merged().rows() == [{"first_step": 0, "steps": 40, "hparams": {}}]


def test_winner_is_the_best_of_the_last_interval_and_best_ever_of_all():
    assert winner(FAMILY).id == (1, 3)
    assert best_ever(FAMILY).id == (2, 2)


def test_a_member_that_has_yet_to_finish_the_interval_stands_with_the_one_before():
    record = (segment(0, 0, None, 0.5), segment(1, 0, None, 0.9), segment(0, 1, (0, 0), 0.6))
    assert winner(record).id == (1, 0)
    assert winner((*record, segment(1, 1, (1, 0), 0.4))).id == (0, 1)
    assert winner((*record, segment(1, 1, (1, 0), NAN))).id == (0, 1)


def test_ties_go_to_the_lowest_member_and_the_earliest_interval():
    record = (segment(1, 0, None, 0.5), segment(0, 0, None, 0.5), segment(0, 1, (0, 0), 0.5))
    assert winner(record[:2]).id == (0, 0)
    assert best_ever(record[::-1]).id == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.2, 0.3, NAN])), max_size=12))
def test_best_segments_are_the_best_ever_of_each_member_alone(scores):
    record = [
        segment(member, interval, None, score) for interval, (member, score) in enumerate(scores)
    ]
    own = {m: [s for s in record if s.member == m and not s.failed] for m in range(4)}
    expected = {m: best_ever(each).id for m, each in own.items() if each}
    assert {m: s.id for m, s in best_segments(record).items()} == expected
    assert {m: s.id for m, s in best_segments(record[::-1]).items()} == expected


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_a_failed_member_never_wins(bad):
    record = (segment(0, 0, None, bad), segment(1, 0, None, -3.0))
    assert winner(record).id == best_ever(record).id == (1, 0)
    for query in (winner, best_ever):
        with pytest.raises(AllMembersFailedError, match="finite"):
            query(record[:1])
        with pytest.raises(AllMembersFailedError):
            query(())


def test_who_copied_whom():
    assert donors(FAMILY) == {1: {2: (0, 0)}, 3: {1: (2, 2)}}
    assert heirs(FAMILY) == {(0, 0): ((2, 1),), (2, 2): ((1, 3),)}
    assert [
        (donor.id, heir.id) for donor, heir in jumps(lineage(FAMILY, 1), inherited(FAMILY))
    ] == [
        ((0, 0), (2, 1)),
        ((2, 2), (1, 3)),
    ]


def test_going_back_to_an_own_earlier_segment_is_inheriting_too():
    own = [segment(0, interval, (0, interval - 1), 0.1) for interval in range(1, 5)]
    begin = segment(0, 0, None, 0.1)
    assert inherited([begin, *own, segment(0, 5, (0, 2), 0.1)]) == {(0, 5)}
    assert inherited([begin, *own, segment(0, 5, (0, 4), 0.1)]) == frozenset()


def test_a_member_that_has_rested_continues_and_inherits_nothing():
    rested = (segment(0, 0, None, 0.1), segment(1, 0, None, 0.1), segment(0, 4, (0, 0), 0.2))
    assert inherited(rested) == frozenset()
    assert donors(rested) == {}
    assert inherited([*rested, segment(1, 4, (0, 0), 0.2)]) == {(1, 4)}


def test_founders_count_the_fresh_ancestors_of_who_is_alive():
    assert founders(FAMILY) == {0: 3, 1: 2, 2: 2, 3: 1}
    assert founders([replace(each, score=NAN) for each in FAMILY]) == {0: 0, 1: 0, 2: 0, 3: 0}


def test_last_segments():
    assert {m: each.interval for m, each in last_segments(FAMILY[::-1]).items()} == {
        0: 2,
        1: 3,
        2: 3,
    }


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_founders_of_a_synchronous_run_never_grow_and_agree_with_lineages(members, intervals, seed):
    rng = np.random.default_rng(seed)
    record = [segment(m, 0, None, 0.0) for m in range(members)]
    for k in range(1, intervals):
        record += [segment(m, k, (int(rng.integers(members)), k - 1), 0.0) for m in range(members)]
    counts = founders(record)
    assert list(counts) == list(range(intervals))
    assert all(counts[k] <= counts[k - 1] for k in range(1, intervals))
    for k, count in counts.items():
        assert count == len({lineage(record, (m, k))[0].id for m in range(members)})
