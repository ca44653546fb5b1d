"""Runs are found below the folders that were given, and nowhere else."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from popgrad.core.errors import UsageError
from popgrad.dashboard import runs as found_runs
from popgrad.dashboard.runs import Catalogue, find_runs, run_id


def place(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "journal.db").touch()


def names(folder: Path) -> list[str]:
    return [run.name for run in find_runs(folder)]


def test_runs_have_the_names_of_their_paths(tmp_path: Path) -> None:
    place(tmp_path / "b", tmp_path / "a" / "1", tmp_path / "a" / "0" / "x")
    assert names(tmp_path) == ["a/0/x", "a/1", "b"]
    assert names(tmp_path / "b") == ["b"]


def test_an_id_is_a_digest_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    place(tmp_path / "run")
    (run,) = Catalogue([tmp_path / "x" / ".." / "run"]).runs().values()
    assert run.id == hashlib.sha256(str(tmp_path / "run").encode()).hexdigest()[:12]


def test_the_inside_of_a_run_hidden_folders_and_links_are_left_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    place(
        outside,
        tmp_path / "in" / "run",
        tmp_path / "in" / "run" / "ablation",
        tmp_path / "in" / ".x",
    )
    (tmp_path / "in" / "link").symlink_to(outside)
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    linked = tmp_path / "in" / "linked"
    linked.mkdir()
    (linked / "journal.db").symlink_to(outside / "journal.db")
    (tmp_path / "in" / "folder" / "journal.db").mkdir(parents=True)
    assert names(tmp_path / "in") == ["run"]


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path.joinpath(*"12345"), tmp_path.joinpath(*"abcdef"))
    assert names(tmp_path) == ["1/2/3/4/5"]
    monkeypatch.setattr(found_runs, "_MOST_FOLDERS", 5)
    assert names(tmp_path) == []


def test_the_number_of_runs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(*(tmp_path / str(number) for number in range(9)))
    monkeypatch.setattr(found_runs, "_MOST_RUNS", 4)
    assert names(tmp_path) == ["0", "1", "2", "3"]


def test_a_folder_that_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path / "a", tmp_path / "b" / "c")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a"]


def test_runs_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path) -> None:
    monkeypatch.setattr(found_runs, "_AGE", 0.0)
    catalogue = Catalogue([tmp_path])
    assert catalogue.summaries() == []
    shutil.copytree(finished, tmp_path / "run")
    (line,) = catalogue.summaries()
    assert catalogue.get(line["id"]) is not None
    shutil.rmtree(tmp_path / "run")
    assert catalogue.summaries() == []


def test_a_line_of_a_run_that_rests_is_not_read_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = finished.stat().st_mtime - 99
    os.utime(finished / "journal.db", (long_ago, long_ago))
    catalogue = Catalogue([finished])
    before = catalogue.summaries()
    monkeypatch.setattr("popgrad.store.snapshot.read", lambda *_: pytest.fail("it was read"))
    assert catalogue.summaries() == before


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / ("x" * 5_000)):
        with pytest.raises(UsageError, match="DIR: expected the directory of a run"):
            Catalogue([path])


def test_names_of_any_bytes_have_ids(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    place(Path(folder))
    (run,) = find_runs(tmp_path)
    assert run.id == run_id(Path(folder))
    (line,) = Catalogue([tmp_path]).summaries()
    assert "error" in line
