"""A glance at a journal: what a list of runs shows, read by SQL, without a segment being parsed."""

import json
import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from popgrad.core.errors import RunError
from popgrad.core.population import SegmentId
from popgrad.record.check import check_facts
from popgrad.store import database, snapshot
from popgrad.store.parts import segment_parts_of

_INSTRUCTIONS = 100_000
"""Instructions of SQLite between two counts of them."""

_PER_BYTE = 4
"""Most instructions for a byte of the file. A row takes dozens of bytes and about 20 instructions."""

# Counted beside the best score: SQLite counts rows alone in one instruction, which may be without end.
_COUNT = """SELECT COUNT(*), MAX(CASE WHEN score > -9e999 AND score < 9e999 THEN score END) FROM segments"""
_LAST = "SELECT member, interval, score FROM segments ORDER BY interval DESC, member DESC"
_RECENT = "SELECT seconds, worker FROM telemetry ORDER BY interval DESC, member DESC LIMIT ?"


@dataclass(frozen=True)
class Glance:
    """Facts about a run that a list shows.

    Attributes:
        facts: Facts about the run, by key, as its journal has them.
        segments: Number of its segments.
        spent: Member-intervals of all segments.
        last: Last segment of each of the first members, as many as there are now: its interval, and
            whether it has a finite score.
        best: Best score, higher is better; None = no segment has a finite one.
        began: When the first segment began, in seconds since 1970; None = unknown.
        recent: Seconds and worker of each of the latest segments.
    """

    facts: Mapping[str, Any]
    segments: int
    spent: int
    last: Mapping[int, tuple[int, bool]]
    best: float | None
    began: float | None
    recent: tuple[tuple[float, str], ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Members in the population now."""
        return int(self.facts["sizes"][-1])


def glance(path: Path, *, recent: int) -> Glance:
    """Read what a list shows of a journal. Nothing is copied, and a run in progress is not disturbed.

    Args:
        path: File of the journal.
        recent: Intervals of all members whose seconds are read, from the latest one back.

    Raises:
        RunError: The file is no journal, is damaged, or cannot be read.
    """
    try:
        return snapshot.read(path, lambda opened: _read(opened, recent))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise RunError(f"the journal {path} is damaged: {str(error)[:200]}") from None


def _read(opened: sqlite3.Connection, recent: int) -> Glance:
    _bound_work(opened)
    rows = opened.execute("SELECT key, value FROM about").fetchall()
    facts = {key: json.loads(value) for key, value in rows}
    check_facts(facts)

    size = facts["sizes"][-1]
    count, best = opened.execute(_COUNT).fetchone()
    (began,) = opened.execute("SELECT MIN(began) FROM telemetry WHERE interval = 0").fetchone()
    times = opened.execute(_RECENT, (recent * size,)).fetchall()
    return Glance(
        facts,
        count,
        count + sum(length - 1 for length in _lengths(opened).values()),
        _last(opened, size),
        None if best is None else float(best),
        None if began is None else float(began),
        tuple((float(seconds), str(worker)) for seconds, worker in times),
    )


def _bound_work(opened: sqlite3.Connection) -> None:
    """Interrupt queries that take more work than the file has content: a foreign one may lead in circles."""
    left = _PER_BYTE * database.content_size(opened) // _INSTRUCTIONS + 10

    def count() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    opened.set_progress_handler(count, _INSTRUCTIONS)


def _lengths(opened: sqlite3.Connection) -> dict[SegmentId, int]:
    """Return the lengths of the segments that last more than one interval."""
    if not database.has_table(opened, "parts"):
        return {}
    query = "SELECT member, interval, parts FROM parts WHERE parts LIKE '%\"length\"%'"
    return {
        (member, interval): segment_parts_of(text)["length"]
        for member, interval, text in opened.execute(query)
    }


def _last(opened: sqlite3.Connection, size: int) -> dict[int, tuple[int, bool]]:
    """Return the last segment of each of the first members: its interval, and whether it has a score."""
    last: dict[int, tuple[int, bool]] = {}
    # From the end, where the last ones are: the rest is not read once all are found.
    with closing(opened.execute(_LAST)) as rows:
        for member, interval, score in rows:
            # SQLite keeps a value of another type as it is given.
            if (type(member), type(interval)) != (int, int) or type(score) not in (float, NoneType):
                raise ValueError(f"segment {(member, interval, score)!r:.60} cannot be")
            if member < size:
                last.setdefault(member, (interval, score is not None and math.isfinite(score)))
            if len(last) == size:
                break
    return last
