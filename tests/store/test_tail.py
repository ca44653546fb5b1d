"""The tail of a journal: each segment once, in whatever order it is recorded, and nothing left behind."""

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popgrad.core.errors import RunError
from popgrad.core.plan import Transform
from popgrad.core.segment import Evaluation, Segment, Telemetry
from popgrad.store import snapshot, tail
from popgrad.store.journal import Journal
from popgrad.store.tail import Tail, Update
from program import SRC


def segment(member: int, interval: int, **changes: object) -> Segment:
    given = {
        "source": None if interval == 0 else (member, interval - 1),
        "hparams": {"lr": 0.1 * member},
        "changes": {},
        "seed": 1,
        "first_step": interval,
        "steps": 1,
        "samples": 0,
        "score": 0.5,
        "metrics": {"x": 0.5},
        "digest": "ab",
        "status": "done",
    }
    return Segment(member, interval, **(given | changes))  # type: ignore[arg-type]


def telemetry(each: Segment) -> Telemetry:
    return Telemetry(each.interval + 0.5, f"worker {each.member}", began=1000.0 + each.interval)


def append(journal: Journal, *segments: Segment) -> None:
    journal.append_segments(segments, [telemetry(each) for each in segments])


def segments_of(update: Update[tuple[Segment, Telemetry]]) -> list[Segment]:
    return [each for each, _ in update.arrivals]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(path, create=True, about={"run_id": "first"})) as opened:
        yield opened


# --- which segments -------------------------------------------------------------------------------


def test_the_first_reading_has_the_facts_and_all_segments(journal: Journal, path: Path) -> None:
    append(journal, segment(1, 0), segment(0, 0))
    update = Tail(path).read()
    assert (update.changed, update.restarted, update.more) == (True, False, False)
    assert update.facts is not None
    assert update.facts["run_id"] == "first"
    assert segments_of(update) == [segment(1, 0), segment(0, 0)]
    assert [known for _, known in update.arrivals] == [
        telemetry(each) for each in segments_of(update)
    ]


def test_a_later_reading_has_only_what_is_new(journal: Journal, path: Path) -> None:
    reader = Tail(path)
    append(journal, segment(5, 3))
    reader.read()
    assert not reader.read().changed
    append(journal, segment(9, 0))  # before and behind what is known
    append(journal, segment(0, 7))
    update = reader.read()
    assert segments_of(update) == [segment(9, 0), segment(0, 7)]
    assert update.facts is None
    journal.set_about(stopped="finished")
    update = reader.read()
    assert segments_of(update) == []
    assert update.facts is not None
    assert update.facts["stopped"] == "finished"


def test_a_segment_that_is_appended_again_is_not_given_again(journal: Journal, path: Path) -> None:
    reader = Tail(path)
    append(journal, segment(0, 0))
    reader.read()
    append(journal, segment(0, 0))
    assert not reader.read().changed


def test_segments_have_their_parts(journal: Journal, path: Path) -> None:
    whole = segment(
        0,
        0,
        evaluations=(Evaluation(0, {"x": 0.1}), Evaluation(1, {"x": 0.5})),
        transform=Transform("perturb", {"sigma": 0.1}),
        role="explorer",
        length=3,
        error="é\nline",
    )
    append(journal, whole, segment(1, 0))
    assert segments_of(Tail(path).read()) == [whole, segment(1, 0)]


def test_curves_are_not_read(journal: Journal, path: Path) -> None:
    journal.append_segments([segment(0, 0)], [Telemetry(1.0, "w", ((1, "loss", 0.5),))])
    assert Tail(path).read().arrivals == [(segment(0, 0), Telemetry(1.0, "w"))]


def test_pages_follow_each_other(journal: Journal, path: Path) -> None:
    segments = [segment(member, interval) for interval in range(5) for member in (2, 0, 1)]
    append(journal, *segments)
    reader = Tail(path, page=4)
    updates = [reader.read() for _ in range(4)]
    assert [len(update.arrivals) for update in updates] == [4, 4, 4, 3]
    assert [update.more for update in updates] == [True, True, True, False]
    assert [each for update in updates for each in segments_of(update)] == segments
    assert [update.facts is None for update in updates] == [False, True, True, True]


