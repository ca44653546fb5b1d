"""Members in Lightning, killed by SIGKILL and resumed: the record is that of a run never killed."""

import contextlib
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning")

import popgrad
from faults.controllers import alive, eventually
from program import SRC, record, start_program

TESTS = Path(__file__).parents[1]
SCRIPT = """
import lightning_loops as loops

task = loops.task(loops.in_workers)
"""
OPTIONS = ("--population", "3", "--intervals", "4", "--seed", "5", "--no-check", "--no-test")
VARIABLES = {"PYTHONPATH": os.pathsep.join([SRC, str(TESTS)]), "PYTHONWARNINGS": "ignore"}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("lightning") / "script.py"
    file.write_text(SCRIPT)
    return file


@pytest.fixture(scope="module")
def whole(script: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """The record of a run that nothing interrupts."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    finish("run", f"{script}:task", "--dir", str(directory), "--executor", "serial", *OPTIONS)
    segments = popgrad.load(directory).segments
    assert any(each.source is not None and each.source[0] != each.member for each in segments)
    return record(directory)


def finish(*command: str) -> None:
    program = start_program(*command, **VARIABLES)
    _, err = program.communicate(timeout=200)
    assert program.returncode == 0, err


def children(pid: int) -> set[int]:
    """Processes below one: workers, and those of their loaders."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child, *children(child)}
    return found


def kill_after(segments: int, directory: Path, *command: str) -> None:
    """Start the program, and kill it once its record has a number of segments."""

    journal = directory / "journal.db"

    def recorded() -> int:
        # Cheaper than popgrad.load, since it is asked often.
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
            ) as database:
                return int(database.execute("SELECT count(*) FROM segments").fetchone()[0])
        except sqlite3.Error:
            return 0

    program = start_program(*command, **VARIABLES)
    eventually(lambda: program.poll() is not None or recorded() >= segments, seconds=200.0)
    below = children(program.pid)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    assert program.returncode == -signal.SIGKILL, "the run has ended before it was killed"
    assert eventually(lambda: not any(map(alive, below))), "workers outlive their controller"


def kill_often(kills: range, script: Path, directory: Path, executor: str) -> None:
    """Kill a run after each number of segments, and resume it to its end."""
    command = ["run", f"{script}:task", "--dir", str(directory), "--executor", executor, *OPTIONS]
    for segments in kills:
        kill_after(segments, directory, *command)
        command = ["resume", str(directory), "--no-test"]
    finish("resume", str(directory), "--no-test")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("executor", "kills"),
    [
        ("serial", range(4, 5)),
        pytest.param("processes", range(1, 7, 5), marks=pytest.mark.long),
    ],
)
def test_a_run_that_was_killed_is_the_whole_one(
    executor: str, kills: range, script: Path, whole: tuple[Any, ...], tmp_path: Path
) -> None:
    kill_often(kills, script, tmp_path / "run", executor)
    assert record(tmp_path / "run") == whole


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_that_was_killed_ten_times_is_the_whole_one(
    executor: str, script: Path, whole: tuple[Any, ...], tmp_path: Path
) -> None:
    kill_often(range(1, 11), script, tmp_path / "run", executor)
    assert record(tmp_path / "run") == whole
