"""The runs that a server shows: found below the folders that it was given, and known by short names."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from popgrad.core.errors import UsageError
from popgrad.dashboard.summary import Summary
from popgrad.views.plain import Json

_DEPTH = 5
"""Levels of folders below a given one."""

_MOST_FOLDERS = 20_000
_MOST_RUNS = 5_000
_AGE = 1.0
"""Seconds for which the runs that were found count as found."""

_DIGITS = 12


@dataclass(frozen=True)
class Run:
    """A run that the server shows.

    Attributes:
        id: Its name in addresses: digits of the digest of its path.
        directory: Its directory, absolute.
        name: Its path below the folder that was given.
    """

    id: str
    directory: Path
    name: str


class Catalogue:
    """Runs below folders. It may be used by several threads.

    Args:
        folders: Directories of runs, or folders that hold some.

    Raises:
        UsageError: One of them is no folder.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            # Unlike methods of `Path`, this takes a name that is too long for a path.
            if not os.path.isdir(folder):
                raise UsageError(
                    f"DIR: expected the directory of a run or a folder of runs, got {str(folder)[:200]}"
                )
        self._folders = [Path(os.path.abspath(folder)) for folder in folders]
        self._lock = Lock()
        self._runs: dict[str, Run] = {}
        self._found_at = -_AGE
        self._summaries: dict[str, Summary] = {}

    def runs(self) -> dict[str, Run]:
        """Return the runs that exist now, by id."""
        with self._lock:
            return self._find()

    def _find(self) -> dict[str, Run]:
        if time.monotonic() - self._found_at >= _AGE:
            self._runs = {run.id: run for folder in self._folders for run in find_runs(folder)}
            self._summaries = {
                run_id: each for run_id, each in self._summaries.items() if run_id in self._runs
            }
            self._found_at = time.monotonic()
        return self._runs

    def get(self, run_id: str) -> Run | None:
        """Return the run of an id; None = there is none."""
        return self._runs.get(run_id) or self.runs().get(run_id)

    def summaries(self) -> list[Json]:
        """Return a line for each run. A run that has not changed is not read again."""
        with self._lock:
            lines = []
            for run in self._find().values():
                if run.id not in self._summaries:
                    self._summaries[run.id] = Summary(run.directory, run.id, run.name)
                lines.append(self._summaries[run.id].read())
            return lines


def find_runs(folder: Path) -> Iterator[Run]:
    """Find runs in a folder and below it, in the order of their names; links are not followed.

    Args:
        folder: Absolute path of a folder, or of the directory of a run.
    """
    visited = 0
    found = 0
    waiting = [(folder, 0)]
    while waiting and visited < _MOST_FOLDERS and found < _MOST_RUNS:
        path, depth = waiting.pop()
        visited += 1
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue

        # What lies within the directory of a run belongs to it.
        if any(entry.name == "journal.db" and _is_file(entry) for entry in entries):
            found += 1
            name = path.name if path == folder else str(path.relative_to(folder))
            yield Run(run_id(path), path, name)
        elif depth < _DEPTH:
            inside = [entry.name for entry in entries if _is_folder(entry)]
            waiting += [(path / name, depth + 1) for name in sorted(inside, reverse=True)]


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a regular file itself, and no link to one."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder in which runs may lie: no hidden one, and no link to one."""
    try:
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def run_id(directory: Path) -> str:
    """Return the name of a run in addresses.

    Args:
        directory: Its absolute path.
    """
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:_DIGITS]
