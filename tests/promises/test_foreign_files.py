"""Ten thousand foreign files and command lines: no code is executed, nothing else touched, memory bounded."""

import faulthandler
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from program import SRC
from promises.fuzzing import Sandbox

FUZZING = Path(__file__).with_name("fuzzing.py")
MOST_MEMORY = 1 << 30

COUNTS = {"tensors": 4_500, "configuration": 4_500, "record": 700, "command line": 300}


def contents(folder: Path) -> dict[str, str]:
    """What each path in a folder is: the digest of a file, the target of a link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"-> {os.readlink(path)}"
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = f"{digest} {path.stat().st_mtime_ns} {path.stat().st_mode}"
        else:
            found[str(path)] = "folder"
    return found


def tried(folder: Path, seed: int, kind: str) -> int:
    """Try the cases of a kind in a process of their own, and return its largest memory in bytes."""
    box = Sandbox(folder / "box")
    box.create()
    canaries = {**contents(box.outside), **contents(box.run)}
    beside = sorted(os.listdir(box.path))

    # On a busy machine this takes longer than other tests may.
    faulthandler.cancel_dump_traceback_later()
    path = os.pathsep.join((SRC, str(FUZZING.parents[1])))
    done = subprocess.run(
        [sys.executable, str(FUZZING), str(seed), str(box.path), f"{kind}={COUNTS[kind]}"],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert told["cases"] == COUNTS[kind]
    assert {**contents(box.outside), **contents(box.run)} == canaries
    assert sorted(os.listdir(box.path)) == beside
    return int(told["peak"])


def test_there_are_ten_thousand_cases() -> None:
    assert sum(COUNTS.values()) >= 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", COUNTS)
def test_no_case_does_harm(kind: str, tmp_path: Path) -> None:
    assert tried(tmp_path, 1, kind) < MOST_MEMORY


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("kind", COUNTS)
def test_none_of_many_more_does_harm(kind: str, seed: int, tmp_path: Path) -> None:
    assert tried(tmp_path, seed, kind) < MOST_MEMORY
