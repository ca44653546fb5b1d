"""The disk is full, fails, or cannot be written to: nothing that is recorded is lost, and resume goes on."""

import errno
import logging
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import popgrad
from faults.controllers import Traced
from faults.disk import can_mount, failing_reads, failing_writes, small_disk
from popgrad import RunError
from popgrad.core.errors import PopgradError
from program import contents
from program import popgrad as program
from spies import read, record
from store.test_journal import forbid_writing, read_only_folder

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 4,
    "interval": 2,
    "fraction": 0.34,
    "executor": "serial",
    "outputs": False,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    popgrad.run(Traced(), directory=directory, **GIVEN)
    return directory


def stopped(directory: Path, *, after: int = 7) -> None:
    """A run that ends after so many segments."""
    count = 0

    def stop(_: Any) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Traced(), directory=directory, on_segment=stop, **GIVEN)


def go_on(directory: Path) -> popgrad.Result:
    """What one does who finds it: go on with the run, or start it where there is none."""
    if (directory / "journal.db").exists():
        return popgrad.resume(directory, task=Traced())
    return popgrad.run(Traced(), directory=directory, **GIVEN)


# --- full ------------------------------------------------------------------------------------------------

mounting = pytest.mark.skipif(
    not can_mount(), reason="a small disk can be mounted only by the superuser"
)


@mounting
@pytest.mark.parametrize("kib", [8, 24, 44, 52, 64, 76, 88, 100, 120, 140, 160, 180])
def test_a_disk_that_fills_up_loses_nothing_and_the_run_goes_on_once_there_is_room(
    kib: int, whole: Path
) -> None:
    """It fills up wherever it does: as the journal is made, in a commit, in a checkpoint."""
    told: list[Any] = []
    with small_disk(kib) as disk:
        directory = disk.path / "run"
        with pytest.raises(
            RunError, match=r"disk is full|disk I/O error|No space left on device"
        ) as caught:
            popgrad.run(Traced(), directory=directory, on_segment=told.append, **GIVEN)
        assert "\n" not in str(caught.value)
        if (directory / "journal.db").exists():
            assert popgrad.load(directory).segments[: len(told)] == tuple(told)
        disk.resize(16 * 1024)
        assert go_on(directory).stopped == "finished"
        assert record(directory) == record(whole)
        assert (directory / "best.json").read_bytes() == (whole / "best.json").read_bytes()


@mounting
@pytest.mark.draws
def test_when_there_is_no_room_for_the_figures_the_run_is_recorded_to_its_end(whole: Path) -> None:
    with small_disk(300) as disk:
        directory = disk.path / "run"
        with pytest.raises(
            RunError, match=r"figures cannot be written: .*No space left.* recorded to its end"
        ):
            popgrad.run(Traced(), directory=directory, **{**GIVEN, "outputs": True})
        assert record(directory) == record(whole)
        disk.resize(16 * 1024)
        assert go_on(directory).stopped == "finished"
        assert (directory / "results.png").exists()
        assert record(directory) == record(whole)


@mounting
@pytest.mark.parametrize("kib", [24, 52, 100])
def test_the_program_says_in_one_line_that_the_disk_is_full(kib: int) -> None:
    with small_disk(kib) as disk:
        argv = ("run", "quadratic", "--population", "3", "--intervals", "40", "--interval", "1")
        done = program(*argv, "--executor", "serial", "--dir", str(disk.path / "run"))
        assert done.code == 1
        said = [
            line
            for line in done.err.splitlines()
            if line.startswith("popgrad: ") and "cannot be" in line
        ]
        assert len(said) == 1
        assert (
            "disk is full" in said[0] or "disk I/O error" in said[0] or "No space left" in said[0]
        )
        assert "Traceback" not in done.err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("number", [1, 6, 12])
def test_a_checkpoint_that_cannot_be_written_ends_the_run_and_loses_nothing(
    number: int, code: int, whole: Path, tmp_path: Path
) -> None:
    """Injected where it is written. It is noticed at the next one, since training goes on meanwhile."""
    told: list[Any] = []
    with failing_writes(number, code), pytest.raises(RunError, match=os.strerror(code)) as caught:
        popgrad.run(Traced(), directory=tmp_path / "run", on_segment=told.append, **GIVEN)
    assert "\n" not in str(caught.value)
    assert popgrad.load(tmp_path / "run").segments == tuple(told)
    assert number - 1 <= len(told) <= number + 1
    assert go_on(tmp_path / "run").stopped == "finished"
    assert record(tmp_path / "run") == record(whole)


