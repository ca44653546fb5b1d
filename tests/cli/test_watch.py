"""A run that was started elsewhere is followed until it ends: as lines, or as a table in a terminal."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from popgrad.cli import watch
from popgrad.cli.arguments import RecordedRun, read_run
from popgrad.core.errors import RunError
from program import SMALL, SRC, popgrad, refused, start_program
from spies import time_with


def stages(finished: Path, *counts: int) -> Callable[[], RecordedRun]:
    """Return what opens a run with so many segments, one count after the other, and then all of it."""
    whole = read_run(finished)
    seen = [
        replace(
            whole,
            record=replace(
                whole.record, segments=whole.record.segments[:count], stopped="unfinished"
            ),
            process="123",
        )
        for count in counts
    ]
    return lambda: seen.pop(0) if seen else whole


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between two views; no time passes."""
    waited: list[float] = []
    monkeypatch.setattr(watch, "time", time_with(sleep=waited.append))
    return waited


def test_a_finished_run_is_shown_as_show_does(finished: Path) -> None:
    assert popgrad("watch", str(finished)) == popgrad("show", str(finished))
    assert popgrad("show", str(finished), "--watch") == popgrad("show", str(finished))


def test_a_line_is_printed_for_each_interval_and_then_the_run(
    finished: Path, naps: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    # Four members: nothing yet, half an interval, one, one and a half, two.
    watch.follow(stages(finished, 0, 2, 4, 6, 8))
    first, one, two, rest = capsys.readouterr().out.split("\n", 3)
    assert first.startswith("in progress (process 123 on this machine), 0 of 3 intervals")
    assert one.startswith("1/3 intervals: best q ")
    assert ", median " in one
    assert two.startswith("2/3 intervals: best q ")
    assert rest == popgrad("show", str(finished)).out
    assert len(naps) == 5
    assert min(naps) >= 2.0


def test_a_long_record_is_read_less_often(finished: Path, naps: list[float]) -> None:
    opened = stages(finished, 4)
    clock = iter(range(0, 1000, 10))

    def slow() -> RecordedRun:
        return opened()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "time", time_with(sleep=naps.append, monotonic=lambda: next(clock)))
        watch.follow(slow, plain=True)
    assert naps == [40]


def test_a_journal_that_is_just_being_written_to_is_tried_again(
    finished: Path, naps: list[float]
) -> None:
    opened = stages(finished, 4)
    failures = [None, RunError("it changes too fast"), RunError("again")]

    def flaky() -> RecordedRun:
        failure = failures.pop(0) if failures else None
        if failure is not None:
            raise failure
        return opened()

    watch.follow(flaky, plain=True)
    assert len(naps) == 3

    def gone() -> RecordedRun:
        raise RunError("it is gone")

    with pytest.raises(RunError, match="it is gone"):
        watch.follow(gone, plain=True)


def frame(run: RecordedRun, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "out", console)
        console.print(watch._frame(run))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_the_table_fits_the_terminal_with_its_status_and_bar(finished: Path) -> None:
    run = stages(finished, 6)()
    lines = frame(run, 80, 24)
    assert lines[0].split() == ["member", "interval", "q", "h0", "h1"]
    assert len(lines) == 1 + 4 + 2
    assert "1 of 3 intervals" in lines[-2]
    assert lines[-1].endswith(" 6/12 segments")
    for width, height in ((80, 7), (20, 24), (12, 3)):
        narrow = frame(run, width, height)
        assert max(map(len, narrow)) <= width
        assert len(narrow) <= max(height - 1, 5)
    assert "and 2 more members" in frame(run, 80, 7)[3]
    assert frame(stages(finished, 0)(), 80, 24)[0] == "No segment is finished yet."


def test_what_holds_no_run_is_a_mistake() -> None:
    assert "holds no run" in refused("watch", "nowhere")


def wait_for_intervals(directory: Path, count: int) -> None:
    """Wait until all members of a run have trained so many intervals."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = popgrad("show", str(directory), "--json")
        if done.code == 0 and done.json["completed_intervals"] >= count:
            return
        time.sleep(0.1)
    raise AssertionError(done)


def read_until(terminal: int, end: bytes | None) -> str:
    """Return what is written to a terminal, up to some bytes, or to the end of its last process."""
    seen = bytearray()
    # Linux ends the reading of a terminal without a process with an error.
    with suppress(OSError):
        while end is None or end not in seen:
            seen.extend(os.read(terminal, 10_000))
    return seen.decode()


@pytest.mark.slow
def test_ctrl_c_leaves_the_table_on_the_screen() -> None:
    argv = ("run", "toy.py:Toy", *SMALL, "--dir", "here", "--no-test", "--no-check")
    running = start_program(*argv, HOLD="yes")
    wait_for_intervals(Path("here"), 2)

    terminal, other = pty.openpty()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        watching = subprocess.Popen(
            [sys.executable, "-m", "popgrad", "watch", "here"],
            env={**os.environ, "PYTHONPATH": SRC, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            stdin=other,
            stdout=other,
            stderr=other,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(other)
    text = read_until(terminal, b"segments")
    watching.send_signal(signal.SIGINT)
    text += read_until(terminal, None)
    assert watching.wait(60) == 130
    os.close(terminal)
    running.kill()
    running.communicate()

    assert "2 of 3 intervals" in text
    assert "8/12 segments" in text
    assert text.rstrip().endswith("popgrad: interrupted")
    # No line is erased once the table has been drawn for the last time.
    assert "\x1b[2K" not in text[text.rindex("8/12 segments") :]
