"""A glance at a journal shows what the whole of it does, and its work is bounded."""

import math
import os
import sqlite3
import struct
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from popgrad.core.errors import RunError
from popgrad.core.segment import Segment, Telemetry
from popgrad.store.database import FORMAT
from popgrad.store.glance import glance
from popgrad.store.journal import Journal

FACTS = {
    "config": {},
    "space": {},
    "score": "-loss",
    "stopped": "unfinished",
    "given_task": False,
    "task_digest": "",
    "sizes": [3],
}


def segment(member: int, interval: int, score: float, **parts: object) -> Segment:
    """A segment of which nothing but its score matters."""
    bare = Segment(member, interval, None, {}, {}, 0, 0, 1, 1, score, {}, "", "done")
    return replace(bare, **parts)  # type: ignore[arg-type]


def written(path: Path, *segments: Segment, sizes: tuple[int, ...] = (3,)) -> Path:
    """Write a journal, each segment with a telemetry of its own."""
    journal = Journal(path, create=True, about=FACTS | {"sizes": sizes})
    for each in segments:
        known = Telemetry(each.member + 1.0, f"worker {each.member}", began=100.0 - each.member)
        journal.append_segments([each], [known])
    journal.close()
    return path


def test_what_a_list_shows_is_read(tmp_path: Path) -> None:
    rows = (
        segment(0, 0, 1.0),
        segment(1, 0, math.inf),
        segment(2, 0, -5.0),
        segment(0, 1, math.nan),
        segment(2, 1, -7.0, length=4, role="explorer"),
        segment(0, 2, 0.5),
    )
    seen = glance(written(tmp_path / "journal.db", *rows), recent=1)
    assert seen.facts == FACTS | {"format": FORMAT}
    assert (seen.size, seen.segments, seen.spent, seen.best) == (3, 6, 9, 1.0)
    assert seen.last == {0: (2, True), 1: (0, False), 2: (1, True)}
    assert seen.began == 98.0
    assert seen.recent == ((1.0, "worker 0"), (3.0, "worker 2"), (1.0, "worker 0"))


def test_members_that_have_left_are_not_counted_as_present(tmp_path: Path) -> None:
    path = written(tmp_path / "journal.db", segment(0, 0, 1.0), segment(2, 5, 9.0), sizes=(3, 2))
    seen = glance(path, recent=1)
    assert (seen.size, seen.last, seen.best) == (2, {0: (0, True)}, 9.0)


def test_a_journal_without_a_segment_has_neither_best_nor_beginning(tmp_path: Path) -> None:
    seen = glance(written(tmp_path / "journal.db"), recent=3)
    assert (seen.segments, seen.spent, seen.last, seen.recent) == (0, 0, {}, ())
    assert seen.best is None
    assert seen.began is None


def test_a_run_in_progress_is_read_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = written(tmp_path / "journal.db", segment(0, 0, 1.0))
    journal = Journal(path)
    journal.append_segments([segment(0, 1, 3.0)], [Telemetry()])
    assert (tmp_path / "journal.db-wal").exists()
    assert glance(path, recent=1).best == 3.0
    journal.append_segments([segment(0, 2, 4.0)], [Telemetry()])
    assert glance(path, recent=1).best == 4.0
    journal.close()
    assert os.listdir(tmp_path) == ["journal.db"]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE segments", "other tables"),
        ("CREATE VIEW v AS SELECT 1", "other tables"),
        ("UPDATE about SET value = '9' WHERE key = 'format'", "newer popgrad"),
        ("UPDATE about SET value = '[0]' WHERE key = 'sizes'", "sizes"),
        ("UPDATE about SET value = '{' WHERE key = 'config'", "damaged"),
        ("UPDATE segments SET score = 'x'", "damaged"),
        ("UPDATE telemetry SET began = 'x'", "damaged"),
        ("UPDATE telemetry SET seconds = x'00'", "damaged"),
        ("UPDATE about SET value = hex(zeroblob(20000000)) WHERE key = 'config'", "too big"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, statement: str, says: str) -> None:
    path = written(tmp_path / "journal.db", segment(0, 0, 1.0))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    with pytest.raises(RunError, match=says):
        glance(path, recent=1)


PAGE = 512


def endless(path: Path) -> None:
    """Write a journal of small pages, in which the inner pages of the segments lead to each other."""
    written(path, *(segment(0, interval, 1.0, error="x" * 40) for interval in range(500)))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute(f"PRAGMA page_size={PAGE}")
        database.execute("VACUUM")
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'segments'"
        (root,) = database.execute(query).fetchone()

    content = bytearray(path.read_bytes())
    # Pages that hold references to others, the root first, chained to each other.
    inner = [root]
    for page in inner:
        inner += [child for child in children(content, page) if content[(child - 1) * PAGE] == 2]
    chain = inner[:15]
    for page, after in pairwise(chain):
        for place in places(content, page):
            content[place : place + 4] = struct.pack(">I", after)
    path.write_bytes(content)


def places(content: bytes, page: int) -> list[int]:
    """Return the places of the references of an inner page of an index."""
    start = (page - 1) * PAGE
    (count,) = struct.unpack_from(">H", content, start + 3)
    cells = struct.unpack_from(f">{count}H", content, start + 12)
    return [*(start + cell for cell in cells), start + 8]


def children(content: bytes, page: int) -> list[int]:
    return [struct.unpack_from(">I", content, place)[0] for place in places(content, page)]


def test_pages_that_lead_in_circles_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    endless(path)
    with pytest.raises(RunError, match="cannot be read"):
        glance(path, recent=1)
