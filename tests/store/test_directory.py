"""A run's directory: made where nothing is, and worked on by one process at a time."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from popgrad import RunError, UsageError
from popgrad.store.directory import Directory


def test_a_directory_is_made_with_those_above_it_or_taken_when_empty(tmp_path: Path) -> None:
    for path in (tmp_path / "a" / "b", tmp_path / "a" / "b"):
        assert Directory.create(path).path.is_dir()


def test_what_is_there_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(UsageError, match="exists: choose another one with --dir"):
            Directory.create(path)
    with pytest.raises(UsageError, match="cannot be created"):
        Directory.create(tmp_path / "file" / "below")
    (tmp_path / "journal.db").touch()
    with pytest.raises(
        UsageError, match="holds a run: continue it with `popgrad resume`, or choose another one"
    ):
        Directory.create(tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_one_at_a_time(tmp_path: Path) -> None:
    place = Directory(tmp_path)
    with place.locked():
        with pytest.raises(RunError, match=f"process {os.getpid()} is at work on"), place.locked():
            pass
        code = (
            "import sys, pathlib\nfrom popgrad.store.directory import Directory\n"
            "with Directory(pathlib.Path(sys.argv[1])).locked(): pass"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
        )
        assert f"process {os.getpid()} is at work on" in other.stderr
    with place.locked():
        pass


def test_a_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Directory(tmp_path)
    waits: list[float] = []
    first = place.locked()
    first.__enter__()

    def release(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 20:
            first.__exit__(None, None, None)

    monkeypatch.setattr(time, "sleep", release)
    with place.locked(60):
        assert len(waits) == 20


def test_the_lock_is_given_back_when_work_fails(tmp_path: Path) -> None:
    place = Directory(tmp_path)
    with pytest.raises(KeyboardInterrupt), place.locked():
        raise KeyboardInterrupt
    with place.locked():
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_who_works_on_it_is_told(tmp_path: Path) -> None:
    place = Directory(tmp_path)
    assert place.holder() == ""
    with place.locked():
        assert place.holder() == str(os.getpid())
    assert place.holder() == ""


def test_what_was_killed_before_it_had_a_journal_is_begun_again(tmp_path: Path) -> None:
    for name in ("lock", ".journal.db.part", ".journal.db.part-journal"):
        (tmp_path / name).touch()
    assert Directory.create(tmp_path).path == tmp_path


def test_a_reader_that_asks_for_the_holder_refuses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the lock for a moment; the run tries again."""
    directory = Directory.create(tmp_path / "run")
    (directory.path / "lock").touch()
    with (directory.path / "lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            fcntl.flock(reader, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", wait)
        with directory.locked():
            assert directory.holder() == str(os.getpid())
    assert len(waits) == 1
