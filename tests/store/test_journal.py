import math
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.errors import RunError
from popgrad.core.plan import Decision, Plan
from popgrad.core.segment import Segment, Telemetry
from popgrad.store.journal import Journal

indices = st.integers(0, 2**40)
values = st.floats(allow_nan=False) | st.integers() | st.text() | st.booleans()
segments = st.builds(
    Segment,
    member=indices,
    interval=indices,
    source=st.none() | st.tuples(indices, indices),
    hparams=st.dictionaries(st.text(), values, max_size=4),
    changes=st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text(), max_size=3),
    seed=st.integers(-(2**63), 2**63 - 1),
    first_step=indices,
    steps=indices,
    samples=indices,
    score=st.floats(),
    metrics=st.dictionaries(st.text(), st.floats(), max_size=3),
    digest=st.text("0123456789abcdef"),
    status=st.sampled_from(["done", "failed"]),
    error=st.text(),
)


def segment(member: int = 0, interval: int = 0, **changes: object) -> Segment:
    given = {
        "hparams": {"lr": 0.1},
        "changes": {"lr": "sampled"},
        "metrics": {"accuracy": 0.5},
        "score": 0.5,
    }
    given |= {"source": None, "seed": 1, "first_step": 0, "steps": 5, "samples": 50, "digest": "ab"}
    return Segment(member, interval, **(given | {"status": "done"} | changes))


def append(journal: Journal, *rows: Segment) -> None:
    journal.append_segments(rows, [Telemetry()] * len(rows))


def written(path: Path, rows: int = 300) -> Path:
    """A closed journal of some dozens of pages."""
    journal = Journal(path, create=True)
    append(journal, *(segment(i, error="x" * 500) for i in range(rows)))
    journal.close()
    return path


@pytest.mark.parametrize("readonly", [False, True])
def test_a_path_makes_its_table_and_is_read_back(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path, create=True)
    append(journal, segment(0))
    assert journal.path((0, 0)) == ""
    journal.append_segments([segment(1)], [Telemetry(path="mine/ü")])
    journal.append_segments([segment(1)], [Telemetry(path="another time")])
    journal.close()
    again = Journal(path, readonly=readonly)
    assert (again.path((0, 0)), again.path((1, 0))) == ("", "mine/ü")
    assert again.telemetry() == {(0, 0): Telemetry(), (1, 0): Telemetry(path="mine/ü")}
    assert again.segment((1, 0)) == segment(1)
    assert again.segment((2, 0)) is None
    again.close()


def test_another_table_of_that_name_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "journal.db", rows=1)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE paths (interval INTEGER, member INTEGER, path BLOB)")
    database.close()
    with pytest.raises(RunError, match="other tables than the journal"):
        Journal(path)


def test_the_version_changes_when_another_process_writes(tmp_path: Path) -> None:
    journal, other = Journal(tmp_path / "j", create=True), Journal(tmp_path / "j")
    before = journal.version()
    append(journal, segment(0))
    assert journal.version() == before
    append(other, segment(1))
    assert journal.version() != before
    journal.close()
    other.close()


@contextmanager
def read_only_folder() -> Iterator[Path]:
    """A folder that can be filled, and that nobody can write once it has the mode 0o555.

    The superuser can write anywhere: the caller is somebody else for as long.
    """
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def forbid_writing(folder: Path) -> None:
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(PermissionError):
        (folder / "new").touch()


@given(segments)
def test_a_segment_comes_back_exactly(given: Segment) -> None:
    journal = Journal(None, create=True)
    append(journal, given)
    (found,) = journal.segments()
    # repr tells every float from every other, and nan from nothing; SQLite knows no negative zero.
    assert repr(found) == repr(replace(given, score=given.score + 0.0))
    append(journal, given)  # and what was computed again is recognised
    assert len(journal.segments()) == 1
    journal.close()


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_failed_score_comes_back_as_failed(score: float) -> None:
    journal = Journal(None, create=True)
    append(journal, segment(score=score, metrics={"loss": score}))
    (found,) = journal.segments()
    assert found.failed
    assert repr(found.score) == repr(found.metrics["loss"]) == repr(score)
    journal.close()


def test_an_error_that_is_not_proper_text_can_be_recorded() -> None:
    journal = Journal(None, create=True)
    append(journal, segment(error="no file \udcff.png", status="failed"))
    assert journal.segments()[0].error == "no file \\udcff.png"
    journal.close()


def test_segments_come_in_order_of_interval_and_member() -> None:
    journal = Journal(None, create=True)
    for member, interval in [(1, 1), (0, 1), (1, 0), (0, 0), (0, 10), (0, 2)]:
        append(journal, segment(member, interval))
    assert [each.id for each in journal.segments()] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
        (0, 10),
    ]
    journal.close()