def test_a_page_ends_with_its_size(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_PAGE_SIZE", 5_000)
    append(journal, *(segment(member, 0, error="x" * 3_000) for member in range(4)))
    reader = Tail(path)
    assert [len(reader.read().arrivals) for _ in range(3)] == [2, 2, 0]


def test_failures_that_are_set_aside_begin_anew(journal: Journal, path: Path) -> None:
    reader = Tail(path)
    failed = segment(1, 0, score=math.nan, metrics={}, status="failed", error="x", digest="")
    append(journal, segment(0, 0), failed)
    reader.read()
    journal.set_failures_aside([(1, 0)])
    append(journal, segment(1, 0))  # it gets the number that the failure had
    update = reader.read()
    assert update.restarted
    assert segments_of(update) == [segment(0, 0), segment(1, 0)]


def test_another_run_in_the_same_place_begins_anew(path: Path) -> None:
    reader = Tail(path)
    for run_id in ("first", "second"):
        path.unlink(missing_ok=True)
        with closing(Journal(path, create=True, about={"run_id": run_id})) as journal:
            append(journal, segment(0, 0))
        update = reader.read()
        assert segments_of(update) == [segment(0, 0)]
        assert update.restarted == (run_id == "second")


def test_an_older_copy_in_the_same_place_begins_anew(
    journal: Journal, path: Path, tmp_path: Path
) -> None:
    append(journal, segment(0, 0))
    journal.close()
    shutil.copy(path, tmp_path / "old")
    with closing(Journal(path)) as again:
        append(again, segment(1, 0))
    reader = Tail(path)
    assert len(reader.read().arrivals) == 2
    path.write_bytes((tmp_path / "old").read_bytes())
    update = reader.read()
    assert update.restarted
    assert segments_of(update) == [segment(0, 0)]


KEYS = st.tuples(st.integers(0, 5), st.integers(0, 5) | st.integers(0, 2**40))
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(KEYS, st.booleans()), max_size=6)),
    st.tuples(st.just("aside"), st.none()),
    st.tuples(st.just("facts"), st.integers(0, 2)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("read"), st.none()),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=14), st.integers(1, 5))
def test_no_segment_is_lost_or_given_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]], page: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "journal.db"
    journal = Journal(path, create=True, about={"run_id": "x"})
    reader = Tail(path, page)
    given_so_far: list[Segment] = []
    recorded: dict[tuple[int, int], Segment] = {}
    facts: object = None

    def read() -> None:
        nonlocal facts
        while True:
            update = reader.read()
            if update.restarted:
                given_so_far.clear()
            given_so_far.extend(segments_of(update))
            facts = update.facts["value"] if update.facts and "value" in update.facts else facts
            if not update.more:
                return

    expected: object = None
    for kind, value in [*steps, ("read", None)]:
        if kind == "append":
            own = {
                key: segment(*key, status="failed" if failed else "done", digest="")
                for key, failed in value  # type: ignore[attr-defined]
                if key not in recorded
            }
            append(journal, *own.values())
            recorded |= own
        elif kind == "aside":
            failed = [key for key, each in recorded.items() if each.status == "failed"][-2:]
            journal.set_failures_aside(failed)
            recorded = {key: each for key, each in recorded.items() if key not in failed}
        elif kind == "facts":
            expected = value
            journal.set_about(value=value)
        elif kind == "reopen":
            journal.close()
            journal = Journal(path)
        else:
            read()
            assert given_so_far == list(recorded.values())
            assert facts == expected
    journal.close()
    assert not reader.read().changed


# --- the file -------------------------------------------------------------------------------------


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def test_nothing_is_left_beside_a_finished_journal(journal: Journal, path: Path) -> None:
    append(journal, segment(0, 0))
    journal.close()
    before = path.stat()
    assert len(Tail(path).read().arrivals) == 1
    assert names(path) == ["journal.db"]
    assert path.stat() == before


def test_a_journal_that_a_reader_holds_while_it_is_closed_keeps_no_log(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, segment(0, 0))
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    reader.execute("SELECT 1 FROM segments").fetchall()
    monkeypatch.setattr(time, "sleep", lambda _: reader.close())
    journal.close()
    assert names(path) == ["journal.db"]


