"""Kill a run of trainers of Transformers in the middle of an epoch, then resume: the record is the same."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import popgrad
from faults.controllers import alive, eventually
from integrations import trainers
from integrations.trainers import ALL, task
from spies import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

SCRIPT = """
import sys
from integrations import trainers

trainers.run(
    trainers.task(trainers.full, trainers.ALL), directory=sys.argv[1], executor=sys.argv[2], workers=2,
    population=3,
)
"""
STEPS = 3 * 3 * 5
"""Steps of the optimizer in a run, at least."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is never killed."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINER_OUTPUT", str(directory.parent / "output"))
        trainers.run(task(trainers.full, ALL), directory=directory, population=3)
    return directory


def start(folder: Path, executor: str) -> subprocess.Popen[bytes]:
    paths = [str(Path(popgrad.__file__).parents[1]), str(Path(__file__).parents[1])]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TRAINER_STEPS": str(folder / "steps"),
        "TRAINER_OUTPUT": str(folder / "output"),
    }
    command = [sys.executable, "-c", SCRIPT, str(folder / "run"), executor]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, start_new_session=True)


def steps(folder: Path) -> list[dict[str, int]]:
    """The steps that were taken so far."""
    if not (folder / "steps").exists():
        return []
    lines = (folder / "steps").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.parametrize(
    ("executor", "number"),
    [
        ("processes", 5),
        *(pytest.param("serial", number, marks=pytest.mark.long) for number in range(10)),
        pytest.param("processes", 2, marks=pytest.mark.long),
        pytest.param("processes", 8, marks=pytest.mark.long),
    ],
)
def test_a_killed_run_is_resumed_with_the_same_record(
    executor: str, number: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A twelfth of the run each, so that kills fall into each interval.
    wanted = STEPS * number // 12 + random.Random(number).randint(2, STEPS // 12)
    process = start(tmp_path, executor)
    assert eventually(lambda: len(steps(tmp_path)) >= wanted or process.poll() is not None, 100.0)
    assert process.poll() is None
    if number % 2:
        process.kill()  # the controller alone: its workers have to notice
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert eventually(lambda: not _group_is_alive(process.pid), 30.0)

    monkeypatch.setenv("TRAINER_OUTPUT", str(tmp_path / "output"))
    popgrad.resume(tmp_path / "run", task=task(trainers.full, ALL), progress=False)
    assert record(tmp_path / "run") == record(whole)


def _group_is_alive(group: int) -> bool:
    """Whether a process of a group still runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and alive(int(entry.name)):
                return True
    return False
