"""What is seen of a run as it goes."""

import contextlib
import io
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from popgrad.cli.app import app
from popgrad.core.plan import Decision, Plan
from popgrad.core.segment import Segment
from popgrad.core.space import Constant, LogUniform, Space, Uniform
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.runs.display import Display
from popgrad.runs.progress import Course, LiveTable

SPACE = Space({"lr": LogUniform(1e-4, 1e-1), "decay": Constant(0.5), "keep": Uniform(0.0, 1.0)})
COURSE = Course(members=3, intervals=2, score="accuracy", space=SPACE)


def show_progress(
    console: Console, *, plain: bool = False
) -> contextlib.AbstractContextManager[Callbacks]:
    """Show a run as the command line does."""
    return Display("lines" if plain else True, program=True, console=console).show(COURSE, [])


def segment(
    member: int, score: float, interval: int = 0, source: tuple[int, int] | None = None
) -> Segment:
    hparams = {"lr": 0.001 * (member + 1), "decay": 0.5, "keep": 0.25}
    status = "done" if math.isfinite(score) else "failed"
    return Segment(
        member,
        interval,
        source,
        hparams,
        {},
        0,
        5 * interval,
        5,
        0,
        score,
        {"accuracy": score},
        "",
        status,
    )


FIRST = (segment(0, 0.5), segment(1, 0.9), segment(2, math.nan))
DECISION = Decision(0, Plan((0, 1, 2), (1, 1, 1), ({}, {}, {}), ({}, {}, {})), {})


def render(table: LiveTable, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(table.render(console))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def table(*segments: Segment, members: int = 3, space: Space = SPACE) -> LiveTable:
    made = LiveTable(Course(members, 2, "accuracy", space))
    for each in segments:
        made.add_segment(each)
    return made


def test_the_best_are_on_top_and_marked_the_failed_below() -> None:
    heading, *rows, bar = render(table(*FIRST))
    assert heading.split() == ["member", "interval", "accuracy", "lr", "keep"]
    assert [row.split() for row in rows] == [
        ["1", "best", "0", "0.9000", "0.002000", "0.2500"],
        ["0", "0", "0.5000", "0.001000", "0.2500"],
        ["2", "0", "failed", "0.003000", "0.2500"],
    ]
    assert bar.startswith("0/2 intervals ")
    assert "3/6 segments" in bar


def test_numbers_are_aligned_under_their_headings() -> None:
    heading, *rows, _ = render(table(*FIRST))
    for name, *numbers in (
        ("accuracy", "0.9000", "0.5000", "failed"),
        ("lr", "0.002000", "0.001000", "0.003000"),
    ):
        end = heading.index(name) + len(name)
        assert [row[:end].split()[-1] for row in rows] == numbers
        assert all(row[end : end + 1] in ("", " ") for row in rows)


def test_who_inherited_is_shown_with_the_donor() -> None:
    rows = render(table(segment(0, 0.7, 1, (1, 0)), segment(1, 0.9, 1, (1, 0))))
    assert rows[1].split()[:2] == ["1", "best"]
    assert "←" not in rows[1]
    assert rows[2].endswith("← m1")


def test_nothing_but_the_bar_is_shown_before_anything_is_finished() -> None:
    (line,) = render(table())
    assert line.startswith("starting ")
    assert "0/6 segments" in line


def test_what_was_on_record_before_counts() -> None:
    made = table()
    made.add_interval(IntervalEnd(0, FIRST, DECISION, 1.0))
    *_, bar = render(made)
    assert bar.startswith("1/2 intervals ")
    assert "3/6 segments" in bar


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 10), (30, 5), (10, 2)])
def test_it_fits_the_terminal_and_says_what_is_not_shown(width: int, height: int) -> None:
    many = Space({f"hyperparameter_{i}": Uniform(0.0, 1.0) for i in range(8)})
    hparams = dict.fromkeys(many, 0.5)
    members = [replace(segment(i, i / 100), hparams=hparams) for i in range(50)]
    lines = render(table(*members, members=50, space=many), width, height)
    assert len(lines) <= max(4, height)
    assert max(map(len, lines)) <= width
    if width >= 60:
        assert lines[0].split()[:3] == ["member", "interval", "accuracy"]
        assert re.search(r"and \d+ more members, \d more hyperparameters", lines[-2])
        assert "…" not in "".join(lines)


def test_a_population_of_another_size_is_counted_as_such() -> None:
    made = table(*FIRST)
    made.add_interval(IntervalEnd(0, FIRST, replace(DECISION, size=2), 1.0))
    *rows, bar = render(made)
    assert [row.split()[0] for row in rows[1:]] == ["1", "0"]
    assert "3/5 segments" in bar