def test_a_reading_waits_for_nothing_and_holds_nothing(journal: Journal, path: Path) -> None:
    reader = Tail(path)
    for interval in range(20):
        append(journal, segment(0, interval))
        assert len(reader.read().arrivals) == 1
    journal.close()
    assert names(path) == ["journal.db"]


def test_an_idle_journal_is_not_even_opened(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, segment(0, 0))
    journal.close()
    long_ago = path.stat().st_mtime - 10
    os.utime(path, (long_ago, long_ago))
    reader = Tail(path)
    reader.read()
    monkeypatch.setattr(snapshot, "read", lambda *_: pytest.fail("it was opened"))
    assert not reader.read().changed


def test_a_change_within_a_tick_of_the_clock_is_seen(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may give two writes one time, and a log that is written over keeps its size."""
    append(journal, segment(0, 0))
    frozen = snapshot.stamp(path)
    monkeypatch.setattr(snapshot, "stamp", lambda _: frozen)
    reader = Tail(path)
    reader.read()
    append(journal, segment(1, 0))
    assert len(reader.read().arrivals) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tail import append, segment
from popgrad.store.journal import Journal
journal = Journal(Path(sys.argv[1]), create=True, about={"run_id": "x"})
for interval in range(30):
    append(journal, segment(0, interval))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a journal whose writer was killed, with its log."""
    folder = tmp_path_factory.mktemp("killed")
    tests = Path(__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder / "journal.db"), str(Path(__file__).parent)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([SRC, str(tests)])},
    )
    assert ended.returncode == -signal.SIGKILL
    assert sorted(os.listdir(folder)) == ["journal.db", "journal.db-shm", "journal.db-wal"]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("readonly", [False, True])
def test_the_log_of_a_killed_writer_is_read_and_stays(
    killed: Path, tmp_path: Path, index: bool, readonly: bool
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    if not index:
        (folder / "journal.db-shm").unlink()
    before = {path.name: path.read_bytes() for path in folder.glob("*[!m]")}
    files = sorted(os.listdir(folder))
    folder.chmod(0o555 if readonly else 0o755)
    reader = Tail(folder / "journal.db")
    assert len(reader.read().arrivals) == 30
    assert not reader.read().changed
    assert sorted(os.listdir(folder)) == files
    assert {path.name: path.read_bytes() for path in folder.glob("*[!m]")} == before
    folder.chmod(0o755)


# --- foreign files --------------------------------------------------------------------------------


def test_a_missing_journal_is_refused_until_it_exists(path: Path) -> None:
    reader = Tail(path)
    with pytest.raises(RunError, match="cannot be read"):
        reader.read()
    with closing(Journal(path, create=True)) as journal:
        append(journal, segment(0, 0))
        assert len(reader.read().arrivals) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE failures",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE telemetry; CREATE VIEW telemetry AS SELECT 1 AS arrival",
        "UPDATE about SET value = '1' WHERE key = 'format'",
        "UPDATE about SET value = '{' WHERE key = 'run_id'",
        "UPDATE about SET value = hex(zeroblob(9000000)) WHERE key = 'run_id'",
        "UPDATE segments SET hparams = '[]'",
        "UPDATE segments SET score = 'x'",
        "UPDATE telemetry SET seconds = 'x'",
    ],
)
def test_a_foreign_file_is_refused(journal: Journal, path: Path, statement: str) -> None:
    append(journal, segment(0, 0))
    journal.close()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(statement)
    reader = Tail(path)
    for _ in range(2):
        with pytest.raises(RunError):
            reader.read()


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"x" * 5_000)
    with pytest.raises(RunError, match="not a database"):
        Tail(path).read()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="not a regular file"):
        Tail(path).read()


def test_a_reading_that_fails_loses_nothing(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, segment(0, 0))
    reader = Tail(path)
    reader.read()
    append(journal, segment(1, 0))
    with monkeypatch.context() as patch:
        patch.setattr(tail.rows, "segment_of", lambda *_: (_ for _ in ()).throw(RunError("x")))
        with pytest.raises(RunError):
            reader.read()
    assert segments_of(reader.read()) == [segment(1, 0)]
