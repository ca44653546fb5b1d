"""Whether a run is in progress, interrupted or at its end, and how far it has come."""

import os
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import IntervalEnd, Result
from popgrad.runs.status import duration
from program import popgrad as program

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 4,
    "executor": "serial",
    "progress": False,
}


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, Any]:
    """A run as it is seen in progress, and its directory, interrupted after two intervals."""
    seen: dict[str, Any] = {}

    def look(end: IntervalEnd) -> None:
        if end.interval == 1:
            seen["result"] = popgrad.load(tmp_path / "run")
            seen["text"] = program("show", str(tmp_path / "run"))
            seen["json"] = program("show", str(tmp_path / "run"), "--json").json
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run("quadratic", directory=tmp_path / "run", on_interval=look, **GIVEN)
    return seen | {"directory": tmp_path / "run"}


def test_a_run_in_progress_is_shown_as_such(stages: dict[str, Any]) -> None:
    result: Result = stages["result"]
    assert result.in_progress
    assert result.stopped == "unfinished"
    first = stages["text"].out.splitlines()[0]
    started = (
        f"in progress (process {os.getpid()} on this machine), 2 of 4 intervals, about 0 s left"
    )
    assert first == started
    assert "in progress" in repr(result)
    data = stages["json"]
    assert (data["in_progress"], data["process"]) == (True, str(os.getpid()))
    assert (data["completed_intervals"], data["requested_intervals"]) == (2, 4)
    assert data["seconds_left"] >= 0


def test_an_interrupted_run_says_how_to_continue(stages: dict[str, Any]) -> None:
    directory = stages["directory"]
    result = popgrad.load(directory)
    assert not result.in_progress
    assert result.status.state == "interrupted"
    line = program("show", str(directory)).out.splitlines()[0]
    assert line == (
        f"interrupted after 2 of 4 intervals; continue with: popgrad resume {directory}"
    )
    data = program("show", str(directory), "--json").json
    assert (data["in_progress"], data["process"], data["seconds_left"]) == (False, None, None)


def test_a_finished_run_says_why(stages: dict[str, Any], tmp_path: Path) -> None:
    popgrad.resume(stages["directory"], progress=False)
    assert program("show", str(stages["directory"])).out.startswith("finished 4 of 4 intervals\n")
    result = popgrad.run(
        "quadratic", directory=tmp_path / "early", on_interval=lambda end: True, **GIVEN
    )
    assert result.status.describe() == "stopped after 1 of 4 intervals (callback)"
    assert program("show", str(tmp_path / "early")).out.startswith(result.status.describe())


def test_watching_ends_when_the_run_is_not_in_progress(stages: dict[str, Any]) -> None:
    done = program("show", str(stages["directory"]), "--watch")
    assert done.code == 0
    assert done.out.startswith("interrupted after 2 of 4 intervals")
    assert "winner" in done.out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (42.4, "42 s"), (300.0, "5 min"), (7800.0, "2 h 10 min"), (2e5, "2 d 7 h")],
)
def test_durations_have_one_or_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