def test_decisions_come_back_with_the_memory() -> None:
    hparams, changes = (
        ({"lr": 0.1, "act": "relu"}, {"lr": 1 / 3, "act": "elu"}),
        ({"lr": 1.2}, {"lr": "kept"}),
    )
    plans = [Plan((0, 1), (1, 1), hparams, changes), Plan((), (), (), ())]
    memory = {"seen": [1, 2], "deep": {"ü": None, "best": 0.1 + 0.2}}
    decisions = [Decision(number, plan, memory) for number, plan in enumerate(plans)]
    journal = Journal(None, create=True)
    for decision in reversed(decisions):
        journal.append_decision(decision)
    assert journal.decisions() == decisions
    journal.append_decision(decisions[0])
    assert len(journal.decisions()) == 2
    with pytest.raises(RunError, match=r"decision 0 differs from"):
        journal.append_decision(replace(decisions[0], memory={}))
    journal.close()


def test_a_decision_that_changes_the_size_says_so_to_the_run_as_a_whole() -> None:
    journal = Journal(None, create=True, about={"sizes": [2]})
    plan = Plan((0, 1, 2), (1, 1, 2), ({}, {}, {}), ({}, {}, {}))
    decisions = [Decision(0, plan, {}, ((1, 4), (1, 4), None), 3), Decision(1, plan, {})]
    for decision in (*decisions, decisions[0]):  # it is made again after a kill, and counts once
        journal.append_decision(decision)
    assert journal.decisions() == decisions
    assert journal.sizes() == [2, 3]
    journal.close()


@pytest.mark.parametrize(("about", "sizes"), [({}, []), ({"sizes": [9, 2]}, [9, 2])])
def test_the_sizes_of_the_population_are_those_that_are_recorded(
    about: dict[str, object], sizes: list[int]
) -> None:
    journal = Journal(None, create=True, about=about)
    assert journal.sizes() == sizes
    journal.close()


def test_telemetry_and_readings_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", create=True)
    facts = Telemetry(
        1.5,
        "worker 1",
        ((1, "loss", 0.5), (2, "loss", math.inf), (2, "Größe", -0.0)),
        began=1e9,
        task=1.25,
    )
    journal.append_segments([segment(3, 4)], [facts])
    journal.append_reading("2020-01-01", "test", "test", (3, 4), {"accuracy": math.nan})
    journal.append_reading("2020-01-02", "vanilla", "test", (3, 4), {"accuracy": 0.5})
    journal.close()
    journal = Journal(tmp_path / "journal.db")
    assert repr(journal.telemetry()) == repr({(3, 4): facts})
    first, second = journal.readings()
    assert math.isnan(first.pop("metrics")["accuracy"])
    assert first == {
        "at": "2020-01-01",
        "reader": "test",
        "split": "test",
        "member": 3,
        "interval": 4,
    }
    assert second["metrics"] == {"accuracy": 0.5}
    journal.close()


def test_what_is_known_of_the_run_can_be_said_again() -> None:
    journal = Journal(None, create=True)
    journal.set_about(fingerprint={"threads": 1})
    journal.set_about(fingerprint={"threads": 2})
    assert journal.about()["fingerprint"] == {"threads": 2}
    journal.close()


def test_a_segment_that_was_computed_again_must_be_equal() -> None:
    journal = Journal(None, create=True)
    first = segment(2, 3, digest="a" * 64)
    append(journal, first)
    journal.append_segments(
        [first], [Telemetry(9.0, "another worker")]
    )  # telemetry is no part of it
    with pytest.raises(
        RunError, match=r"^member 2, interval 3 .* differs .*bbbb.*aaaa.*another machine"
    ):
        append(journal, segment(9), replace(first, digest="b" * 64))
    assert journal.segments() == [first]  # all of a batch, or nothing
    for changes in (
        {"hparams": {"lr": 0.2}},
        {"score": 0.6},
        {"score": math.nan},
        {"source": (0, 0)},
        {"samples": 0},
    ):
        with pytest.raises(RunError, match="differs"):
            append(journal, replace(first, **changes))
    journal.close()


def test_the_text_of_an_error_may_differ_when_a_segment_fails_again() -> None:
    journal = Journal(None, create=True)
    append(journal, segment(status="failed", digest="", error="<object at 0x7f01>"))
    append(journal, segment(status="failed", digest="", error="<object at 0x7f02>"))
    assert journal.segments()[0].error == "<object at 0x7f01>"
    journal.close()


