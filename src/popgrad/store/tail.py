"""The tail of a journal: what was added since the last reading, at the cost of that alone."""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from popgrad.core.errors import RunError
from popgrad.core.segment import Segment, Telemetry
from popgrad.store import database, rows, snapshot
from popgrad.store.facts import facts_of

PAGE = 10_000
"""Most segments of one reading: some tenths of a second."""

_PAGE_SIZE = 64 << 20
"""Characters of its rows after which a reading ends."""

_SETTLED = 1.0
"""Seconds after which the next change of a file gets another time than the last: some file systems note
the time in steps of milliseconds."""


Row = tuple[Any, ...]
_Given = TypeVar("_Given")


@dataclass(frozen=True)
class Update(Generic[_Given]):
    """Result of a reading.

    Attributes:
        arrivals: What has not been given yet, in the order in which it was recorded.
        changed: Whether anything was added or changed.
        restarted: Whether what was given before is void: the file is another one, or segments were
            taken out of the record. The arrivals then are again the first ones.
        facts: Facts about the run by key, if they have changed; None = they have not.
        more: Whether further segments wait for the next reading.
    """

    arrivals: Sequence[_Given] = field(default=(), repr=False)
    changed: bool = False
    restarted: bool = False
    facts: Mapping[str, Any] | None = None
    more: bool = False


@dataclass(frozen=True)
class _Cursor:
    """Position behind what has been given so far.

    Attributes:
        arrival: Number of the last segment.
        removals: Failures that had been set aside.
        run_id: Random name of the run.
        facts: Rows of the facts.
    """

    arrival: int = 0
    removals: int = 0
    run_id: object = None
    facts: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class _Page:
    """Rows of a reading.

    Attributes:
        begin: Cursor that it began from; None = the first segment.
        facts: Facts by key.
        arrivals: Rows of segments: the number of each, and its columns.
        newest: Number of the last segment of the journal.
        end: Cursor behind it.
    """

    begin: _Cursor | None
    facts: Mapping[str, Any]
    arrivals: list[Row]
    newest: int
    end: _Cursor


class Arrivals:
    """Gives columns of each segment of a journal once, as it is recorded, in whatever order that is.

    Segments are numbered as they arrive, in the transaction that records them. Each reading is one
    short transaction, and opens the file only if its time or its size has changed.

    Args:
        path: Path of the journal.
        columns: Columns such as "segments.score", "telemetry.began" or "parts.parts", which is None
            for most.
        page: Most segments of one reading, at least 1.
    """

    def __init__(self, path: Path, columns: Sequence[str], page: int = PAGE) -> None:
        self._path = path
        self._columns = columns
        self._page = page
        self._cursor: _Cursor | None = None  # None = nothing has been given
        self._file: tuple[int, int] | None = None  # device and number
        self._stamp: snapshot.Stamp | None = None  # None = read again in any case

    def read(self, convert: Callable[[Row], _Given]) -> Update[_Given]:
        """Return what was added since the last reading.

        Args:
            convert: Returns what is given for the columns of a segment.

        Raises:
            RunError: There is no journal, it is damaged or of another format, or cannot be read now.
                The next reading continues after the last one that succeeded.
        """
        now = time.time()
        with database.errors(self._path):
            stamp = snapshot.stamp(self._path)
            if stamp == self._stamp:
                return Update()
            status = self._path.stat()
        self._stamp = None

        file = (status.st_dev, status.st_ino)
        cursor = self._cursor if file == self._file else None
        page = snapshot.read(self._path, lambda shared: self._read(shared, cursor))
        restarted = self._cursor is not None and page.begin is None
        update = _update(page, [convert(row[1:]) for row in page.arrivals], restarted=restarted)

        self._cursor = page.end
        self._file = file
        if not update.more and all(now - changed / 1e9 > _SETTLED for _, changed, _ in stamp):
            self._stamp = stamp
        return update

    def _read(self, shared: sqlite3.Connection, cursor: _Cursor | None) -> _Page:
        """Return what lies behind a cursor: facts, and at most a page of segments."""
        about = shared.execute("SELECT key, value FROM about ORDER BY key")
        rows_of_facts = list(database.bounded(shared, about, self._path))
        facts = facts_of(rows_of_facts, self._path)
        removals = shared.execute("SELECT max(rowid) FROM failures").fetchone()[0] or 0
        newest = shared.execute("SELECT max(arrival) FROM telemetry").fetchone()[0] or 0

        # Segments were taken out of the record, or another run was written to the same file.
        if cursor is not None and (
            (cursor.removals, cursor.run_id) != (removals, facts.get("run_id"))
            or newest < cursor.arrival
        ):
            cursor = None

        begin = 0 if cursor is None else cursor.arrival
        query = _query(self._columns, parts=database.has_table(shared, "parts"))
        arrivals = _sized(shared.execute(query, (begin, self._page)))
        numbers = [begin, *(row[0] for row in arrivals)]
        if sorted(set(numbers)) != numbers:
            raise RunError(f"the journal {self._path} is damaged: its segments are out of order")
        end = _Cursor(numbers[-1], removals, facts.get("run_id"), rows_of_facts)
        return _Page(cursor, facts, arrivals, newest, end)


