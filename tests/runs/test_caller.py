"""What a caller of a run meets when it ends early: Ctrl-C, and an exception of its own callback."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import popgrad
from program import SRC
from spies import Spy

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 4,
    "interval": 2,
    "executor": "serial",
    "progress": False,
}

SCRIPT = """
import os, signal, sys
import popgrad

def stop(end):
    if end.interval == 1:
        os.kill(os.getpid(), signal.SIGINT)

popgrad.run("quadratic", population=3, intervals=4, executor="serial", on_interval=stop, **{keywords!r})
"""


def script(folder: Path, **keywords: Any) -> "subprocess.CompletedProcess[str]":
    """Run a script that is interrupted after two intervals."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT.format(keywords=keywords)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": SRC},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_script_in_one_line_that_says_how_to_continue(tmp_path: Path) -> None:
    done = script(tmp_path, directory="here", progress=False)
    assert done.returncode == -signal.SIGINT  # 130 in a shell
    assert done.stdout == ""
    assert done.stderr == (
        "popgrad: interrupted after 2 of 4 intervals; continue with: popgrad.resume('here'), "
        "or popgrad resume here\n"
    )
    assert (tmp_path / "here" / "schedule.png").exists()
    result = popgrad.resume(tmp_path / "here", progress=False)
    assert (result.stopped, len(result.segments)) == ("finished", 12)


def test_in_memory_it_says_that_the_run_is_lost_and_progress_stays_above(tmp_path: Path) -> None:
    *progress, last = script(tmp_path).stderr.splitlines()
    assert last.startswith("popgrad: interrupted; it was in memory only and is lost")
    assert progress[-1].startswith("2/4 intervals")
    assert len(progress) == 5


def test_an_interrupt_is_caught_as_any_other_and_has_no_frames_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def stop(end: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"task=\.\.\.") as caught:
        popgrad.run(Spy(), directory=tmp_path / "run", on_interval=stop, **GIVEN)
    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "run"
    assert caught.value.__suppress_context__


def test_a_hook_that_the_user_has_installed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(*arguments: object) -> None: ...

    monkeypatch.setattr(sys, "excepthook", hook)

    def stop(end: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Spy(), on_interval=stop, **GIVEN)
    assert sys.excepthook is hook


def test_other_exceptions_are_printed_as_python_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from popgrad.runs.caller import _print_exception

    try:
        raise ValueError("something else")
    except ValueError as error:
        _print_exception(type(error), error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["on_segment", "on_interval"])
def test_an_exception_of_a_callback_names_it_and_the_run_is_kept(name: str, tmp_path: Path) -> None:
    def fail(event: object) -> None:
        raise ValueError("a mistake in the callback")

    callback: dict[str, Any] = {name: fail}
    with pytest.raises(ValueError, match="a mistake in the callback") as caught:
        popgrad.run(Spy(), directory=tmp_path / "run", **callback, **GIVEN)
    (note,) = caught.value.__notes__
    assert note.startswith(f"popgrad: {name} raised this, so the run was stopped; continue with:")
    assert f"popgrad.resume('{tmp_path / 'run'}', task=...)" in note
    assert popgrad.load(tmp_path / "run").status.state == "interrupted"
    result = popgrad.resume(tmp_path / "run", task=Spy(), progress=False)
    assert len(result.segments) == 12
