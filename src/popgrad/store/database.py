"""The database file of a journal: created as a whole, checked, and copied for readers."""

import os
import re
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError
from popgrad.gates.files import exists, open_regular
from popgrad.gates.sizes import JOURNAL, has_holes
from popgrad.store.atomic import flush

FORMAT = 3
"""Format of the tables; 1 and 2 were never released."""

_ABOUT = "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
_PLAIN_ABOUT = re.compile(r"CREATE TABLE about ?\((?:(?!\bAS\b|\bGENERATED\b).)*\)", re.I | re.S)
"""Table of facts in any format."""

_SEGMENTS = """CREATE TABLE segments (
    interval INTEGER NOT NULL, member INTEGER NOT NULL, source_member INTEGER, source_interval INTEGER,
    seed INTEGER NOT NULL, first_step INTEGER NOT NULL, steps INTEGER NOT NULL, samples INTEGER NOT NULL,
    hparams TEXT NOT NULL, changes TEXT NOT NULL, score REAL, metrics TEXT NOT NULL,
    digest TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, PRIMARY KEY (interval, member)
) WITHOUT ROWID"""
_DECISIONS = (
    "CREATE TABLE decisions (number INTEGER PRIMARY KEY, plan TEXT NOT NULL, memory TEXT NOT NULL)"
)
# A segment's row is written here in the same transaction, so that this numbers segments as they arrive.
_TELEMETRY = """CREATE TABLE telemetry (
    arrival INTEGER PRIMARY KEY, interval INTEGER NOT NULL, member INTEGER NOT NULL, seconds REAL NOT NULL,
    worker TEXT NOT NULL, curve TEXT NOT NULL, began REAL, task REAL,
    UNIQUE (interval, member)
)"""
_READINGS = (
    "CREATE TABLE readings (at TEXT NOT NULL, reader TEXT NOT NULL, split TEXT NOT NULL, "
    "member INTEGER NOT NULL,\n    interval INTEGER NOT NULL, metrics TEXT NOT NULL)"
)
_FAILURES = (
    "CREATE TABLE failures (interval INTEGER NOT NULL, member INTEGER NOT NULL, at TEXT NOT NULL, "
    "error TEXT NOT NULL)"
)
_TABLES = (_ABOUT, _SEGMENTS, _DECISIONS, _TELEMETRY, _READINGS, _FAILURES)

_OPTIONAL = {
    name: f"""{name} (
    interval INTEGER NOT NULL, member INTEGER NOT NULL, {column} TEXT NOT NULL, PRIMARY KEY (interval, member)
) WITHOUT ROWID"""
    for name, column in (("paths", "path"), ("parts", "parts"))
}
"""Tables of some journals, by name: paths of states, of a study whose states lie elsewhere; and parts of
segments that most have not."""
_OPTIONAL_TABLES = tuple(f"CREATE TABLE {table}" for table in _OPTIONAL.values())