# --- unreadable ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.EACCES, errno.ENFILE, errno.EMFILE, errno.ESTALE]
)
def test_checkpoints_that_cannot_be_read_now_stop_the_run_and_are_kept(
    code: int, whole: Path, tmp_path: Path
) -> None:
    stopped(tmp_path / "run")
    before = contents(tmp_path / "run" / "checkpoints")
    with failing_reads(code), pytest.raises(RunError, match=os.strerror(code)) as caught:
        go_on(tmp_path / "run")
    assert re.fullmatch(
        r"the checkpoint \S+\.safetensors cannot be read now [^\n]*", str(caught.value)
    )
    assert contents(tmp_path / "run" / "checkpoints") == before
    assert go_on(tmp_path / "run").stopped == "finished"
    assert record(tmp_path / "run") == record(whole)


# --- not to be written to --------------------------------------------------------------------------------


def test_in_a_read_only_directory_runs_are_looked_at_and_not_gone_on_with(whole: Path) -> None:
    with read_only_folder() as folder:
        shutil.copytree(whole, folder / "run")
        before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
        (folder / "run").chmod(0o555)
        forbid_writing(folder)
        assert len(popgrad.load(folder / "run").segments) == 12
        assert program("show", str(folder / "run")).code == 0
        for refused in (
            lambda: popgrad.resume(folder / "run", task=Traced()),
            lambda: popgrad.run(Traced(), directory=folder / "new", **GIVEN),
        ):
            with pytest.raises((PopgradError, OSError), match="ermission denied") as caught:
                refused()
            assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in before} == before


# --- elsewhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree], ids=lambda how: how.__name__)
def test_a_run_that_was_moved_or_copied_goes_on_there(
    how: Any, whole: Path, tmp_path: Path
) -> None:
    stopped(tmp_path / "run")
    there = tmp_path / "else" / "where"
    there.parent.mkdir()
    how(tmp_path / "run", there)
    assert go_on(there).stopped == "finished"
    assert record(there) == record(whole)
    if how is shutil.copytree:  # the other is its own, and goes on too
        assert len(popgrad.load(tmp_path / "run").segments) == 7
        go_on(tmp_path / "run")
        assert record(tmp_path / "run") == record(whole)


def test_on_another_kind_of_machine_a_run_goes_on_and_says_that_bits_are_not_promised(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from popgrad.executors import serial

    stopped(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    recorded, _ = read(tmp_path / "run")
    own = serial.fingerprint()
    monkeypatch.setattr(serial, "fingerprint", lambda: own | {"capability": "ANOTHER"})
    step = Traced._step

    def other(
        task: Traced, state: Any, hparams: Any
    ) -> None:  # the last bit of a product is another
        step(task, state, hparams)
        state["model"]["bias"][0] += 1e-7

    monkeypatch.setattr(Traced, "_step", other)
    with caplog.at_level(logging.WARNING, "popgrad"):
        result = popgrad.resume(tmp_path / "run", task=Traced(), allow_changed_task=True)
    assert result.stopped == "finished"
    assert (
        f"(capability {own['capability']!r} -> 'ANOTHER'): bits are no longer promised"
        in caplog.text
    )
    assert "differs from the record" in caplog.text
    segments, _ = read(tmp_path / "run")
    assert len(segments) == 12
    assert repr(segments[: len(recorded)]) == repr(recorded)
    assert repr(segments) != repr(read(whole)[0])


# --- another format --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "cure"), [(1, "a development version"), (99, "a newer popgrad; update popgrad")]
)
def test_a_run_of_another_format_is_refused_and_stays_as_it_is(
    version: int, cure: str, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    database = sqlite3.connect(tmp_path / "run" / "journal.db")
    with database:
        database.execute("UPDATE about SET value = ? WHERE key = 'format'", [str(version)])
    database.close()
    before = (tmp_path / "run" / "journal.db").read_bytes()
    for refused in (
        lambda: popgrad.load(tmp_path / "run"),
        lambda: popgrad.resume(tmp_path / "run", task=Traced()),
    ):
        with pytest.raises(RunError, match=rf"has format {version}, expected 3: .*{cure}"):
            refused()
    assert (tmp_path / "run" / "journal.db").read_bytes() == before
