"""Tables and figures of a run in progress."""

import logging
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.engine.callbacks import IntervalEnd
from popgrad.executors.interpreter import interpreter
from popgrad.runs import refresh
from popgrad.runs.refresh import Refresher
from popgrad.store.directory import Directory
from spies import Spy, time_with

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 4,
    "interval": 2,
    "executor": "serial",
    "progress": False,
}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh tables with each segment."""
    monkeypatch.setattr(refresh, "_PERIOD", 0.0)
    monkeypatch.setattr(refresh, "_SHARE", 0.0)
    monkeypatch.setattr(refresh, "_FIGURES_CPU", 1e9)


def sorted_rows(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


@pytest.mark.parametrize("task", ["quadratic", "digits"])
@pytest.mark.usefixtures("at_once")
def test_tables_grow_as_the_run_trains(task: str, tmp_path: Path) -> None:
    """They have the rows of the finished table, in the order of finishing."""
    directory = Directory(tmp_path / "run")
    seen: list[list[str]] = []

    def look(segment: Segment) -> None:
        lines = directory.history.read_text().splitlines()
        seen.append(lines)
        assert not directory.curves.exists() or "step" in directory.curves.read_text()

    popgrad.run(task, directory=directory.path, on_segment=look, **GIVEN)
    assert [len(lines) - 1 for lines in seen] == list(range(1, 13))
    final = directory.history.read_text().splitlines()
    assert sorted(seen[-1]) == sorted(final)
    assert seen[-1][0] == final[0]


@pytest.mark.usefixtures("at_once")
def test_training_curves_grow_too_and_a_resumed_run_has_the_earlier_rows(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "run")
    before: list[list[str]] = []

    def stop(end: IntervalEnd) -> bool:
        return end.interval == 1

    def look(end: IntervalEnd) -> None:
        before.append(sorted_rows(directory.curves))

    popgrad.run("digits", directory=directory.path, on_interval=stop, **GIVEN)
    shutil.copy(directory.journal, tmp_path)
    directory.history.unlink()
    popgrad.resume(directory.path, on_interval=look, progress=False)
    assert before[-1] == sorted_rows(directory.curves)


@pytest.mark.usefixtures("at_once")
def test_new_columns_write_the_table_as_a_whole(tmp_path: Path) -> None:
    class Changing(Spy):
        def evaluate(self, state: Any, hparams: Any, split: Any, ctx: Any) -> Any:
            extra = {"late": 1.0} if ctx.interval == 2 else {}
            return {**super().evaluate(state, hparams, split, ctx), **extra}

    directory = Directory(tmp_path / "run")
    seen: list[list[str]] = []
    popgrad.run(
        Changing(),
        directory=directory.path,
        on_segment=lambda segment: seen.append(directory.history.read_text().splitlines()),
        **GIVEN,
    )
    for lines in seen:
        assert len({line.count(",") for line in lines}) == 1
    assert "late" not in seen[5][0]
    assert "late" in seen[6][0]


@pytest.mark.usefixtures("at_once")
def test_a_refresh_that_fails_is_one_warning_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(refresh, "write_csv", full)
    result = popgrad.run(Spy(), directory=tmp_path / "run", **GIVEN)
    assert result.stopped == "finished"
    warnings = [each for each in caplog.messages if "are not refreshed" in each]
    assert warnings == [
        "tables and figures are not refreshed as the run trains: no space left on device"
    ]
    assert (tmp_path / "run" / "history.csv").exists()  # written at the end


@pytest.mark.usefixtures("at_once")
def test_it_can_be_turned_off(tmp_path: Path) -> None:
    history = tmp_path / "run" / "history.csv"
    seen: list[bool] = []

    def look(segment: Segment) -> None:
        seen.append(history.exists())

    popgrad.run(Spy(), directory=tmp_path / "run", refresh=False, on_segment=look, **GIVEN)
    assert not any(seen)
    assert history.exists()


def test_a_pause_is_a_hundred_times_as_long_as_the_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that a refresh moves by 0.3 s, and a segment by 1 s."""
    now = [1000.0]
    written: list[float] = []

    def write(self: Refresher) -> None:
        written.append(now[0])
        now[0] += 0.3

    monkeypatch.setattr(Refresher, "_write_tables", write)
    monkeypatch.setattr(refresh, "time", time_with(monotonic=lambda: now[0]))
    monkeypatch.setattr(refresh, "_FIGURES_CPU", 1e9)
    refresher = Refresher(Directory(tmp_path), Spy(), Score("q"))
    segment = popgrad.run(Spy(), **GIVEN).segments[0]
    for _ in range(100):
        now[0] += 1.0
        assert refresher.callbacks.on_record is not None
        refresher.callbacks.on_record(segment, None)  # type: ignore[arg-type]
    gaps = [after - before for before, after in pairwise(written)]
    assert len(written) == 4
    assert all(30 <= gap <= 32 for gap in gaps)


# --- figures -----------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    popgrad.run(Spy(), directory=tmp_path / "run", **GIVEN)
    return tmp_path / "run"


def test_the_process_draws_the_figures_and_reports_its_time(finished: Path) -> None:
    (finished / "schedule.png").unlink()
    process = interpreter("-c", refresh._DRAW, str(finished), stdout=subprocess.PIPE)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert float(out) > 0
    assert (finished / "schedule.png").read_bytes().startswith(b"\x89PNG")


def test_figures_are_drawn_as_the_run_trains_and_no_process_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a process that draws at once, in place of the one that has to import torch."""
    drawn = tmp_path / "drawn"
    started: list[subprocess.Popen[bytes]] = []

    def draw(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        code = f"open({str(drawn)!r}, 'a').write('x'); print(1.5)"
        started.append(subprocess.Popen([sys.executable, "-c", code], **options))
        started[-1].wait()
        return started[-1]

    monkeypatch.setattr(refresh, "interpreter", draw)
    monkeypatch.setattr(refresh, "_FIGURES_CPU", 0.0)
    monkeypatch.setattr(refresh, "_PERIOD", 0.0)
    popgrad.run(Spy(), directory=tmp_path / "run", **GIVEN)
    # The second one is 150 s away, on one core.
    assert drawn.read_text() == "x"
    assert [process.returncode for process in started] == [0]


def test_a_process_that_draws_as_the_run_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def hang(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **options)
        )
        return started[-1]

    monkeypatch.setattr(refresh, "interpreter", hang)
    monkeypatch.setattr(refresh, "_FIGURES_CPU", 0.0)
    monkeypatch.setattr(refresh, "_PERIOD", 0.0)
    begin = time.monotonic()
    popgrad.run(Spy(), directory=tmp_path / "run", **GIVEN)
    assert time.monotonic() - begin < 60
    assert [process.returncode for process in started] == [-9]


def test_a_process_that_fails_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "raise SystemExit('broken')"], **options)
        process.wait()
        return process

    monkeypatch.setattr(refresh, "interpreter", fail)
    monkeypatch.setattr(refresh, "_FIGURES_CPU", 0.0)
    monkeypatch.setattr(refresh, "_PERIOD", 0.0)
    with caplog.at_level(logging.WARNING):
        popgrad.run(Spy(), directory=tmp_path / "run", **GIVEN)
    assert [each for each in caplog.messages if "refreshed" in each] == [
        "tables and figures are not refreshed as the run trains: broken"
    ]
