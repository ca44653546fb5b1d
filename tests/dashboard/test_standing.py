"""Head and line of a run, kept up to date as segments arrive, are those of the whole record."""

from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.dashboard.feed import Feed
from popgrad.dashboard.standing import Standing
from popgrad.dashboard.summary import Summary
from popgrad.dashboard.whole import whole_run
from popgrad.store.directory import Directory
from popgrad.store.tail import Tail
from spies import time_with

KEYS: dict[str, Any] = {"interval": 2, "executor": "serial", "progress": False, "outputs": False}


def resized(path: Path) -> popgrad.Result:
    popgrad.run("quadratic", population=6, intervals=3, directory=path, **KEYS)
    popgrad.resume(path, population=3, intervals=5, progress=False)
    return popgrad.resume(path, population=5, intervals=7, progress=False)


def shared(path: Path) -> popgrad.Result:
    return popgrad.run(
        "quadratic",
        population=8,
        intervals=4,
        strategy="successive-halving",
        directory=path,
        **KEYS,
    )


def asynchronous(path: Path) -> popgrad.Result:
    return popgrad.run("quadratic", population=4, intervals=6, mode="async", directory=path, **KEYS)


@pytest.mark.parametrize("train", [resized, shared, asynchronous])
def test_head_and_line_are_those_of_the_record(tmp_path: Path, train: Any) -> None:
    result = train(tmp_path / "run")
    record = result.record
    head = whole_run(tmp_path / "run", "x")["header"]
    assert head["winner"] == record.winner.id
    assert head["present"] == [segment.id for segment in record.last.values()]
    assert head["spent"] == record.spent
    assert head["members"] == record.size
    assert head["status"]["text"] == result.status.describe()
    line = Summary(tmp_path / "run", "id", "x").read()
    assert line["completed"] == result.status.completed
    assert line["status"] == result.status.describe()
    assert line["best"] == record.best_ever.score


def test_only_the_last_segments_are_kept(tmp_path: Path) -> None:
    result = popgrad.run(
        "quadratic", population=3, intervals=20, directory=tmp_path / "run", **KEYS
    )
    paths = Directory(tmp_path / "run")
    standing = Standing(paths, "x")
    update = Tail(paths.journal).read()
    assert update.facts is not None
    standing.add(update.arrivals, standing.set_facts(update.facts))
    assert standing.spent == len(result.segments) == 60
    assert (len(standing.last), len(standing.telemetry)) == (3, 3)


def test_the_head_of_a_population_that_was_resized_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole record is read again only after a while, and then even if nothing has changed since."""
    resized(tmp_path / "run")
    now = [100.0]
    monkeypatch.setattr("popgrad.dashboard.standing.time", time_with(monotonic=lambda: now[0]))
    monkeypatch.setattr("popgrad.dashboard.standing._PATIENCE", 0)
    feed = Feed(tmp_path / "run", "x")
    feed.poll()
    feed._standing._read_again = 150.0
    popgrad.resume(tmp_path / "run", population=4, intervals=8, progress=False)
    late = b"".join(feed.poll()[0])
    assert b"event: segments" in late
    assert feed.poll()[0] == []
    now[0] = 200.0
    (head,) = feed.poll()[0]
    assert b'"members":4' in head
    assert feed.poll()[0] == []
