"""A list of runs: those below a folder, each with its status and best score. Needs no torch."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from popgrad import config as configuration
from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.score import Score
from popgrad.runs.status import RECENT, State, Status, completed_intervals, state_of, time_left
from popgrad.store.directory import Directory, open_record
from popgrad.store.glance import Glance, glance

_JOURNAL = "journal.db"

_DEEPEST = 5
"""Levels of folders below the first one; the runs of a benchmark are at the third."""

_MOST = 20_000
"""Most folders that are looked into."""


@dataclass(frozen=True)
class RunSummary:
    """A run in a list.

    Attributes:
        path: Its directory, absolute.
        name: Path below the folder that was searched.
        task: Name of its task; "" = the run cannot be read, as for all that follows.
        strategy: Name of its strategy.
        members: Members in the population now.
        intervals: Intervals that each member is to train in all.
        completed: Intervals that every member without a failure has completed.
        state: "in progress", "interrupted" or "finished".
        status: Status in words.
        score: Name of the metric that ranks.
        lower_is_better: Whether it ranks by the lowest value.
        best: Best value of that metric in the whole run; None = there is none.
        began: When its first segment began, in seconds since 1970; None = unknown.
        changed: When its journal was last written to, in seconds since 1970; 0 = unknown.
        error: Reason that it cannot be read; "" = it can.
    """

    path: Path
    name: str
    task: str = ""
    strategy: str = ""
    members: int = 0
    intervals: int = 0
    completed: int = 0
    state: State | None = None
    status: str = ""
    score: str = ""
    lower_is_better: bool = False
    best: float | None = None
    began: float | None = None
    changed: float = 0.0
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as plain JSON, with its path as a string."""
        return asdict(self) | {"path": str(self.path)}


def list_runs(folder: Path) -> list[RunSummary]:
    """Return the runs below a folder, the one that changed last first.

    Args:
        folder: A folder, or the directory of a run.

    Raises:
        UsageError: There is no such folder, or it has more than 20,000 folders below it.
    """
    found = [summarise(path, name) for path, name in find_runs(folder)]
    return sorted(found, key=lambda run: (-run.changed, run.name))


def find_runs(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the directory of each run below a folder, and its path below that folder.

    Links are not followed. Folders within the directory of a run belong to that run: its ablation,
    for example, is listed when its own folder is named.

    Args:
        folder: A folder, or the directory of a run.

    Raises:
        UsageError: There is no such folder, or it has more than 20,000 folders below it.
    """
    top = folder.absolute()
    if not os.path.isdir(top):
        raise UsageError(f"FOLDER: {str(folder)[:200]} is not a folder")

    waiting = [(top, 0)]
    looked = 0
    while waiting:
        path, depth = waiting.pop()
        looked += 1
        if looked > _MOST:
            raise UsageError(
                f"FOLDER: {str(folder)[:200]} has more than {_MOST:,} folders below it: "
                "name one further down"
            )

        names = _folders(path)
        if names is None:
            yield path, top.name if path == top else str(path.relative_to(top))
        elif depth < _DEEPEST:
            waiting += [(path / name, depth + 1) for name in sorted(names, reverse=True)]


def _folders(path: Path) -> list[str] | None:
    """Return the folders in a folder, without links and hidden ones; None = it holds a run."""
    names = []
    # Without the permission to open a folder it cannot be known whether it holds a run.
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if entry.name == _JOURNAL:
                return None
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
    return names


def summarise(path: Path, name: str) -> RunSummary:
    """Return what a list shows of a run; of one that cannot be read, the reason.

    Args:
        path: Its directory.
        name: Name to show.
    """
    directory = Directory(path.absolute())
    changed = _changed(directory)
    try:
        if directory.journal.is_symlink():
            raise RunError(f"{_JOURNAL} is a symbolic link, which is not followed")
        # Read before the record: a run that ends in between is finished, and not interrupted.
        process = directory.holder()
        return _summary(directory, name, process, changed, glance(directory.journal, recent=RECENT))
    except (PopgradError, OSError) as error:
        reason = str(error).replace(f"the journal {directory.journal}", "its journal")
        reason = reason.replace(str(directory.journal), _JOURNAL).replace("\n", " ")
        return RunSummary(directory.path, name, changed=changed, error=reason)


def _changed(directory: Directory) -> float:
    """Return when the journal, or its log, was last written to; 0 = unknown."""
    times = [0.0]
    for suffix in ("", "-wal"):
        with suppress(OSError):
            times.append(os.lstat(f"{directory.journal}{suffix}").st_mtime)
    return max(times)


def _summary(
    directory: Directory, name: str, process: str, changed: float, seen: Glance
) -> RunSummary:
    config = configuration.parse(seen.facts["config"])
    ranking = Score.parse(seen.facts["score"])
    status = _status(directory, process, seen, config.intervals)
    return RunSummary(
        directory.path,
        name,
        config.task,
        config.strategy.name,
        seen.size,
        config.intervals,
        status.completed,
        status.state,
        status.describe(),
        ranking.metric,
        ranking.minimize,
        None if seen.best is None else ranking.shown(seen.best),
        seen.began,
        changed,
    )


def _status(directory: Directory, process: str, seen: Glance, intervals: int) -> Status:
    study = seen.facts.get("study") is not None
    shared = bool(seen.facts.get("shared_budget", False))
    members = int(seen.facts["config"].get("population", seen.size))
    if shared:
        done = seen.spent // max(1, members)
        left = members * intervals - seen.spent
    elif len(seen.facts["sizes"]) > 1:
        # Which state a slot has depends on the decisions.
        record = open_record(directory.path)
        done = completed_intervals(record)
        left = record.size * intervals - sum(each.interval + 1 for each in record.last.values())
    else:
        done = _completed(seen)
        left = seen.size * intervals - sum(interval + 1 for interval, _ in seen.last.values())

    state = state_of(seen.facts["stopped"], study=study, process=process)
    if state != "in progress" or study:
        return Status(state, seen.facts["stopped"], done, intervals)
    seconds = time_left(max(0, left), seen.recent)
    return Status(state, seen.facts["stopped"], done, intervals, process, seconds)


def _completed(seen: Glance) -> int:
    """Return the intervals that every member without a failure has completed."""
    if len(seen.last) < seen.size:
        return 0
    return min((interval + 1 for interval, finite in seen.last.values() if finite), default=0)
