"""An imagined cluster takes the time that can be worked out by hand, and the same time again."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from popgrad import UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.seeding import Rng
from popgrad.core.segment import Assignment, Outcome
from popgrad.executors.base import RETRIES
from popgrad.executors.simulated import Cluster, Simulated
from spies import Spy

CPU = [torch.device("cpu")]
HOUR = 3600.0
STEPS = 60


class Trained:
    """Fresh members, a segment of 60 steps each; whoever is asked for has been waited for."""

    def __init__(self, cluster: Cluster, members: int = 1, **given: Any) -> None:
        self.executor = Simulated(Spy(), CPU, cluster=cluster, **given)
        self.submit(members, 0)
        self.outcomes = list(self.taken(members))

    def submit(self, members: int, interval: int) -> None:
        hparams, _ = first_hparams(Spy().space, Rng(0), members, ())
        each = enumerate(hparams)
        self.executor.submit(
            [Assignment(m, interval, None, h, 0, 0, STEPS, False) for m, h in each]
        )

    def taken(self, members: int) -> Iterator[Outcome]:
        return (self.executor.next() for _ in range(members))

    @property
    def all(self) -> tuple[float, float, float, int]:
        return self.executor.now, self.executor.busy, self.executor.lost, self.executor.steps


@pytest.mark.parametrize(
    ("speeds", "members", "now", "busy"),
    [
        ((1.0,), 1, 65, 65),
        ((1.0,), 3, 195, 195),
        ((1.0, 1.0, 1.0), 3, 65, 195),
        ((2.0, 1.0), 2, 65, 35 + 65),
        ((1.0, 0.5), 3, 130, 65 + 65 + 125),  # the fast slot takes the third member as well
    ],
)
def test_a_segment_takes_its_steps_and_what_comes_on_top(
    speeds: tuple[float, ...], members: int, now: float, busy: float
) -> None:
    assert Trained(Cluster(speeds, overhead=5.0), members).all == (now, busy, 0.0, STEPS * members)


def test_what_takes_too_long_is_given_up_and_was_in_vain() -> None:
    ran = Trained(Cluster((1.0, 0.5)), 2, deadline=90.0)
    assert [bool(each.error) for each in ran.outcomes] == [False, True]
    assert ran.all == (90.0, 60.0, 90.0, STEPS)


def test_what_always_fails_is_tried_again_as_everywhere() -> None:
    ran = Trained(Cluster((1.0,), failure=1.0))
    assert ran.outcomes[0].error == "a simulated failure"
    assert ran.all == (ran.executor.lost, 0.0, ran.executor.now, 0)
    assert 0 < ran.executor.lost < STEPS * (1 + RETRIES)


def test_as_many_attempts_fail_as_are_said_to() -> None:
    ran = Trained(Cluster((1.0,) * 50, failure=0.1), 3000)
    attempts_in_vain = ran.executor.lost / (
        STEPS / 2
    )  # a failure comes half way through, on average
    assert attempts_in_vain / (attempts_in_vain + 3000) == pytest.approx(0.1, rel=0.15)


def test_slots_are_taken_away_as_often_as_is_said() -> None:
    """A share of away x rate / (1 + away x rate) of the time, by hand; and what was begun begins again."""
    ran = Trained(Cluster((1.0,), preemption=1.0, away=HOUR), 2000)
    assert ran.executor.busy == 2000 * STEPS
    absent = ran.executor.now - ran.executor.busy - ran.executor.lost
    assert absent / ran.executor.now == pytest.approx(0.5, rel=0.25)
    assert ran.executor.lost / (absent / HOUR) == pytest.approx(STEPS / 2, rel=0.35)


def test_a_slot_that_was_taken_away_while_idle_is_back_in_time() -> None:
    """In more than three hours of one member nearly every other slot is taken away, for ten seconds."""
    ran = Trained(Cluster((1.0,) * 51, preemption=1.0, away=10.0))
    for interval in range(1, 200):
        ran.submit(1, interval)
        assert not next(ran.taken(1)).error
    before = ran.executor.now
    assert before > 3 * HOUR
    ran.submit(50, 200)
    assert len(list(ran.taken(45))) == 45
    assert ran.executor.now == pytest.approx(before + STEPS)


def test_more_slots_than_speeds_repeat_them() -> None:
    assert Trained(Cluster((1.0, 0.5)), 4, workers=4).all == (
        120.0,
        2 * 60 + 2 * 120,
        0.0,
        4 * STEPS,
    )


@given(
    speeds=st.lists(st.sampled_from([1.0, 0.5, 0.1]), min_size=1, max_size=4),
    members=st.integers(1, 9),
    failure=st.sampled_from([0.0, 0.3]),
    preemption=st.sampled_from([0.0, 20.0]),
    deadline=st.sampled_from([None, 130.0]),
    seed=st.integers(0, 3),
)
def test_time_repeats_itself_and_no_slot_does_two_things_at_once(
    speeds: list[float],
    members: int,
    failure: float,
    preemption: float,
    deadline: float | None,
    seed: int,
) -> None:
    cluster = Cluster(tuple(speeds), 1.0, failure, preemption, away=30.0, seed=seed)
    one, other = (Trained(cluster, members, deadline=deadline) for _ in range(2))
    assert one.all == other.all
    assert [each.telemetry.seconds for each in one.outcomes] == [
        each.telemetry.seconds for each in other.outcomes
    ]
    assert one.executor.busy + one.executor.lost <= len(speeds) * one.executor.now * (1 + 1e-9)
    assert one.executor.steps == STEPS * sum(not each.error for each in one.outcomes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"speeds": ()}, r"speeds: expected .*, got \(\)"),
        ({"speeds": (0.0,)}, r"speeds: expected .*, got \(0\.0,\)"),
        ({"failure": 1.1}, "failure: expected .*, got 1.1"),
        ({"preemption": -1.0}, "preemption: expected .*, got -1"),
        ({"away": float("inf")}, "away: expected .*, got inf"),
        ({"overhead": float("nan")}, "overhead: expected .*, got nan"),
    ],
)
def test_what_no_cluster_has_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Cluster(**{"speeds": (1.0,), **given})
