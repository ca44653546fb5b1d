"""The list of runs as the program prints it."""

import shutil
from pathlib import Path

import pytest

from program import SMALL, popgrad, refused


@pytest.fixture
def folder(finished: Path) -> Path:
    """A folder `runs` with two runs, and a directory that holds none."""
    for name in ("first", "group/second"):
        shutil.copytree(finished, Path("runs") / name)
    (Path("runs") / "broken").mkdir()
    (Path("runs") / "broken" / "journal.db").write_text("no journal")
    return Path("runs")


def test_a_list_has_a_row_for_each_run_and_the_reason_for_a_broken_one(folder: Path) -> None:
    done = popgrad("list")
    assert done.code == 0
    lines = done.out.splitlines()
    rows = [line.split() for line in lines if "finished" in line]
    assert {row[0] for row in rows} == {"first", "group/second"}
    for row in rows:
        _, *rest = row
        assert rest[:2] == ["finished", "3/3"]
        assert rest[3:7] == ["q", "quadratic", "pbt", "4"]
        assert rest[-1] == "ago"
    assert lines[-1] == "broken: its journal cannot be read or written: file is not a database"


def test_the_default_is_the_folder_runs_else_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = popgrad("list", "runs").out
    assert popgrad("list").out == named
    monkeypatch.chdir(folder)
    assert popgrad("list").out == named


def test_the_json_has_what_a_program_needs(folder: Path) -> None:
    (first,) = popgrad("list", str(folder / "first"), "--json").json
    assert first["path"] == str((folder / "first").absolute())
    assert first["name"] == "first"
    assert (first["completed"], first["intervals"], first["members"]) == (3, 3, 4)
    assert (first["state"], first["status"]) == ("finished", "finished 3 of 3 intervals")
    assert (first["score"], first["lower_is_better"], first["error"]) == ("q", False, "")
    shown = popgrad("show", str(folder / "first"), "--json").json
    assert first["best"] == shown["best_ever"]["score"]


def test_a_metric_of_which_lower_is_better_is_marked() -> None:
    popgrad("run", "quadratic", *SMALL, "--minimize", "q", "--dir", "down", "--no-test", "--debug")
    (row,) = (line for line in popgrad("list").out.splitlines() if "finished" in line)
    assert " q ↓ " in row
    (run,) = popgrad("list", "--json").json
    assert run["lower_is_better"] is True
    assert f" {run['best']:.4g} q" in row


def test_a_folder_without_runs_is_no_mistake_and_no_folder_is_one() -> None:
    done = popgrad("list")
    assert (done.code, done.out) == (0, f"no run in {Path()} or in its folders\n")
    assert popgrad("list", "--json").json == []
    assert "nowhere is not a folder" in refused("list", "nowhere")


def test_names_are_escaped(finished: Path) -> None:
    shutil.copytree(finished, Path("\x1b[2J[red]x"))
    Path("\x1b[2Jbroken").mkdir()
    (Path("\x1b[2Jbroken") / "journal.db").mkdir()
    done = popgrad("list")
    assert "\x1b" not in done.out
    assert "\\x1b[2J[red]x" in done.out
    assert "\\x1b[2Jbroken: its journal is not a regular file" in done.out