def test_a_line_says_how_many_members_there_are_from_now_on() -> None:
    console = Console(file=io.StringIO(), width=20)
    with show_progress(console) as watch:
        assert watch.on_interval is not None
        watch.on_interval(IntervalEnd(0, FIRST, replace(DECISION, size=3), 1.25))
    assert "; inherit m0 ← m1, m2 ← m1; 3 members from now on (1.2 s)" in console.file.getvalue()  # type: ignore[attr-defined]


def test_elsewhere_than_in_a_terminal_each_interval_is_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console(file=io.StringIO(), width=20)
    with show_progress(console) as watch:
        print("what the task says")
        assert watch.on_segment is None
        assert watch.on_interval is not None
        watch.on_interval(IntervalEnd(0, FIRST, DECISION, 1.25))
        watch.on_interval(IntervalEnd(1, (segment(2, math.nan, 1),), None, 2.0))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "1/2 intervals: best accuracy 0.9, median 0.7, 1 failed; inherit m0 ← m1, m2 ← m1 (1.2 s)",
        "2/2 intervals: no member alive, 1 failed (2.0 s)",
    ]
    assert capsys.readouterr() == ("", "what the task says\n")


def test_colours_that_are_asked_for_make_no_terminal_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console(file=io.StringIO(), highlight=False)
    with show_progress(console) as watch:
        assert watch.on_interval is not None
        watch.on_interval(IntervalEnd(0, FIRST, None, 1.0))
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    """What takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def screen(text: str) -> list[str]:
    """What a terminal shows at the end of a text, by the few codes that a live display uses."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\??[0-9;]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.startswith("\x1b"):
            number = int(re.sub(r"\D", "", token) or 1)
            if token.endswith("A"):
                row -= number
            elif token.endswith("K"):
                lines[row] = ""
        else:
            lines[row] = (
                lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            )
            column += len(token)
    return [line.rstrip() for line in lines]


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def stderr(file: io.StringIO) -> Console:
    return Console(file=file, width=80, height=24, highlight=False, emoji=False, markup=False)


def test_what_is_printed_meanwhile_comes_in_whole_lines_above_the_table_which_stays_when_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal()
    with (
        contextlib.suppress(KeyboardInterrupt),
        show_progress(stderr(terminal)) as watch,
    ):
        assert watch.on_segment is not None
        watch.on_segment(FIRST[0])
        print("from the ", end="")
        print("task")
        print("and its errors", file=sys.stderr)
        print("kept in [/tmp]", end="", flush=True)  # which would be markup, and wrong
        watch.on_segment(FIRST[1])
        raise KeyboardInterrupt
    *printed, heading, _, _, bar, _ = screen(terminal.getvalue())
    assert printed == ["from the task", "and its errors", "kept in [/tmp]"]
    assert heading.split()[:2] == ["member", "interval"]
    assert "2/6 segments" in bar
    print("the results")
    assert capsys.readouterr() == ("the results\n", "")


def test_the_table_makes_way_for_the_report() -> None:
    terminal = Terminal()
    with show_progress(stderr(terminal)) as watch:
        assert watch.on_segment is not None
        watch.on_segment(FIRST[0])
    assert "accuracy" in terminal.getvalue()
    assert not any(screen(terminal.getvalue()))


@pytest.mark.parametrize("plain", [True, False])
def test_a_terminal_gets_lines_when_asked_for_or_when_it_cannot_do_more(
    monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    if not plain:
        monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with show_progress(stderr(terminal), plain=plain) as watch:
        assert watch.on_interval is not None
        watch.on_interval(IntervalEnd(0, FIRST, None, 1.0))
    assert terminal.getvalue() == "1/2 intervals: best accuracy 0.9, median 0.7, 1 failed (1.0 s)\n"


def test_who_wants_no_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    with show_progress(stderr(terminal)) as watch:
        assert watch.on_interval is not None
        watch.on_interval(IntervalEnd(0, FIRST, None, 1.0))
    assert "failed" in terminal.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.getvalue())


def test_commands_that_train_take_plain(tmp_path: Path) -> None:
    short = ["quadratic", "--set", "interval=2", "--set", "intervals=1", "--debug", "--dir"]
    for argv in (
        ["run", *short, str(tmp_path / "many"), "--population", "4", "--executor", "serial"],
        ["resume", str(tmp_path / "many"), "--intervals", "2", "--executor", "serial"],
        [
            "train",
            *short,
            str(tmp_path / "one"),
            "--mode",
            "train",
            "--set",
            "initial=[{h0 = 1.0, h1 = 0.5}]",
        ],
    ):
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(Terminal()) as terminal,
        ):
            app([*argv, "--plain"], standalone_mode=False)
        last = 2 if argv[0] == "resume" else 1
        lines = terminal.getvalue().splitlines()
        assert lines[0].startswith("quadratic: ")
        done = [line.split()[0] for line in lines if "intervals: best" in line]
        assert done == [f"{i}/{last}" for i in range(1, last + 1)]
