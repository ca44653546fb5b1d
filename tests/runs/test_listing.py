"""A list of runs: each as its own record has it, those that cannot be read with the reason."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import IntervalEnd
from popgrad.core.errors import UsageError
from popgrad.runs import listing
from popgrad.runs.listing import RunSummary, find_runs, list_runs, summarise
from popgrad.store.directory import Directory

GIVEN: dict[str, Any] = {"population": 4, "intervals": 4, "executor": "serial", "progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, one of which has changed its population, at several levels."""
    top = tmp_path_factory.mktemp("listing") / "runs"
    popgrad.run("quadratic", directory=top / "one", **GIVEN)
    popgrad.run("quadratic", strategy="successive-halving", directory=top / "b" / "two", **GIVEN)
    popgrad.run("quadratic", directory=top / "b" / "c" / "three", score="-q", **GIVEN)
    popgrad.resume(top / "b" / "c" / "three", intervals=6, population=3, progress=False)
    return top


def test_a_run_is_listed_as_its_record_has_it(folder: Path) -> None:
    for run in list_runs(folder):
        result = popgrad.load(run.path)
        assert run.error == ""
        assert run.status == result.status.describe()
        assert (run.state, run.completed) == (result.status.state, result.status.completed)
        assert run.members == result.size
        assert run.best == result.record.ranking.shown(result.best_ever.score)
        assert (run.score, run.lower_is_better) == ("q", run.name == "b/c/three")
        assert run.began == min(each.began or 0 for each in result.telemetry.values())
    strategies = {run.name: (run.strategy, run.intervals) for run in list_runs(folder)}
    assert strategies == {
        "one": ("pbt", 4),
        "b/two": ("successive-halving", 4),
        "b/c/three": ("pbt", 6),
    }


def test_the_run_that_changed_last_comes_first(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "runs"))
    for seconds, name in enumerate(("one", "b/c/three", "b/two")):
        os.utime(copy / name / "journal.db", (10.0, 1000.0 + seconds))
    assert [run.name for run in list_runs(copy)] == ["b/two", "b/c/three", "one"]
    assert [run.changed for run in list_runs(copy)] == [1002.0, 1001.0, 1000.0]


def test_a_directory_of_a_run_is_a_list_of_one(folder: Path) -> None:
    assert [(run.name, run.task) for run in list_runs(folder / "one")] == [("one", "quadratic")]


def test_runs_within_a_run_belong_to_it(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "runs"))
    shutil.copytree(copy / "one", copy / "b" / "two" / "ablation" / "schedule-1")
    assert len(list_runs(copy)) == 3
    assert [run.name for run in list_runs(copy / "b" / "two" / "ablation")] == ["schedule-1"]


def test_links_and_hidden_folders_are_not_followed(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "runs"))
    shutil.copytree(folder / "one", copy / ".hidden" / "one")
    (copy / "loop").symlink_to(copy)
    (copy / "outside").symlink_to(folder / "one")
    assert len(list_runs(copy)) == 3

    (copy / "linked").mkdir()
    (copy / "linked" / "journal.db").symlink_to(folder / "one" / "journal.db")
    (linked,) = (run for run in list_runs(copy) if run.name == "linked")
    assert "symbolic link" in linked.error
    assert linked.task == ""


def ruined(place: Path, statement: str) -> None:
    with closing(sqlite3.connect(place / "journal.db")) as database, database:
        database.execute(statement)


RUINS = {
    "text": (lambda place: (place / "journal.db").write_text("hello"), "cannot be read"),
    "pipe": (lambda place: os.mkfifo(place / "journal.db"), "not a regular file"),
    "folder": (lambda place: (place / "journal.db").mkdir(), "not a regular file"),
    "other tables": (lambda place: ruined(place, "DROP TABLE telemetry"), "other tables"),
    "no configuration": (
        lambda place: ruined(
            place, """UPDATE about SET value = '{"intervals": "x"}' WHERE key = 'config'"""
        ),
        "intervals",
    ),
    "no population": (
        lambda place: ruined(
            place, """UPDATE about SET value = '{"task": []}' WHERE key = 'config'"""
        ),
        "task",
    ),
}


