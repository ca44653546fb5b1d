"""The clock of workers that start: a line when one is slow, an error when it is over its limit."""

import logging
import time

import pytest

from popgrad.core.errors import RunError
from popgrad.executors.start import SLOW_START, START_LIMIT, StartClock


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
