"""The feed of a tracker: failures are logged once, and nothing is lost, repeated or out of order."""

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.reports.conftest import SPACE, hparams, segment

from popgrad.core.segment import Telemetry
from popgrad.trackers import feed as feed_module
from popgrad.trackers.base import Account, Ending, TrackedRun
from popgrad.trackers.feed import Feed, backlog


class Clock:
    """A clock that the test sets; each call of the tracker takes a second."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Flaky:
    """A tracker that fails as long as `broken` names the function."""

    def __init__(self, clock, held=None):
        self.clock = clock
        self.held = held
        self.broken = ""
        self.calls = []

    def _call(self, name, note):
        self.clock.now += 1.0
        if self.broken == name:
            raise ConnectionError("it is away\nfor a while")
        self.calls.append(note)

    def open(self, run):
        self._call("open", "open")
        self.recorded = run.recorded
        return self.held

    def log(self, tracked):
        self._call("log", tracked.segment.id)

    def close(self, ending):
        self._call("close", ending.status)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(feed_module, "time", clock)
    return clock


@pytest.fixture
def tracker(clock):
    return Flaky(clock)


def make_feed(tracker, account=None):
    run = TrackedRun("first", "ab12", {}, SPACE, "accuracy", task=None)
    return Feed("flaky", tracker, run, account or Account())


def rows(count, fresh=()):
    recorded = [(segment(0, each, None, 0.5, hparams(0.1)), Telemetry()) for each in range(count)]
    return backlog(recorded, fresh, 5.0)[0]


FINISHED = Ending("finished")


def test_a_failure_is_one_warning_and_nothing_is_lost(tracker, clock, caplog):
    feed = make_feed(tracker)
    waiting = rows(4, fresh=[(0, each) for each in range(4)])
    feed.put(waiting[:1])
    tracker.broken = "log"
    for each in waiting[1:3]:
        clock.now += 100
        feed.put([each])
    tracker.broken = ""
    clock.now += 100
    feed.put(waiting[3:])
    feed.close(FINISHED)
    assert tracker.calls == ["open", (0, 0), (0, 1), (0, 2), (0, 3), "finished"]
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == [
        "tracker flaky failed, training continues: ConnectionError: it is away for a while"
    ]


def test_the_pause_after_a_failure_is_a_multiple_of_its_time(tracker, clock):
    feed = make_feed(tracker)
    tracker.broken = "open"
    first, second = rows(2, fresh=[(0, 0), (0, 1)])
    feed.put([first])
    assert clock.now == 1.0
    feed.put([second])
    clock.now = 20.9
    feed.put([])
    assert clock.now == 20.9  # it is not called
    clock.now = 21.0
    feed.put([])
    assert clock.now == 22.0


def test_the_end_does_not_wait_for_the_pause(tracker):
    feed = make_feed(tracker)
    tracker.broken = "open"
    feed.put(rows(1, fresh=[(0, 0)]))
    tracker.broken = ""
    feed.close(FINISHED)
    assert tracker.calls == ["open", (0, 0), "finished"]


def test_a_tracker_that_stays_away_leaves_its_account_open(tracker, caplog):
    account = Account()
    feed = make_feed(tracker, account)
    tracker.broken = "open"
    feed.put(rows(2, fresh=[(0, 0), (0, 1)]))
    feed.close(FINISHED)
    assert tracker.calls == []
    assert account == Account()
    assert "2 segments are not logged" in caplog.text


def test_an_opened_tracker_is_closed_though_it_fails(tracker):
    """It may hold a process of its own."""
    account = Account()
    feed = make_feed(tracker, account)
    feed.put(rows(1, fresh=[(0, 0)]))
    tracker.broken = "log"
    feed.put(rows(2, fresh=[(0, 1)])[1:])
    feed.close(FINISHED)
    assert tracker.calls == ["open", (0, 0), "finished"]
    assert account == Account({0: 1}, "")  # a resumed run logs the rest


def test_earlier_segments_are_logged_from_where_the_account_ends(tracker):
    feed = make_feed(tracker, Account({0: 2}))
    feed.put(rows(4, fresh=[(0, 3)]))
    assert tracker.calls == ["open", (0, 2), (0, 3)]
    assert [each.id for each in tracker.recorded] == [(0, 0), (0, 1)]


def test_a_tracker_that_can_tell_overrules_the_account(clock):
    tracker = Flaky(clock, held={0: 1})
    account = Account({0: 3})
    make_feed(tracker, account).put(rows(3, fresh=[(0, 2)]))
    assert tracker.calls == ["open", (0, 1), (0, 2)]
    assert account.intervals == {0: 3}


def test_a_segment_that_is_trained_again_is_logged_again(tracker):
    """The account has its failure, which the engine has set aside since."""
    make_feed(tracker, Account({0: 3})).put(rows(3, fresh=[(0, 2)]))
    assert tracker.calls == ["open", (0, 2)]


def test_a_run_without_news_leaves_the_tracker_alone(tracker):
    feed = make_feed(tracker, Account({0: 2}, "finished"))
    feed.put([])
    feed.close(FINISHED)
    assert tracker.calls == []


def test_a_session_that_was_not_closed_is_closed_by_the_next(tracker):
    make_feed(tracker, Account({0: 2}, "killed")).close(FINISHED)
    assert tracker.calls == ["open", "finished"]


def test_an_interrupt_passes_through_and_the_segment_stays(tracker):
    feed = make_feed(tracker)
    interrupted = []

    def log(tracked):
        interrupted.append(tracked.segment.id)
        raise KeyboardInterrupt

    usual, tracker.log = tracker.log, log
    with pytest.raises(KeyboardInterrupt):
        feed.put(rows(1, fresh=[(0, 0)]))
    tracker.log = usual
    feed.close(Ending("killed"))
    assert interrupted == [(0, 0)]
    assert tracker.calls == ["open", (0, 0), "killed"]


def test_draws_of_a_tracker_come_from_streams_of_its_own(tracker):
    drawn = []

    def log(tracked):
        del tracked
        drawn.append((random.random(), np.random.rand()))  # noqa: NPY002

    tracker.log = log
    feed = make_feed(tracker)
    random.seed(1)
    before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    feed.put(rows(1, fresh=[(0, 0)]))
    feed.put(rows(2, fresh=[(0, 1)])[1:])
    assert (random.getstate(), str(np.random.get_state())) == before  # noqa: NPY002
    assert drawn[0] != drawn[1]


def test_steps_of_a_slot_add_up_its_own_segments():
    """Member 0 trains 100 steps, then inherits a state behind which there are 10 only."""
    slow = replace(segment(0, 0, None, 0.5, hparams(0.1)), steps=100)
    heir = replace(segment(0, 1, (1, 0), 0.5, hparams(0.1)), first_step=10)
    other = segment(1, 0, None, 0.6, hparams(0.1))
    waiting, trained = backlog([(each, Telemetry()) for each in (slow, other, heir)], [], 0.0)
    assert [each.begin for each in waiting] == [0, 0, 100]
    assert trained == {0: 110, 1: 10}
