"""The outline of a session that is about to start: in a few lines for a reader, and as its course."""

from pathlib import Path

from popgrad.config import RunConfig
from popgrad.hardware import available_cores
from popgrad.runs.advice import command, shown_path
from popgrad.runs.components import Components
from popgrad.runs.progress import Course


def outline(
    components: Components, directory: Path | None, *, size: int, recorded: int, completed: int
) -> tuple[Course, list[str]]:
    """Return the course of a session, and its first lines.

    Args:
        components: Components of the run.
        directory: Directory of the run; None = in memory only.
        size: Members at the start of the session.
        recorded: Segments of earlier sessions.
        completed: Intervals that were completed in earlier sessions.
    """
    config = components.config
    executor = _executor(config)
    course = Course(
        members=size,
        intervals=config.intervals,
        score=components.ranking.text,
        space=components.task.space,
        start=executor,
        recorded=recorded,
        budget=config.population * config.intervals if components.strategy.shares_budget else None,
    )

    name = _task_name(config.task)
    length = f"{config.interval} steps" if str(config.interval).isdigit() else config.interval
    members = _count(size, "member")
    lines = [
        f"{name}: {members}, {_count(config.intervals, 'interval')} of {length}; "
        f"strategy {config.strategy.name}, seed {config.seed}"
    ]
    if recorded:
        lines.append(f"continued after {_count(completed, 'interval')}")
    lines.append(f"{executor} (executor {config.executor}), device {config.device}")
    if components.trackers:
        lines.append(f"logged to {', '.join(components.trackers)}")
    if directory is None:
        lines.append("in memory only: nothing is written, so the run cannot be resumed")
    else:
        lines.append(
            f"directory {shown_path(directory)}; from another terminal: {command('show', directory)}"
        )
    return course, lines


def _task_name(reference: str) -> str:
    """Return the reference of a task, with a path relative to the working directory."""
    place, colon, name = reference.rpartition(":")
    return f"{shown_path(Path(place))}{colon}{name}" if place.endswith(".py") else reference


def _executor(config: RunConfig) -> str:
    """Return what the executor does first, in words."""
    workers = config.workers or available_cores()
    if config.executor == "processes":
        return f"starting {_count(workers, 'worker')}"
    if config.executor == "vectorised":
        return f"training one stacked model with {_count(workers, 'thread')}"
    if config.executor == "ray":
        return f"starting actors on the cluster {config.address or 'local'}"
    return "training in this process"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
