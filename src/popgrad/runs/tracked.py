"""Trackers of a run: made from names and objects, and closed however the run ends."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from popgrad import config as configuration
from popgrad.config.values import TrackerName
from popgrad.core.errors import UsageError
from popgrad.core.segment import Segment, Telemetry
from popgrad.runs.components import Components
from popgrad.runs.result import Result
from popgrad.runs.winner import save_winner
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.trackers import TRACKERS
from popgrad.trackers.base import Ending, TrackedRun, Tracker
from popgrad.trackers.tracking import Tracking

log = logging.getLogger("popgrad")

Trackers = TrackerName | Tracker | Sequence[TrackerName | Tracker]
"""Value of the argument `tracker`."""


def split_trackers(given: object) -> tuple[list[str], list[Tracker]]:
    """Return the names and the objects among the trackers that were passed.

    Raises:
        UsageError: One of them is neither.
    """
    values = list(given) if isinstance(given, list | tuple) else [given]
    names = []
    objects: list[Tracker] = []
    for value in values:
        if isinstance(value, str):
            names.append(value)
        elif isinstance(value, Tracker) and not isinstance(value, type):
            objects.append(value)
        else:
            raise UsageError(
                f"tracker: expected {', '.join(TRACKERS)}, or an object with open, log and close, "
                f"got {value!r:.100}"
            )
    return names, objects


def make_trackers(
    names: Sequence[str], objects: Sequence[Tracker], directory: Path | None
) -> dict[str, Tracker]:
    """Return the trackers of a run by name; those of the user's own have the names of their classes.

    Args:
        names: Names of built-in trackers.
        objects: Trackers of the user's own.
        directory: Directory of the run; None = in memory only.

    Raises:
        UsageError: The library of a tracker is missing, or it has nowhere to write. Nothing was written.
    """
    trackers = {name: TRACKERS[name](directory) for name in names}
    for tracker in objects:
        name = type(tracker).__name__
        number = sum(other.partition(" ")[0] == name for other in trackers)
        trackers[f"{name} {number + 1}" if number else name] = tracker
    return trackers


@contextmanager
def tracked(
    components: Components, journal: Journal, directory: Directory | None
) -> Iterator[Tracking]:
    """Log a run to its trackers while the block lasts, and close them however it ends."""

    def recorded() -> list[tuple[Segment, Telemetry]]:
        telemetry = journal.telemetry()
        return [(each, telemetry.get(each.id, Telemetry())) for each in journal.segments()]

    config = components.config
    run = TrackedRun(
        name=config.task.rpartition(":")[2] if directory is None else directory.path.name,
        id=str(journal.about().get("run_id", "")),
        config=config.model_dump(mode="json"),
        space=components.task.space,
        score=components.ranking.text,
        task=components.task,
        directory=None if directory is None else directory.path,
    )
    path = None if directory is None else directory.trackers
    tracking = Tracking(components.trackers, run, recorded, path)
    try:
        yield tracking
    except BaseException as error:
        tracking.close(Ending("killed" if isinstance(error, KeyboardInterrupt) else "failed"))
        raise


def finish(tracking: Tracking, result: Result) -> None:
    """Close the trackers of a run that has come to its end, with the winner as artefacts."""
    if not tracking.active:
        return
    winner = result.record.winner
    try:
        with TemporaryDirectory(prefix="popgrad-") as folder:
            tracking.close(Ending("finished", winner, _write_artefacts(result, Path(folder))))
    except OSError as error:
        log.warning("trackers get no artefacts: %s", error)
        tracking.close(Ending("finished", winner))


def _write_artefacts(result: Result, folder: Path) -> tuple[Path, ...]:
    """Return the files of the winner, and write those that the directory of the run does not hold."""
    schedule = folder / "schedule.json"
    schedule.write_text(result.schedule().to_json(), encoding="utf-8")
    directory = result.run_directory
    if directory is None:
        directory = Directory(folder)
        directory.configuration.write_text(configuration.write(result.config), encoding="utf-8")
        save_winner(result.winner, directory.weights, result.made_by)
    files = (
        schedule,
        directory.configuration,
        directory.weights.with_suffix(".json"),
        directory.weights,
    )
    return tuple(path for path in files if path.exists())
