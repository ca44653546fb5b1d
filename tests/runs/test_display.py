"""What a run from Python shows: first lines, progress and last lines, on standard error alone."""

import io
import sys
import types
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import popgrad
from popgrad import Result, Space, Uniform, UsageError
from popgrad.reports.console import err
from popgrad.runs.display import Display
from popgrad.runs.progress import Course, LiveTable, NotebookTable
from spies import Spy

GIVEN: dict[str, Any] = {"population": 3, "intervals": 2, "executor": "serial"}
COURSE = Course(2, 3, "q", Space({"h": Uniform(0.0, 1.0)}))


class Terminal(io.StringIO):
    """What takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_says_what_it_will_do_how_it_goes_and_what_to_do_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    popgrad.run("quadratic", directory="my-run", **GIVEN)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[:3] == [
        "quadratic: 3 members, 2 intervals of 10 steps; strategy pbt, seed 0",
        "training in this process (executor serial), device cpu",
        "directory my-run; from another terminal: popgrad show my-run",
    ]
    assert [line.split(":")[0] for line in lines[3:5]] == ["1/2 intervals", "2/2 intervals"]
    assert lines[5].startswith("finished 2 of 2 intervals in ")
    assert lines[6:] == [
        "kept in my-run; next:",
        "  open my-run/schedule.png",
        "  popgrad show my-run",
        "  popgrad test my-run",
        "  popgrad replay my-run",
        "  popgrad resume my-run --intervals 4",
    ]

    popgrad.resume("my-run", intervals=3, tracker="tensorboard")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "continued after 2 intervals"
    assert lines[3] == "logged to tensorboard"


def test_a_run_in_memory_says_so_and_a_task_instance_has_to_be_passed_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    popgrad.run(Spy(), **GIVEN)
    lines = capsys.readouterr().err.splitlines()
    assert lines[2] == "in memory only: nothing is written, so the run cannot be resumed"
    assert lines[-1].startswith("finished")

    popgrad.run(Spy(), directory="own", **GIVEN)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "  popgrad.resume('own', task=..., intervals=4)"


def test_progress_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    popgrad.run("quadratic", progress=False, directory="off", **GIVEN)
    popgrad.resume("off", progress=False)
    assert capsys.readouterr() == ("", "")


def test_an_unknown_kind_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UsageError, match='progress: expected True, False, "lines" or "table", got'):
        popgrad.run("quadratic", progress="bar", directory="never", **GIVEN)  # type: ignore[arg-type]
    assert not Path("never").exists()


def test_a_table_is_drawn_in_a_terminal_and_stays_with_the_last_lines() -> None:
    with redirect_stderr(Terminal()) as terminal:
        popgrad.run("quadratic", **GIVEN)
    assert "\x1b[" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()
    assert terminal.getvalue().endswith(", member 1\n")


def test_lines_are_printed_in_a_terminal_if_requested() -> None:
    with redirect_stderr(Terminal()) as terminal:
        popgrad.run("quadratic", progress="lines", **GIVEN)
    assert "\x1b[" not in terminal.getvalue()
    assert "2/2 intervals: best q" in terminal.getvalue()


def test_what_a_script_prints_into_a_file_stays_in_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with redirect_stderr(Terminal()):
        popgrad.run("quadratic", on_interval=lambda end: print("mine", end.interval), **GIVEN)
    assert capsys.readouterr().out == "mine 0\nmine 1\n"


def test_a_run_within_a_run_prints_lines_below_its_table() -> None:
    def nested(end: object) -> None:
        popgrad.run("quadratic", **GIVEN)

    with redirect_stderr(Terminal()) as terminal:
        popgrad.run("quadratic", on_interval=nested, **GIVEN)
    assert terminal.getvalue().count("1/2 intervals: best q") == 2


@pytest.mark.parametrize("error", [BrokenPipeError, ValueError])
def test_a_stream_that_is_closed_never_ends_a_run(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(err, "quiet", False)  # which it does not stay

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise error("closed")

    with redirect_stderr(Closed()):
        assert popgrad.run("quadratic", **GIVEN).stopped == "finished"


def test_without_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert popgrad.run("quadratic", **GIVEN).stopped == "finished"


def test_long_names_are_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    display = Display("lines", console=Console(file=file, width=20))
    line = "kept in " + "a" * 50
    with display.show(COURSE, [line]):
        pass
    assert file.getvalue() == f"{line}\n"


# --- notebooks -----------------------------------------------------------------------------------------


class Handle:
    """Output of a notebook that is updated in place."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(bundle)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Handle:
    handle = Handle()

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert display_id
        handle.update(bundle, raw=raw)
        return handle

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel="a kernel")  # type: ignore[attr-defined]
    inner = types.ModuleType("IPython.display")
    inner.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return handle


