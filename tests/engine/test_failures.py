"""Members fail in whole runs, in worker processes: they are tried again, then replaced; the run goes on."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import popgrad
from faults.controllers import Controller, Session, alive, eventually
from faults.members import BREAKS, Mortal, attempts
from faults.moments import Moment
from popgrad import AllMembersFailedError, Segment
from popgrad.executors.base import RETRIES
from spies import record

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="looks at processes and memory in /proc"
)

GIVEN: dict[str, Any] = {
    "population": 9,
    "intervals": 4,
    "interval": 2,
    "fraction": 0.2,
    "outputs": False,
    "check": False,
}
PROCESSES: dict[str, Any] = {"executor": "processes", "workers": 1}

# Each in a segment of its own, over two intervals, so that members are left who can be inherited from.
SEGMENTS = {
    name: (number, 1 + number % 2) for number, name in enumerate([*BREAKS, "nan", "inf", "-inf"])
}
REASONS = {
    "raises": "OSError: the disk is away",
    "exits": "SystemExit: enough",
    "is_killed": "the worker process ended with code -9 (killed: was memory short? Try fewer workers)",
    "lacks_memory_for_tensors": "can't allocate memory",
    "lacks_memory_for_arrays": "Unable to allocate 256. MiB",
    "nan": "the score (sum) is nan",
    "inf": "the score (sum) is inf",
    "-inf": "the score (sum) is -inf",
}


def broken(*names: str) -> dict[tuple[int, int], str]:
    return {SEGMENTS[name]: name for name in names}


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The record of a run in which nothing breaks."""
    folder = tmp_path_factory.mktemp("untroubled")
    popgrad.run(Mortal(str(folder)), directory=folder / "run", executor="serial", **GIVEN)
    return record(folder / "run")


def test_what_breaks_once_leaves_no_trace_in_the_record(
    tmp_path: Path, untroubled: tuple[str, str]
) -> None:
    task = Mortal(str(tmp_path), broken(*BREAKS), times=1)
    popgrad.run(task, directory=tmp_path / "run", **PROCESSES, **GIVEN)
    assert [attempts(tmp_path, SEGMENTS[name]) for name in BREAKS] == [2] * len(BREAKS)
    assert record(tmp_path / "run") == untroubled


@pytest.fixture(scope="module")
def troubled(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[tuple[int, int], Segment]]:
    """A run in which everything breaks that can, always; where attempts are counted, and its segments."""
    folder = tmp_path_factory.mktemp("troubled")
    task = Mortal(str(folder), broken(*SEGMENTS))
    result = popgrad.run(task, directory=folder / "run", **PROCESSES, **GIVEN)
    assert result.stopped == "finished"
    return folder, {segment.id: segment for segment in result.segments}


@pytest.mark.parametrize("name", SEGMENTS)
def test_what_breaks_always_is_recorded_with_its_reason_and_replaced(
    name: str, troubled: tuple[Path, dict[tuple[int, int], Segment]]
) -> None:
    folder, segments = troubled
    member, interval = SEGMENTS[name]
    segment = segments[member, interval]
    assert segment.status == "failed"
    assert REASONS[name] in segment.error
    # A score would come out again as it did; all else may have passed by itself.
    assert attempts(folder, segment.id) == (1 + RETRIES if name in BREAKS else 1)
    heir = segments[member, interval + 1]
    assert heir.status == "done"
    assert heir.source is not None
    assert heir.source[0] != member
    assert segments[heir.source].status == "done"


def test_the_population_keeps_its_size(
    troubled: tuple[Path, dict[tuple[int, int], Segment]],
) -> None:
    _, segments = troubled
    assert sorted(segments) == [(member, interval) for member in range(9) for interval in range(4)]
    assert {each for each, segment in segments.items() if segment.failed} == set(SEGMENTS.values())


def test_when_all_have_failed_the_run_stops_and_goes_on_once_the_cause_is_gone(
    tmp_path: Path,
) -> None:
    given: dict[str, Any] = {**GIVEN, "population": 2, "intervals": 3, "fraction": 0.5}
    popgrad.run(Mortal(str(tmp_path)), directory=tmp_path / "whole", executor="serial", **given)
    (tmp_path / "cause").touch()
    task = Mortal(
        str(tmp_path), {(0, 1): "raises", (1, 1): "lacks_memory_for_arrays"}, cause="cause"
    )
    with pytest.raises(AllMembersFailedError, match=r"all 2 members have failed") as caught:
        popgrad.run(task, directory=tmp_path / "run", **PROCESSES, **given)
    told = str(caught.value).partition("The first failure: ")[2]
    assert told.startswith("Traceback (most recent call last)")
    assert told.rstrip().endswith(REASONS["raises"])
    assert len(popgrad.load(tmp_path / "run").segments) == 4
    (tmp_path / "cause").unlink()
    assert popgrad.resume(tmp_path / "run", task=task, executor="serial").stopped == "finished"
    assert record(tmp_path / "run") == record(tmp_path / "whole")


LONG = [pytest.param(phase, marks=pytest.mark.long) for phase in ("training", "renaming")]


@pytest.mark.parametrize("phase", ["inheriting", "writing", *LONG])
def test_a_worker_that_is_killed_is_replaced_without_a_resume(phase: str, tmp_path: Path) -> None:
    """In any of the phases that a worker goes through; in the last of them its thread writes."""
    whole = Controller.start(tmp_path / "whole", Session(), tmp_path / "0", None)
    controller = Controller.start(
        tmp_path / "run", Session("processes"), tmp_path / "1", Moment(phase, 2, 0.4)
    )
    assert controller.wait_for(controller.trace.held)
    (worker,) = controller.workers()
    assert (worker, phase) in controller.trace.unfinished()
    os.kill(worker, signal.SIGKILL)
    assert controller.finish() == whole.finish() == 0, controller.said()
    assert eventually(lambda: not alive(worker))
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert [
        path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.suffix == ".part"
    ] == []
