"""Clocks of workers: a line when one is slow, an error when its start is over the limit."""

import logging
import time

import pytest

from popgrad.core.errors import RunError
from popgrad.core.segment import Assignment
from popgrad.executors.clocks import SLOW_START, START_LIMIT, StartClock, TrainingClock


@pytest.mark.parametrize(
    ("deadline", "max_time", "limit"),
    [
        (None, None, START_LIMIT),
        (5.0, None, 60.0),
        (None, 5.0, 60.0),
        (300.0, 100.0, 100.0),
        (100.0, 300.0, 100.0),
        (1e6, 1e6, START_LIMIT),
    ],
)
def test_deadline_and_time_count_at_the_start(
    deadline: float | None, max_time: float | None, limit: float
) -> None:
    clock = StartClock(deadline, max_time)
    clock.check(time.monotonic() - limit + 1, "worker 0", "loads the task")
    with pytest.raises(RunError, match=rf"^worker 0 has not started in {limit:g} s: it loads the "):
        clock.check(time.monotonic() - limit, "worker 0", "loads the task")


def test_a_slow_start_is_logged_once_for_each_worker(caplog: pytest.LogCaptureFixture) -> None:
    clock = StartClock(None, None)
    now = time.monotonic()
    assert 0 < clock.seconds_left(now, "worker 0") <= SLOW_START
    with caplog.at_level(logging.WARNING, "popgrad"):
        clock.check(now, "worker 0", "loads the task")
        for name in ("worker 0", "worker 0", "worker 1"):
            clock.check(now - SLOW_START, name, "loads the task")
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "waiting for worker 0 to start",
        "waiting for worker 1 to start",
    ]
    assert clock.seconds_left(now, "worker 0") > SLOW_START


def test_a_segment_that_takes_far_longer_than_the_others_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = TrainingClock()
    segment = Assignment(3, 2, None, {}, 0, 0, 1)
    now = time.monotonic()
    with caplog.at_level(logging.WARNING, "popgrad"):
        clock.check(now - 1000, segment)  # it may be the first of long ones
        clock.add(2.0)
        clock.add(1.0)
        clock.check(now - 500, segment)
        left = clock.seconds_left(now - 500, segment)
        clock.check(now - 1000, segment)
        clock.check(now - 2000, segment)
    assert left == pytest.approx(100.0, abs=5.0)
    assert clock.seconds_left(now, segment) is None
    (said,) = caplog.messages
    assert said.startswith(
        "member 3 has trained interval 2 for 1000 s, and no other took more than 2 s"
    )