_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""End of a rollback journal that names a further file (https://sqlite.org/fileformat2.html)."""

_COPY_ATTEMPTS = 20
"""Attempts to copy a journal that a run has just started to write to.

Opening it takes milliseconds.
"""

_CLOSE_ATTEMPTS = 5
"""Attempts to remove the log of a journal that others read."""

_READER_TIME = 0.01
"""Seconds between two of them: a reader has the file open for some milliseconds."""


def create(
    path: Path | None, about: Mapping[str, str], *, durable: bool = False
) -> sqlite3.Connection:
    """Create a journal, as a whole or not at all.

    Args:
        path: Path of a file that does not exist yet; None = in memory.
        about: First facts about the run, as JSON by key.
        durable: Whether to flush the file now, and every commit, to the disk.
    """
    if path is None:
        memory = sqlite3.connect(":memory:")
        _fill(memory, about)
        return memory

    aside = path.with_name(f".{path.name}.part")
    # Left over from a start that was killed.
    for leftover in (aside, aside.with_name(f"{aside.name}-journal")):
        leftover.unlink(missing_ok=True)
    with closing(sqlite3.connect(aside)) as database:
        _fill(database, about)
        # The mode stays with the file; its log is removed when this connection closes.
        database.execute("PRAGMA journal_mode=WAL")
    if durable:
        flush(aside)
    os.replace(aside, path)
    if durable:
        flush(path.parent)
    return connect(path, durable=durable)


def _fill(database: sqlite3.Connection, about: Mapping[str, str]) -> None:
    """Create the tables, and write the first facts."""
    with database:
        database.execute("BEGIN")
        for table in _TABLES:
            database.execute(table)
        rows = {"format": str(FORMAT), **about}
        database.executemany("INSERT INTO about VALUES (?, ?)", rows.items())


def check_file(path: Path) -> None:
    """Refuse what cannot be the file of a journal, before SQLite opens it.

    The files are not opened here: closing them would release SQLite's locks of this process.

    Raises:
        RunError: A file is not a regular one, is larger than any journal, or cannot be read.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(f"{path.name}{suffix}")
        try:
            if not exists(file):
                continue
            status = file.stat()
        except OSError as error:
            raise RunError(f"the journal {file} cannot be read now: {error.strerror}") from error

        if not stat.S_ISREG(status.st_mode):
            raise RunError(f"the journal {file} is not a regular file")
        if status.st_size > JOURNAL or has_holes(status):
            raise RunError(
                f"the journal {file} has {status.st_size >> 20} MiB, which no run has written"
            )
    _check_rollback(path.with_name(f"{path.name}-journal"))


def _check_rollback(file: Path) -> None:
    """Refuse a rollback journal that names a further file, which SQLite would delete."""
    try:
        with open_regular(file) as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - len(_SUPER_JOURNAL)))
            end = opened.read()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"the journal {file} cannot be read now: {error.strerror}") from error
    if end == _SUPER_JOURNAL:
        raise RunError(f"the journal {file} was not written by popgrad: move it away")


def connect(path: Path, *, durable: bool = False) -> sqlite3.Connection:
    """Open an existing journal for writing."""
    database = sqlite3.connect(path)
    # In WAL mode NORMAL survives any kill of a process. FULL flushes every commit, and so survives
    # a failure of power.
    database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    return database


def remove_log(path: Path) -> None:
    """Remove the log of a journal that is closed, if a reader had the file open at that moment.

    The last connection that closes removes it; one that only reads cannot.
    """
    log = log_of(path)
    # The next process that writes removes it too, so that an error here is none.
    with suppress(OSError, sqlite3.Error):
        for _ in range(_CLOSE_ATTEMPTS):
            if not log.exists():
                return
            time.sleep(_READER_TIME)
            with closing(sqlite3.connect(path, timeout=0.0)) as database:
                database.execute("SELECT 1 FROM sqlite_master").fetchone()


def copy(path: Path) -> sqlite3.Connection:
    """Copy a journal into memory; the file may lie in a read-only directory, or be in use."""
    log = log_of(path)
    for _ in range(_COPY_ATTEMPTS):
        before = _stamp(path)
        try:
            # Without a log no process has the file open. Stating so keeps SQLite from leaving a log
            # and its index behind.
            private = _read(path, "mode=ro" if log.exists() else "immutable=1")
        except sqlite3.OperationalError:
            if not log.exists():
                raise
            return _copy_by_file(path, log)

        if log.exists() or _stamp(path) == before:
            return private
        # A process has started to write since the log was looked for.
        private.close()
    raise RunError(f"the journal {path} changes too fast to be read; try again")


def _stamp(path: Path) -> tuple[int, int]:
    """Return the time of the last change and the size of a file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _copy_by_file(path: Path, log: Path) -> sqlite3.Connection:
    """Copy a journal by way of the temporary directory.

    A log is read with an index beside it, which cannot be written in a read-only directory.
    """
    with copied_files(path, log) as copied:
        return _read(copied, "mode=rw")


@contextmanager
def copied_files(path: Path, log: Path) -> Iterator[Path]:
    """Give the path of a copy of a journal and its log, in the temporary directory."""
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copy(file, folder)
        yield Path(folder) / path.name


def log_of(path: Path) -> Path:
    """Return the path of a journal's write-ahead log: it exists while a process has the file open."""
    return path.with_name(f"{path.name}-wal")


def _read(path: Path, parameters: str) -> sqlite3.Connection:
    """Copy a journal that SQLite can open with these URI parameters into memory."""
    private = sqlite3.connect(":memory:")
    try:
        uri = f"{path.absolute().as_uri()}?{parameters}"
        with closing(sqlite3.connect(uri, uri=True)) as shared:
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
    tables = _schema(database)
    # Nothing is read from a view or computed column, which may be without end.
    if not any(map(_PLAIN_ABOUT.fullmatch, tables)):
        raise _not_ours(path)
    version = _format(database, path)
    if version != FORMAT:
        writer = (
            "a newer popgrad; update popgrad"
            if version > FORMAT
            else "a development version of popgrad"
        )
        raise RunError(
            f"{path} has format {version}, expected {FORMAT}: it was written by {writer}"
        )

    if sorted({*tables, *_OPTIONAL_TABLES}) != sorted((*_TABLES, *_OPTIONAL_TABLES)):
        raise _not_ours(path)


def _not_ours(path: Path | None) -> RunError:
    return RunError(
        f"{path} has other tables than the journal of a run: it is damaged, or not a journal"
    )


def bound(database: sqlite3.Connection, cell: int) -> None:
    """Refuse longer cells from now on, before they are read.

    Args:
        database: An open database.
        cell: Largest cell in bytes.
    """
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, cell)


