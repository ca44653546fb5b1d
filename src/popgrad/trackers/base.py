"""The protocol of a tracker, and what it is given, as frozen data."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Space
from popgrad.tasks.base import Task

Status = Literal["finished", "killed", "failed"]
"""End of a session: at a limit, by Ctrl-C, or by an error."""


@dataclass(frozen=True)
class TrackedRun:
    """A run of popgrad, as a tracker sees it when it is opened.

    Attributes:
        name: Name of its directory, or of its task if it is in memory only.
        id: Random name of the run, hexadecimal digits; a resumed run keeps it.
        config: Resolved configuration, as plain data.
        space: Dimensions that are searched.
        score: Metric that ranks; "-loss" ranks by the lowest loss.
        task: Task that is trained.
        directory: Directory of the run; None = in memory only.
        recorded: Segments of earlier sessions that the tracker has logged already.
    """

    name: str
    id: str
    config: Mapping[str, Any]
    space: Space
    score: str
    task: Task
    directory: Path | None = None
    recorded: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class TrackedSegment:
    """A finished segment, as a tracker logs it.

    Steps count the training that the slot has done, its own segments added up: they never run back,
    also if an heir continues from a donor that has trained less.

    Attributes:
        segment: The row of record.
        telemetry: Clock times and the training curve.
        begin: Steps that the slot had trained before.
        time: Time at which it was recorded, in seconds since 1970.
        points: Finite numbers by step of the slot and by name, in order of the steps; see
            `popgrad.reports.points`.
        texts: Hyperparameters that are no numbers, by name.
    """

    segment: Segment
    telemetry: Telemetry
    begin: int
    time: float
    points: Mapping[int, Mapping[str, float]]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Ending:
    """The end of a session.

    Attributes:
        status: "finished", "killed" or "failed".
        winner: Last segment of the winner; None unless the session finished.
        files: Files to keep as artefacts: `schedule.json`, `run.toml`, `best.json` and, if the task
            trains a network, `best.safetensors`. They may be gone after `Tracker.close`.
    """

    status: Status
    winner: Segment | None = None
    files: tuple[Path, ...] = ()


@runtime_checkable
class Tracker(Protocol):
    """A place that a run is logged to, besides its record.

    Its functions are called by the process of the run, between segments, one at a time. An exception is
    logged once and never reaches the run; a segment that could not be logged is passed again later.

    Example:
        >>> import popgrad
        >>> class Printer:
        ...     def open(self, run):
        ...         print("open", run.name)
        ...
        ...     def log(self, tracked):
        ...         print("log", tracked.segment.id, list(tracked.points))
        ...
        ...     def close(self, ending):
        ...         print("close", ending.status, ending.winner.id)
        >>> result = popgrad.run(
        ...     "quadratic", population=2, intervals=1, executor="serial", tracker=Printer()
        ... )
        open quadratic
        log (0, 0) [1, 10]
        log (1, 0) [1, 10]
        close finished (1, 0)
    """

    def open(self, run: TrackedRun) -> Mapping[int, int] | None:
        """Open the place, before the first segment; called again after an exception.

        Returns:
            Intervals that it holds already, by member, so that they are not logged again. None = it
            does not know; popgrad keeps account, in `trackers.json`.
        """
        ...

    def log(self, tracked: TrackedSegment) -> None:
        """Log a finished segment."""
        ...

    def close(self, ending: Ending) -> None:
        """End the session; a resumed run opens the place again."""
        ...


@dataclass
class Account:
    """Account of a tracker: the intervals of a run that it has logged.

    Attributes:
        intervals: Intervals that are logged, by member.
        status: Status that its last session ended with; "" = it was not closed.
    """

    intervals: MutableMapping[int, int] = field(default_factory=dict)
    status: str = ""