def test_a_notebook_has_one_output_that_is_updated(
    notebook: Handle, capsys: pytest.CaptureFixture[str]
) -> None:
    popgrad.run("quadratic", directory="my-run", **GIVEN)
    assert capsys.readouterr() == ("", "")
    assert len(notebook.shown) < 15
    text = notebook.shown[-1]["text/plain"]
    assert text.startswith("quadratic: 3 members")
    assert "6/6 segments" in text
    assert text.endswith("popgrad resume my-run --intervals 4")
    assert "\x1b" not in text
    assert notebook.shown[-1]["text/html"].startswith("<pre>quadratic")


def test_many_segments_do_not_flood_a_notebook(notebook: Handle) -> None:
    popgrad.run("quadratic", population=3, intervals=60, executor="serial")
    assert len(notebook.shown) < 40


def test_a_name_cannot_leave_its_place_in_a_notebook(notebook: Handle) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[2J\u202e"
    table = NotebookTable(LiveTable(replace(COURSE, score=name, start=name)), [name])
    table.print(name)
    html = notebook.shown[-1]["text/html"]
    assert "&lt;img" in html
    assert not any(each in html for each in ("<img", "\x1b", "\u202e"))


def test_a_notebook_shows_how_far_an_interrupted_run_has_come(notebook: Handle) -> None:
    def stop(end: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run("quadratic", on_interval=stop, **GIVEN)
    assert "3/6 segments" in notebook.shown[-1]["text/plain"]


# --- objects -------------------------------------------------------------------------------------------


@pytest.fixture
def result() -> Result:
    return popgrad.run("quadratic", progress=False, seed=3, **GIVEN)


def test_a_result_a_winner_and_a_schedule_are_described_in_a_few_lines(result: Result) -> None:
    segment = result.record.winner
    lines = repr(result).splitlines()
    assert lines[0] == f"Result: q {segment.score:.4g}, member {segment.member}"
    assert [line.split()[0] for line in lines[1:]] == ["hparams", "status", "record", "directory"]
    assert repr(result.winner).startswith(f"Winner: member {segment.member}, q")
    assert "20 steps in" in repr(result.winner)
    assert repr(result.winner.schedule).splitlines()[1].split() == ["steps", "h0", "h1"]
    assert repr(result.space).startswith("Space({'h0': Uniform(low=0.0, high=1.0")
    for each in (result, result.winner, result.winner.schedule):
        assert len(repr(each)) < 500
        assert each._repr_html_().startswith("<table>")
    assert result.winner.member == segment.member


def test_a_result_without_a_winner_has_a_description() -> None:
    broken = Spy(broken={(member, 0): "nan" for member in range(3)})
    with pytest.raises(popgrad.AllMembersFailedError):
        popgrad.run(broken, directory="broken", progress=False, **GIVEN)
    text = repr(popgrad.load("broken"))
    assert text.startswith("Result: no member has a finite score")
    assert "3 segments, 3 members, 3 failed" in text


def test_a_long_schedule_is_shortened() -> None:
    phases = tuple(popgrad.Schedule.from_csv("first_step,steps,lr\n0,1,0.5\n").phases)
    many = tuple(type(phases[0])(i, 1, {"lr": i / 100}) for i in range(500))
    lines = repr(popgrad.Schedule(many)).splitlines()
    assert len(lines) == 23
    assert "…" in lines[12]
    assert lines[-1].split() == ["499..499", "4.99"]


@pytest.mark.parametrize("name", ["schedule", "results"])
def test_a_figure_is_a_picture_in_a_notebook(result: Result, name: str) -> None:
    figure = result.figure(name)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_an_unknown_figure_is_refused(result: Result) -> None:
    with pytest.raises(UsageError, match=r"figure: expected schedule, lineage, .* got 'loss'"):
        result.figure("loss")


def test_the_package_lists_its_public_names_and_its_version() -> None:
    names = [name for name in dir(popgrad) if not name.startswith("__")]
    assert set(popgrad.__all__) < set(names)
    assert "os" not in names
    assert all(
        name in popgrad.__all__ or isinstance(getattr(popgrad, name), types.ModuleType)
        for name in names
    )
    assert popgrad.__version__.count(".") == 2
