"""Timings of a run: seconds in the task, in popgrad, and waiting.

They are telemetry: they differ between two equal runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from popgrad.core.errors import RunError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.record.timeline import timeline

Activity = Literal[
    "executor start", "training", "states", "strategy", "journal", "callbacks", "rest"
]
"""Activity of the controller, the process that decides; see `ACTIVITIES`."""

ACTIVITIES: Mapping[Activity, str] = {
    "executor start": "starting the executor",
    "training": "training, or waiting for workers",
    "states": "states: handing out, restoring, dropping",
    "strategy": "decisions of the strategy",
    "journal": "writing the journal",
    "callbacks": "progress, tables, trackers, functions",
    "rest": "all else",
}
"""Description of each activity, in the order of a table."""


@dataclass(frozen=True)
class Timings:
    """Seconds of a run, by the clock on the wall.

    Attributes:
        task: Seconds of all workers in the task: starting members, training, evaluating; None = not
            known of any segment.
        executor: Seconds of all workers beside the task in segments: states, digests, checkpoints.
            None = not known of any segment.
        waiting: Seconds of all workers without a segment, between the first and the last one; pauses of
            the run are left out.
        workers: Number of workers.
        controller: Seconds of the controller by activity, over all sessions whose end is recorded; empty
            = unknown.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=2, intervals=3, executor="serial")
        >>> timings = result.timings
        >>> timings.workers, timings.task > 0, timings.controller["strategy"] > 0
        (1, True, True)
    """

    task: float | None
    executor: float | None
    waiting: float
    workers: int
    controller: Mapping[Activity, float]

    def data(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "workers": self.workers,
            "task": self.task,
            "executor": self.executor,
            "waiting": self.waiting,
            "controller": dict(self.controller),
        }


def timings(
    telemetry: Mapping[SegmentId, Telemetry], controller: Mapping[Activity, float]
) -> Timings:
    """Return where the time of a run went.

    Args:
        telemetry: Telemetry by segment.
        controller: Seconds of the controller by activity.
    """
    known = [each for each in telemetry.values() if each.task is not None]
    in_task = sum(each.task or 0.0 for each in known)
    whole = sum(each.seconds for each in known)
    line = timeline(telemetry)
    workers = len(line.spans)
    return Timings(
        in_task if known else None,
        whole - in_task if known else None,
        line.waiting * line.seconds * workers,
        workers,
        controller,
    )


def controller_seconds(facts: Mapping[str, Any]) -> dict[Activity, float]:
    """Return the seconds of the controller by activity, from the facts about a run.

    Raises:
        RunError: The fact is none that a run writes.
    """
    seconds = facts.get("controller_seconds", {})
    try:
        return {
            activity: float(seconds[activity]) for activity in ACTIVITIES if activity in seconds
        }
    except (TypeError, ValueError):
        raise RunError(
            f"the journal is damaged: controller_seconds of the run cannot be {seconds!r:.60}"
        ) from None
