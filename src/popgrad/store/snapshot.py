"""Short readings of a journal's file itself, without a copy of it, while a process may write to it."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from popgrad.core.errors import RunError
from popgrad.gates.sizes import CELL
from popgrad.store import database

_ATTEMPTS = 20
"""Attempts to read a journal that a run has just started to write to."""

_LONGEST = 30.0
"""Seconds after which a query is ended: a file of unknown origin can lead in circles."""

_OPERATIONS = 1_000_000
"""Operations of SQLite between two readings of the clock: some 10 ms."""

_Found = TypeVar("_Found")

Stamp = tuple[tuple[int, int, int], ...]
"""Number, time of the last change and size of a journal's file, and of its log if it exists."""


def read(path: Path, query: Callable[[sqlite3.Connection], _Found]) -> _Found:
    """Return what a query finds in a journal, in one short transaction.

    The file is opened for it alone. Nothing is written, and no file is left behind.

    Args:
        path: Path of the journal.
        query: Reads from the connection that it is given; it may be called again if the file has
            changed meanwhile, and its last result counts.

    Raises:
        RunError: The file is no journal of this format, or cannot be read now.
    """
    database.check_file(path)
    log = database.log_of(path)
    with database.errors(path):
        for _ in range(_ATTEMPTS):
            before = _stat(path)
            logged = log.exists()
            try:
                found = _query(path, "mode=ro" if logged else "immutable=1", query, logged=logged)
            except sqlite3.OperationalError:
                # A log is read with an index, which cannot be written in a read-only directory.
                if not logged or not log.exists():
                    raise
                with database.copied_files(path, log) as copied:
                    return _query(copied, "mode=rw", query)

            # Without a log no process had the file open, unless one has written to it meanwhile.
            if logged or _stat(path) == before:
                return found
    raise RunError(f"the journal {path} changes too fast to be read; try again")


def _query(
    path: Path,
    parameters: str,
    query: Callable[[sqlite3.Connection], _Found],
    *,
    logged: bool = False,
) -> _Found:
    # To open a log without its index would leave an index behind.
    if logged and not path.with_name(f"{path.name}-shm").exists():
        raise sqlite3.OperationalError("its log has no index")

    uri = f"{path.absolute().as_uri()}?{parameters}"
    end = time.monotonic() + _LONGEST
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1.0)) as shared:
        shared.set_progress_handler(lambda: time.monotonic() > end, _OPERATIONS)
        database.bound(shared, CELL)
        shared.execute("BEGIN")
        database.check(shared, path)
        return query(shared)


def stamp(path: Path) -> Stamp:
    """Return a value that is different after a change of a journal, by the files' times and sizes.

    Raises:
        OSError: The file does not exist, or that cannot be found out now.
    """
    log = database.log_of(path)
    try:
        return _stat(path), _stat(log)
    except FileNotFoundError:
        return (_stat(path),)


def _stat(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