def test_a_thousand_rows_take_one_transaction(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", create=True)
    rows = [segment(i) for i in range(1000)]
    begin = time.perf_counter()
    append(journal, *rows)
    assert (
        time.perf_counter() - begin < 2
    )  # a few hundredths; a transaction each would show on a real disk
    assert journal.segments() == rows
    journal.close()


@pytest.mark.parametrize("readonly", [False, True])
def test_closing_and_reading_leave_nothing_but_the_journal(tmp_path: Path, readonly: bool) -> None:
    path = written(tmp_path / "journal.db")
    before = path.read_bytes()
    assert os.listdir(tmp_path) == ["journal.db"]
    journal = Journal(path, readonly=readonly)
    assert len(journal.segments()) == 300
    journal.close()
    assert os.listdir(tmp_path) == ["journal.db"]
    assert path.read_bytes() == before


def test_a_copy_is_read_while_another_writes(tmp_path: Path) -> None:
    writer = Journal(tmp_path / "journal.db", create=True)
    append(writer, segment(0))
    reader = Journal(tmp_path / "journal.db", readonly=True)
    append(writer, segment(1))
    assert len(reader.segments()) == 1
    later = Journal(tmp_path / "journal.db", readonly=True)
    assert len(later.segments()) == 2
    append(later, segment(5))  # goes nowhere
    assert len(writer.segments()) == 2
    for journal in (reader, later, writer):
        journal.close()
    assert os.listdir(tmp_path) == ["journal.db"]


def test_a_journal_in_a_read_only_folder_is_read() -> None:
    with read_only_folder() as folder:
        path = written(folder / "journal.db")
        forbid_writing(folder)
        journal = Journal(path, readonly=True)
        assert len(journal.segments()) == 300
        journal.close()


def test_what_a_killed_run_left_is_read_in_a_read_only_folder(tmp_path: Path) -> None:
    writer = Journal(tmp_path / "journal.db", create=True)
    append(writer, segment(0), segment(1))
    with read_only_folder() as folder:
        for name in (
            "journal.db",
            "journal.db-wal",
        ):  # as a kill leaves them: the rows are in the log alone
            shutil.copy(tmp_path / name, folder)
        forbid_writing(folder)
        journal = Journal(folder / "journal.db", readonly=True)
        assert len(journal.segments()) == 2
        journal.close()
    writer.close()


def database(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


FOREIGN = {
    "text": lambda path: path.write_text("lr,score\n" * 1000),
    "empty": lambda path: path.touch(),
    "directory": lambda path: path.mkdir(),
    "other tables": lambda path: database(path, "CREATE TABLE t (x)"),
    "other columns": lambda path: database(path, "CREATE TABLE about (x)"),
    "other format": lambda path: database(
        path, "CREATE TABLE about (key, value); INSERT INTO about VALUES ('format', '99')"
    ),
    "no format": lambda path: database(path, "CREATE TABLE about (key, value)"),
    "truncated": lambda path: os.truncate(written(path), 20_000),
    "cut in a page": lambda path: os.truncate(written(path), 1_000),
    "only the magic": lambda path: os.truncate(written(path), 16),
}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_journal_is_refused_in_one_line(
    tmp_path: Path, what: str, readonly: bool
) -> None:
    path = tmp_path / "journal.db"
    FOREIGN[what](path)
    with pytest.raises(RunError, match=r"^[^\n]*journal\.db[^\n]*$"):
        Journal(path, readonly=readonly).segments()


def test_another_format_says_which_is_read(tmp_path: Path) -> None:
    FOREIGN["other format"](tmp_path / "journal.db")
    newer = "has format 99, expected 3: it was written by a newer popgrad; update popgrad"
    with pytest.raises(RunError, match=newer):
        Journal(tmp_path / "journal.db")


@pytest.mark.parametrize("readonly", [False, True])
def test_the_format_that_was_never_released_is_refused_and_left_as_it_is(
    tmp_path: Path, readonly: bool
) -> None:
    path = written(tmp_path / "journal.db")
    database(path, "UPDATE about SET value = '1' WHERE key = 'format'")
    before = path.read_bytes()
    older = "has format 1, expected 3: it was written by a development version of popgrad"
    with pytest.raises(RunError, match=older):
        Journal(path, readonly=readonly)
    assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
def test_a_missing_journal_is_said_and_not_made(tmp_path: Path, readonly: bool) -> None:
    with pytest.raises(RunError, match="there is no journal at"):
        Journal(tmp_path / "journal.db", readonly=readonly)
    assert os.listdir(tmp_path) == []


def test_a_run_is_not_created_over_another(tmp_path: Path) -> None:
    path = written(tmp_path / "journal.db", rows=1)
    with pytest.raises(RunError, match="already: resume"):
        Journal(path, create=True)
    journal = Journal(path)
    assert len(journal.segments()) == 1
    journal.close()


def test_a_journal_that_cannot_be_written_is_said() -> None:
    with read_only_folder() as folder:
        forbid_writing(folder)
        with pytest.raises(RunError, match=r"journal\.db cannot be read or written"):
            Journal(folder / "journal.db", create=True)
