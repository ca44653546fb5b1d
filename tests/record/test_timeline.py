"""Workers against the clock, with waits and pauses worked out by hand."""

import pytest

from popgrad.core.segment import Telemetry
from popgrad.record.timeline import timeline


def known(began, seconds, worker="worker 0"):
    return Telemetry(seconds=seconds, worker=worker, began=began)


def test_busy_and_waiting():
    found = timeline(
        {
            (0, 0): known(100.0, 2.0),
            (1, 0): known(100.0, 1.0, "worker 1"),
            (0, 1): known(102.0, 2.0),
            (1, 1): known(102.0, 2.0, "worker 1"),
        }
    )
    assert list(found.spans) == ["worker 0", "worker 1"]
    assert found.spans["worker 1"][1] == ((1, 1), "worker 1", 2.0, 4.0)
    assert found.seconds == 4.0
    assert (found.busy("worker 0"), found.busy("worker 1")) == (1.0, 0.75)
    assert found.waiting == pytest.approx(0.125)
    assert (found.pauses, found.unknown) == ((), 0)


def test_spans_that_overlap_count_once():
    found = timeline({(0, 0): known(0.0, 3.0), (1, 0): known(1.0, 3.0), (2, 0): known(6.0, 4.0)})
    assert found.busy("worker 0") == pytest.approx(0.8)


def test_the_clock_stands_still_while_the_run_is_paused():
    found = timeline(
        {
            (0, 0): known(0.0, 5.0),
            (0, 1): known(1000.0, 5.0),
            (0, 2): known(1012.0, 4.0),
            (0, 3): known(5000.0, 1.0),
        }
    )
    begins = [span.begin for span in found.spans["worker 0"]]
    assert begins == [0.0, 5.0, 17.0, 21.0]  # 7 seconds between two segments are a wait
    assert found.pauses == ((5.0, 995.0), (21.0, 3984.0))
    assert found.seconds == 22.0


def test_a_wait_is_short_beside_the_longest_segment():
    found = timeline({(0, 0): known(0.0, 100.0), (0, 1): known(300.0, 1.0)})
    assert found.pauses == ()
    assert found.waiting == pytest.approx(1 - 101 / 301)


def test_segments_without_a_clock_are_counted():
    found = timeline({(0, 0): Telemetry(seconds=1.0, worker="serial"), (0, 1): known(5.0, 0.0)})
    assert (found.unknown, found.seconds, found.busy("worker 0")) == (1, 0.0, 0.0)
    empty = timeline({})
    assert (dict(empty.spans), empty.seconds, empty.waiting) == ({}, 0.0, 0.0)


def test_workers_are_ordered_by_their_numbers():
    names = ["worker 10", "worker 2", "", "given up", "node ٣", "2", "10"]
    found = timeline({(i, 0): known(0.0, 1.0, name) for i, name in enumerate(names)})
    assert list(found.spans) == ["", "given up", "node ٣", "worker 2", "worker 10", "2", "10"]