def content_size(database: sqlite3.Connection) -> int:
    """Return the bytes of all pages, more than which no table holds."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)


def bounded(
    database: sqlite3.Connection, rows: Iterable[tuple[Any, ...]], path: Path | None
) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a file of unknown origin, which may lead in circles.

    Raises:
        RunError: There are more rows than the file has room for.
    """
    left = content_size(database)
    for row in rows:
        left -= sum(len(cell) if isinstance(cell, str | bytes) else 1 for cell in row)
        if left < 0:
            raise RunError(f"the journal {path} is damaged: it has more rows than its size allows")
        yield row


@contextmanager
def errors(path: Path | None) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into a `RunError`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the journal {path} cannot be read or written: {error.strerror or error}"
        ) from error
    except sqlite3.Error as error:
        raise RunError(f"the journal {path} cannot be read or written: {error}") from error


def _format(database: sqlite3.Connection, path: Path | None) -> int:
    try:
        rows = database.execute("SELECT value FROM about WHERE key = 'format'").fetchall()
        return int(rows[0][0])
    except (IndexError, ValueError, TypeError):
        raise RunError(
            f"{path} does not state its format: it is damaged, or not a journal"
        ) from None


def _schema(database: sqlite3.Connection) -> list[str]:
    """Return the statements that created the file's content: triggers and views, if it has any, too."""
    rows = database.execute(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT ?",
        (len(_TABLES) + len(_OPTIONAL_TABLES) + 1,),
    )
    return sorted(str(sql) for (sql,) in rows)


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Return whether a journal has an optional table: "paths" or "parts"."""
    return f"CREATE TABLE {_OPTIONAL[name]}" in _schema(database)


def add(database: sqlite3.Connection, name: str, interval: int, member: int, text: str) -> None:
    """Write the text of a segment to an optional table, in the transaction of the caller."""
    database.execute(f"CREATE TABLE IF NOT EXISTS {_OPTIONAL[name]}")
    database.execute(f"INSERT OR REPLACE INTO {name} VALUES (?, ?, ?)", (interval, member, text))


def version(database: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has written to the file."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])