@pytest.mark.parametrize("what", RUINS)
def test_a_run_that_cannot_be_read_stops_no_other(what: str, folder: Path, tmp_path: Path) -> None:
    ruin, reason = RUINS[what]
    copy = Path(shutil.copytree(folder, tmp_path / "runs"))
    if what in ("pipe", "folder"):
        (copy / "one" / "journal.db").unlink()
    ruin(copy / "one")
    runs = {run.name: run for run in list_runs(copy)}
    assert reason in runs["one"].error
    assert "\n" not in runs["one"].error
    assert (runs["one"].state, runs["one"].best) == (None, None)
    assert [runs[name].error for name in ("b/two", "b/c/three")] == ["", ""]


def test_a_run_in_progress_is_listed_as_such(tmp_path: Path) -> None:
    seen: list[tuple[RunSummary, str]] = []

    def look(end: IntervalEnd) -> None:
        (run,) = list_runs(tmp_path)
        seen.append((run, popgrad.load(tmp_path / "run").status.describe()))
        if end.interval == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run("quadratic", directory=tmp_path / "run", on_interval=look, **GIVEN)
    assert [run.state for run, _ in seen] == ["in progress"] * 3
    assert [run.status for run, _ in seen] == [words for _, words in seen]
    assert "about 0 s left" in seen[-1][0].status
    assert [run.status for run in list_runs(tmp_path)] == ["interrupted after 3 of 4 intervals"]


def test_a_run_without_a_segment_has_no_best_score(tmp_path: Path) -> None:
    space = {"x": popgrad.Uniform(0.0, 1.0)}
    popgrad.Study(space, score="x", population=2, directory=tmp_path / "asked")
    (run,) = list_runs(tmp_path)
    assert (run.task, run.best, run.began, run.completed) == ("study", None, None, 0)
    assert run.state == "in progress"
    assert run.row()["path"] == str(tmp_path / "asked")


def test_too_many_folders_are_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(listing, "_MOST", 7)
    assert list(find_runs(tmp_path)) == []
    (tmp_path / "one more").mkdir()
    with pytest.raises(UsageError, match="name one further down"):
        list(find_runs(tmp_path))


def test_folders_are_searched_to_a_depth(folder: Path, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c" / "d" / "e"
    shutil.copytree(folder / "one", deep)
    assert [name for _, name in find_runs(tmp_path)] == ["a/b/c/d/e"]
    assert list(find_runs(tmp_path.parent)) != []
    shutil.copytree(folder / "one", tmp_path / "a" / "b" / "c" / "x" / "y" / "z")
    assert [name for _, name in find_runs(tmp_path)] == ["a/b/c/d/e"]


@pytest.mark.parametrize("name", ["nowhere", "file", "x" * 300, "a\0b", ""])
def test_what_is_no_folder_is_a_mistake(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    if name == "":
        assert list_runs(Path(name)) == []
        return
    with pytest.raises(UsageError, match="FOLDER"):
        list_runs(Path(name))


def test_two_hundred_runs_are_listed_in_a_moment(folder: Path, tmp_path: Path) -> None:
    """A record is not parsed: 200 take about 0.2 s here; CI may be ten times as slow."""
    for number in range(200):
        shutil.copytree(folder / "one", tmp_path / f"{number:03}")
    start = time.perf_counter()
    runs = list_runs(tmp_path)
    assert time.perf_counter() - start < 2.0
    assert len(runs) == 200
    assert {run.error for run in runs} == {""}


def test_a_run_that_has_been_deleted_meanwhile_is_listed_with_the_reason(tmp_path: Path) -> None:
    run = summarise(Directory(tmp_path / "gone").path, "gone")
    assert run.error == "its journal cannot be read or written: No such file or directory"
    assert run.changed == 0.0
