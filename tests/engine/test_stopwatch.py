"""Seconds of the controller are counted once each, under the innermost activity."""

import pytest

from popgrad.engine import stopwatch
from popgrad.engine.stopwatch import Stopwatch
from spies import time_with


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves it."""
    now = [100.0]
    monkeypatch.setattr(stopwatch, "time", time_with(perf_counter=lambda: now[0]))
    return now


def test_an_activity_within_another_is_not_counted_twice(now: list[float]) -> None:
    watch = Stopwatch()
    now[0] += 1
    with watch.during("states"):
        now[0] += 2
        with watch.during("executor start"):
            now[0] += 4
            with watch.during("journal"):
                now[0] += 8
        with watch.during("journal"):
            now[0] += 16
        now[0] += 32
    assert watch.seconds() == {"states": 34, "executor start": 4, "journal": 24, "rest": 1}


def test_what_raises_is_counted_too(now: list[float]) -> None:
    watch = Stopwatch()

    def fail() -> None:
        now[0] += 3
        raise ValueError("it fails")

    with pytest.raises(ValueError, match="it fails"):
        watch.timed("training", fail)()
    now[0] += 1
    assert watch.seconds() == {"training": 3, "rest": 1}
