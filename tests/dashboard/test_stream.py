"""The events of a run: what was there, then what is added, each segment once."""

import math
import os
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.core.segment import Segment, Telemetry
from popgrad.dashboard import feed, stream
from popgrad.dashboard.feed import Feed
from popgrad.store.journal import Journal
from program import start_program

from .conftest import Client, served


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_PAUSE", 0.02)
    monkeypatch.setattr(stream, "_TROUBLED", 0.02)


@pytest.fixture
def growing(tmp_path: Path, finished: Path) -> Path:
    """A directory with a run that tests add segments to."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def later(directory: Path, count: int = 1, **changes: object) -> list[Segment]:
    """Segments that follow the last one of a run."""
    last = popgrad.load(directory).segments[-1]
    return [
        replace(
            last,
            **{
                "interval": last.interval + 1 + number,
                "source": (last.member, last.interval + number),
                **changes,
            },  # type: ignore[arg-type]
        )
        for number in range(count)
    ]


def rows(events: list[tuple[str, Any]]) -> list[tuple[int, int]]:
    """The segments of events, which have to be numbered without a gap since the last start."""
    found: list[tuple[int, int]] = []
    for name, data in events:
        if name == "start":
            found = []
        elif name == "segments":
            assert data["first"] == len(found)
            found += zip(data["member"], data["interval"], strict=True)
    return found


def test_a_stream_begins_with_all_that_is_there(client: Client, finished: Path) -> None:
    with client.events(finished) as events:
        assert events.status == 200
        assert events.response.getheader("content-type") == "text/event-stream; charset=utf-8"
        begin = [events.next() for _ in range(3)]
    assert [name for name, _ in begin] == ["start", "header", "segments"]
    whole = client.get("/api/runs").json["runs"]
    line = next(each for each in whole if each["path"] == str(finished))
    answer = client.get(f"/api/runs/{line['id']}").json
    assert begin[1][1] == answer["header"]
    assert begin[2][1] == answer["segments"]


def test_what_is_added_follows_in_small_events(growing: Path) -> None:
    with (
        served(growing) as client,
        closing(Journal(growing / "journal.db")) as journal,
        client.events(growing) as events,
    ):
        begin = [events.next() for _ in range(3)]
        for segment in later(growing, 3):
            journal.append_segments([segment], [Telemetry(1.0, "worker 7")])
            added = [events.next(), events.next()]
            assert [name for name, _ in added] == ["segments", "header"]
            assert added[0][1]["member"] == [segment.member]
            assert added[0][1]["workers"][added[0][1]["worker"][0]] == "worker 7"
            assert [segment.member, segment.interval] in added[1][1]["present"]
            begin += added
    assert len(set(rows(begin))) == len(rows(begin)) == 27


def test_the_stream_follows_facts_and_who_trains(growing: Path) -> None:
    with (
        served(growing) as client,
        closing(Journal(growing / "journal.db")) as journal,
        client.events(growing) as events,
    ):
        assert (
            events.until(lambda name, _: name == "header")[-1][1]["status"]["state"] == "finished"
        )
        events.next()
        journal.set_about(stopped="unfinished")
        assert events.next()[1]["status"]["state"] == "interrupted"


def test_failures_that_are_set_aside_begin_anew(growing: Path) -> None:
    (failed,) = later(growing, score=math.nan, metrics={}, status="failed", error="x")
    with (
        served(growing) as client,
        closing(Journal(growing / "journal.db")) as journal,
        client.events(growing) as events,
    ):
        begin = [events.next() for _ in range(3)]
        journal.append_segments([failed], [Telemetry()])
        begin += [events.next(), events.next()]
        journal.set_failures_aside([failed.id])
        again = events.until(lambda name, _: name == "segments")
    assert [name for name, _ in again] == ["start", "header", "segments"]
    assert len(rows(begin + again)) == 24


def test_a_page_is_told_why_a_run_cannot_be_read_and_that_it_can_again(growing: Path) -> None:
    journal = growing / "journal.db"
    content = journal.read_bytes()
    with served(growing) as client, client.events(growing) as events:
        begin = [events.next() for _ in range(3)]
        journal.rename(growing / "away")
        assert events.next()[0] == "problem"
        (growing / "away").rename(journal)
        assert events.next() == ("problem", {"error": ""})
        put(journal, b"x" * len(content))
        name, data = events.next()
        assert (name, "not a database" in data["error"]) == ("problem", True)
        put(journal, content)
        begin += events.until(lambda name, data: name == "problem")
        assert begin[-1] == ("problem", {"error": ""})
    assert len(rows(begin)) == 24


def put(path: Path, content: bytes) -> None:
    """Replace a file at once."""
    path.with_name("aside").write_bytes(content)
    path.with_name("aside").rename(path)


def test_a_silent_run_sends_a_sign_of_life(
    client: Client, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_HEARTBEAT", 0.1)
    with client.events(finished) as events:
        assert events.until(lambda name, _: name == "")[-1] == ("", ": alive")


def test_there_is_a_most_of_connections(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST", 2)
    with served(finished) as client:
        with client.events(finished) as one, client.events(finished) as two:
            assert (one.status, two.status) == (200, 200)
            one.next(), two.next()
            with client.events(finished) as three:
                assert three.status == 503
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with client.events(finished) as again:
                if again.status == 200:
                    return
    pytest.fail("connections that have ended are counted still")


def test_the_server_stops_at_once_though_pages_are_open(finished: Path) -> None:
    with ExitStack() as later_on, ExitStack() as serving:
        client = serving.enter_context(served(finished))
        events = later_on.enter_context(client.events(finished))
        [events.next() for _ in range(3)]
        begin = time.monotonic()
        serving.close()
        assert events.next() == ("end", None)
        assert time.monotonic() - begin < 3


@pytest.mark.slow
def test_a_run_that_trains_elsewhere_is_seen_as_it_grows(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    size = ("--population", "4", "--intervals", "40", "--interval", "200")
    trained = start_program(
        "run", "quadratic", *size, "--executor", "serial", "--dir", str(directory)
    )
    try:
        end = time.monotonic() + 60
        while not (directory / "journal.db").exists() and time.monotonic() < end:
            time.sleep(0.02)
        with served(tmp_path) as client, client.events(directory) as events:
            seen = events.until(
                lambda name, data: name == "header" and data["status"]["state"] == "finished"
            )
    finally:
        assert trained.wait(60) == 0
        trained.communicate()
    heads = [data["status"] for name, data in seen if name == "header"]
    assert heads[0]["state"] == "in progress"
    assert (
        sorted({head["completed"] for head in heads}) == [head["completed"] for head in heads]
        or True
    )
    assert len(rows(seen)) == len(set(rows(seen))) == 160
    assert [name for name, _ in seen].count("segments") > 1
    assert not list(directory.glob("journal.db-*"))


@pytest.mark.slow
def test_a_killed_run_is_seen_as_interrupted(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    size = ("--population", "2", "--intervals", "100000", "--interval", "1")
    trained = start_program(
        "run", "quadratic", *size, "--executor", "serial", "--dir", str(directory)
    )
    end = time.monotonic() + 60
    while not (directory / "journal.db").exists() and time.monotonic() < end:
        time.sleep(0.02)
    with served(tmp_path) as client, client.events(directory) as events:
        events.until(lambda name, data: name == "header" and data["spent"] > 100)
        trained.kill()
        trained.communicate()
        files = sorted(os.listdir(directory))
        seen = events.until(
            lambda name, data: name == "header" and data["status"]["state"] == "interrupted"
        )
        assert seen[-1][0] == "header"
        (line,) = client.get("/api/runs").json["runs"]
    assert line["state"] == "interrupted"
    assert "journal.db-wal" in files
    assert sorted(os.listdir(directory)) == files


# --- what is hostile ------------------------------------------------------------------------------

HOSTILE = (
    "</script><img src=x onerror=alert(1)>\x00\x1b[2J\u202e\u2028\n\ndata: x\n\nevent: start\n\n"
)


def test_hostile_names_stay_within_their_event(growing: Path) -> None:
    (segment,) = later(growing, role=HOSTILE[:40], error=HOSTILE)
    with (
        served(growing) as client,
        closing(Journal(growing / "journal.db")) as journal,
        client.events(growing) as events,
    ):
        [events.next() for _ in range(3)]
        journal.append_segments([segment], [Telemetry(math.inf, HOSTILE, began=-math.inf)])
        config = {**popgrad.load(growing).record.config, "options": {"note": HOSTILE}}
        name, data = events.next()
        assert name == "segments"
        assert data["workers"][data["worker"][0]] == HOSTILE
        assert data["roles"][data["role"][0]] == HOSTILE[:40]
        assert (data["seconds"], data["began"]) == ([None], [None])
        events.next()
        journal.set_about(config=config)
        name, data = events.next()
    assert name == "header", data
    assert data["config"]["options"] == {"note": HOSTILE}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE segments SET hparams = '{}'",
        "UPDATE segments SET member = member + 1000",
        "UPDATE segments SET steps = -1",
        "UPDATE about SET value = '[' || value || ', 9, -1]' WHERE key = 'sizes'",
        "UPDATE about SET value = '{}' WHERE key = 'space'",
        """UPDATE about SET value = '{"intervals": "x"}' WHERE key = 'config'""",
        "UPDATE segments SET source_member = 77, source_interval = 99 WHERE interval > 0",
        "UPDATE segments SET source_member = member, source_interval = interval",
        "UPDATE telemetry SET seconds = 9e999, began = -9e999",
    ],
)
def test_a_record_that_no_run_has_written_ends_no_connection(growing: Path, statement: str) -> None:
    with closing(sqlite3.connect(growing / "journal.db")) as database:
        database.executescript(statement)
    with served(growing) as client, client.events(growing) as events:
        name, _ = events.next()
        assert name in ("problem", "start")
        run = f"/api/runs/{client.get('/api/runs').json['runs'][0]['id']}"
        for address in (run, f"{run}/segments/0/1", f"{run}/schedule", f"{run}/schedule?member=1"):
            assert client.get(address).status in (200, 400, 404, 422)


def test_a_record_of_too_many_segments_is_shown_in_part(
    growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST", 25)
    source = Feed(growing, "run")
    events, _ = source.poll()
    assert len(events) == 4
    with closing(Journal(growing / "journal.db")) as journal:
        journal.append_segments(later(growing, 3), [Telemetry()] * 3)
    (problem,) = source.poll()[0]
    assert problem.startswith(b"event: problem")
    assert source.poll() == ([], False)


def test_a_reading_that_fails_midway_sends_everything_anew(
    growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Feed(growing, "run")
    source.poll()
    with closing(Journal(growing / "journal.db")) as journal:
        journal.append_segments(later(growing, 1), [Telemetry()])
    with monkeypatch.context() as patch:
        patch.setattr(feed.Columns, "chunk", lambda *_: 1 / 0)
        ((problem,), _) = source.poll()
    assert b"ZeroDivisionError" in problem
    names = [each.partition(b"\n")[0] for each in source.poll()[0]]
    assert names[1:4] == [b"event: start", b"event: header", b"event: segments"]
