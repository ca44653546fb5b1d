"""The time of a run is divided into the task, the executor and waiting."""

import pytest

from popgrad.core.errors import RunError
from popgrad.core.segment import Telemetry
from popgrad.record.timings import ACTIVITIES, controller_seconds, timings


def test_the_seconds_of_workers_are_divided() -> None:
    found = timings(
        {
            (0, 0): Telemetry(4.0, "worker 0", began=10.0, task=3.0),
            (1, 0): Telemetry(2.0, "worker 1", began=10.0, task=1.5),
            (0, 1): Telemetry(1.0, "worker 1", began=15.0, task=0.75),
        },
        {"training": 6.0},
    )
    assert (found.task, found.executor, found.workers) == (5.25, 1.75, 2)
    assert found.waiting == pytest.approx(2 * 6.0 - 7.0)
    assert found.data()["controller"] == {"training": 6.0}


def test_segments_whose_share_is_unknown_are_left_out() -> None:
    found = timings({(0, 0): Telemetry(4.0, "mine", task=3.0), (0, 1): Telemetry(9.0, "mine")}, {})
    assert (found.task, found.executor) == (3.0, 1.0)


def test_a_run_without_segments_has_no_timings() -> None:
    found = timings({}, {})
    assert (found.task, found.executor, found.waiting, found.workers) == (None, None, 0.0, 0)


def test_facts_of_a_foreign_file_are_checked() -> None:
    given = {"controller_seconds": {"training": 1, "unheard of": "x"}}
    assert controller_seconds(given) == {"training": 1.0}
    assert controller_seconds({}) == {}
    for wrong in (3, "training", {"training": None}, {"training": "long"}, ["training"]):
        with pytest.raises(RunError, match="controller_seconds of the run cannot be"):
            controller_seconds({"controller_seconds": wrong})
    assert list(ACTIVITIES)[-1] == "rest"