def _update(page: _Page, arrivals: list[_Given], *, restarted: bool) -> Update[_Given]:
    before = [] if page.begin is None else page.begin.facts
    facts = page.facts if page.end.facts != before else None
    changed = restarted or facts is not None or bool(arrivals)
    more = bool(arrivals) and page.end.arrival < page.newest
    return Update(arrivals, changed, restarted, facts, more)


def _sized(found: sqlite3.Cursor) -> list[Row]:
    """Return rows until they fill a page; the next reading continues behind them."""
    rows_so_far = []
    size = 0
    for row in found:
        rows_so_far.append(row)
        size += sum([len(cell) for cell in row if isinstance(cell, (str, bytes))])
        if size > _PAGE_SIZE:
            break
    return rows_so_far


def _query(columns: Sequence[str], *, parts: bool) -> str:
    """Return the query of segments in the order of their arrival."""
    named = ", ".join("NULL" if name == "parts.parts" and not parts else name for name in columns)
    same = "{0}.interval = telemetry.interval AND {0}.member = telemetry.member"
    joined = f"LEFT JOIN parts ON {same.format('parts')}" if parts else ""
    return (
        f"SELECT telemetry.arrival, {named} "
        f"FROM telemetry CROSS JOIN segments ON {same.format('segments')} {joined} "
        "WHERE telemetry.arrival > ? ORDER BY telemetry.arrival LIMIT ?"
    )


# --- whole segments -------------------------------------------------------------------------------

_TELEMETRY = ("telemetry.seconds", "telemetry.worker", "telemetry.began", "telemetry.task")
_WHOLE = (*_TELEMETRY, *(f"segments.{name}" for name in rows.COLUMNS), "parts.parts")

_LEFT_OUT = {
    "segments.changes": "'{}'",
    "segments.metrics": "'{}'",
    "segments.digest": "''",
    "segments.error": "''",
}
"""Columns that a brief reading leaves out, which saves a tenth of the time, and what stands for each."""

_BRIEF = tuple(_LEFT_OUT.get(name, name) for name in _WHOLE)


class Tail:
    """Gives each segment of a journal once, as it is recorded, with its telemetry.

    Args:
        path: Path of the journal.
        page: Most segments of one reading, at least 1.
        brief: Whether to leave out changes, metrics, digests and errors.

    Example:
        >>> import popgrad
        >>> keys = {"executor": "serial", "outputs": False, "directory": "runs/read"}
        >>> _ = popgrad.run("quadratic", population=2, intervals=3, **keys)
        >>> tail = Tail(Path("runs/read/journal.db"), page=4)
        >>> [(len(update.arrivals), update.more) for update in (tail.read(), tail.read())]
        [(4, True), (2, False)]
        >>> tail.read().changed
        False
    """

    def __init__(self, path: Path, page: int = PAGE, *, brief: bool = False) -> None:
        self._arrivals = Arrivals(path, _BRIEF if brief else _WHOLE, page)

    def read(self) -> Update[tuple[Segment, Telemetry]]:
        """Return what was added since the last reading, without training curves.

        Raises:
            RunError: As `Arrivals.read`.
        """
        return self._arrivals.read(_whole)


def _whole(row: Row) -> tuple[Segment, Telemetry]:
    """Return the segment of a row, which may be that of a foreign file, and its telemetry."""
    seconds, worker, began, task, *columns, parts = row
    telemetry = rows.telemetry_of((seconds, worker, rows.NO_CURVE, began, task))
    return rows.segment_of(columns, parts or ""), telemetry
