"""The database file of a journal: created as a whole, checked, and copied for readers."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from popgrad.core.errors import RunError
from popgrad.store.atomic import flush

FORMAT = 2
"""Format of the tables; 1 was never released."""

_ABOUT = "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
_SEGMENTS = """CREATE TABLE segments (
    interval INTEGER NOT NULL, member INTEGER NOT NULL, source_member INTEGER, source_interval INTEGER,
    seed INTEGER NOT NULL, first_step INTEGER NOT NULL, steps INTEGER NOT NULL, samples INTEGER NOT NULL,
    hparams TEXT NOT NULL, changes TEXT NOT NULL, score REAL, metrics TEXT NOT NULL,
    digest TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, PRIMARY KEY (interval, member)
) WITHOUT ROWID"""
_DECISIONS = (
    "CREATE TABLE decisions (number INTEGER PRIMARY KEY, plan TEXT NOT NULL, memory TEXT NOT NULL)"
)
_TELEMETRY = """CREATE TABLE telemetry (
    interval INTEGER NOT NULL, member INTEGER NOT NULL, seconds REAL NOT NULL, worker TEXT NOT NULL,
    curve TEXT NOT NULL, PRIMARY KEY (interval, member)
) WITHOUT ROWID"""
_READINGS = (
    "CREATE TABLE readings (at TEXT NOT NULL, reader TEXT NOT NULL, split TEXT NOT NULL, "
    "member INTEGER NOT NULL,\n    interval INTEGER NOT NULL, metrics TEXT NOT NULL)"
)
_FAILURES = (
    "CREATE TABLE failures (interval INTEGER NOT NULL, member INTEGER NOT NULL, at TEXT NOT NULL, "
    "error TEXT NOT NULL)"
)
_TABLES = (_ABOUT, _SEGMENTS, _DECISIONS, _TELEMETRY, _READINGS, _FAILURES)

_LOOKS = 20
"""How often a reader looks again when a run has begun to write meanwhile. Beginning takes milliseconds."""


def create(
    path: Path | None, about: Mapping[str, str], *, durable: bool = False
) -> sqlite3.Connection:
    """A new journal, there as a whole or not at all.

    Args:
        path: The file, where nothing is; None = in memory.
        about: What it begins with, as JSON by key.
        durable: Flushed to the disk, here and at every commit.
    """
    if path is None:
        memory = sqlite3.connect(":memory:")
        _fill(memory, about)
        return memory
    aside = path.with_name(f".{path.name}.part")
    for left in (aside, aside.with_name(f"{aside.name}-journal")):  # by a start that was killed
        left.unlink(missing_ok=True)
    with closing(sqlite3.connect(aside)) as made:
        _fill(made, about)
        made.execute(
            "PRAGMA journal_mode=WAL"
        )  # stays with the file; the log goes when this is closed
    if durable:
        flush(aside)
    os.replace(aside, path)
    if durable:
        flush(path.parent)
    return connect(path, durable=durable)


def _fill(database: sqlite3.Connection, about: Mapping[str, str]) -> None:
    with database:
        database.execute("BEGIN")
        for table in _TABLES:
            database.execute(table)
        rows = {"format": str(FORMAT), **about}
        database.executemany("INSERT INTO about VALUES (?, ?)", rows.items())


def connect(path: Path, *, durable: bool = False) -> sqlite3.Connection:
    """An existing journal, to write to."""
    database = sqlite3.connect(path)
    # In WAL mode NORMAL survives any kill of a process, FULL a failure of power: it flushes every commit.
    database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    return database


def copy(path: Path) -> sqlite3.Connection:
    """A private copy in memory; the file may lie in a read-only directory, or be in use."""
    log = path.with_name(f"{path.name}-wal")
    for _ in range(_LOOKS):
        before = _stamp(path)
        try:
            # Without a log nobody has it open; saying so keeps SQLite from leaving a log and its index.
            private = _read(path, "mode=ro" if log.exists() else "immutable=1")
        except sqlite3.OperationalError:
            if not log.exists():
                raise
            return _beside(path, log)
        if log.exists() or _stamp(path) == before:
            return private
        private.close()  # somebody has begun to write after we had looked for a log
    raise RunError(f"the journal {path} changes too fast to be read; try again")


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _beside(path: Path, log: Path) -> sqlite3.Connection:
    """A copy by way of the temporary directory: a log is read with an index, which cannot be written here."""
    with tempfile.TemporaryDirectory() as aside:
        for file in (path, log):
            shutil.copy(file, aside)
        return _read(Path(aside) / path.name, "mode=rw")


def _read(path: Path, how: str) -> sqlite3.Connection:
    private = sqlite3.connect(":memory:")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as shared:
            shared.backup(private)
    except BaseException:
        private.close()
        raise
    return private


def check(database: sqlite3.Connection, path: Path | None) -> None:
    """Refuse a file that is not a journal of this format.

    Raises:
        RunError: The file has another format, or tables other than those of a journal.
    """
    database.execute("PRAGMA trusted_schema=OFF")
    found = _format(database, path)
    if found != FORMAT:
        writer = (
            "a newer popgrad; update popgrad"
            if found > FORMAT
            else "a development version of popgrad"
        )
        raise RunError(f"{path} has format {found}, expected {FORMAT}: it was written by {writer}")
    if _schema(database) != set(_TABLES):
        raise RunError(
            f"{path} has other tables than the journal of a run: it is damaged, or not a journal"
        )


def _format(database: sqlite3.Connection, path: Path | None) -> int:
    try:
        rows = database.execute("SELECT value FROM about WHERE key = 'format'").fetchall()
        return int(rows[0][0])
    except (IndexError, ValueError, TypeError):
        raise RunError(f"{path} does not say its format: it is damaged, or not a journal") from None


def _schema(database: sqlite3.Connection) -> set[str]:
    """All that has been made in the file: triggers and views too, which we have none of."""
    rows = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {str(sql) for (sql,) in rows}
