"""Clocks of workers, so that no wait is silent: one for their start, and one for their training."""

import logging
import time

from popgrad.core.errors import RunError
from popgrad.core.segment import Assignment

log = logging.getLogger("popgrad")

SLOW_START = 30.0
"""Seconds to wait for a worker before a line is logged; most take 2 to 5, to import torch, and more than
20 on a very busy machine."""

START_LIMIT = 600.0
"""Seconds that a worker may take to start. Python, torch and large libraries from a busy file server
have taken minutes; a worker that takes longer waits for something that does not come."""

_SHORTEST_LIMIT = 60.0
"""Seconds that a worker may take in any case: a few times what it takes to import a large library on a
busy machine. A shorter deadline is meant for the training alone."""


class StartClock:
    """Limits the start of workers.

    The limit is the shorter one of `deadline` and `max_time`, but at least 60 seconds; and 600
    seconds if neither is given.

    Args:
        deadline: Seconds that a segment may take; None = no limit.
        max_time: Seconds after which the session starts no interval; None = no limit.
    """

    def __init__(self, deadline: float | None, max_time: float | None) -> None:
        given = [seconds for seconds in (deadline, max_time) if seconds is not None]
        self._limit = START_LIMIT
        if given:
            self._limit = min(START_LIMIT, max(_SHORTEST_LIMIT, min(given)))
        self._warned: set[str] = set()

    def seconds_left(self, started: float, name: str) -> float:
        """Return the seconds until `check` has something to do.

        Args:
            started: Start of the worker, in seconds of `time.monotonic`.
            name: Name of the worker.
        """
        due = self._limit if name in self._warned else min(SLOW_START, self._limit)
        return max(0.0, started + due - time.monotonic())

    def check(self, started: float, name: str, doing: str) -> None:
        """Log that a worker is slow, once; end the run if it is over the limit.

        Args:
            started: Start of the worker, in seconds of `time.monotonic`.
            name: Name of the worker.
            doing: Words on what it does, such as "loads the task".

        Raises:
            RunError: The worker is over the limit.
        """
        passed = time.monotonic() - started
        if passed >= self._limit:
            raise RunError(
                f"{name} has not started in {self._limit:g} s: it {doing}; see what the task waits for "
                "while it is imported or unpickled (a file server, a GPU, a lock?), or train with the "
                "executor serial"
            )
        if passed >= SLOW_START and name not in self._warned:
            self._warned.add(name)
            log.warning(
                "waiting for %s to start, %.0f s by now: it %s; the run ends if it takes %g s",
                *(name, passed, doing, self._limit),
            )


_PATIENCE = 600.0
"""Seconds of training before a line is logged in any case: it is no news about a segment of minutes."""

_FIRST_PATIENCE = 3600.0
"""Seconds of training before a line is logged if no other segment has finished yet."""

_SLOW_FACTOR = 10.0
"""A segment is slow if it takes so many times as long as the longest one that has finished."""


class TrainingClock:
    """Logs segments that train far longer than the others, which may never end."""

    def __init__(self) -> None:
        self._longest: float | None = None
        self._warned: set[tuple[int, int]] = set()

    def add(self, seconds: float) -> None:
        """Enter the time of a segment that has finished."""
        self._longest = max(self._longest or 0.0, seconds)

    @property
    def _patience(self) -> float:
        if self._longest is None:
            return _FIRST_PATIENCE
        return max(_PATIENCE, _SLOW_FACTOR * self._longest)

    def seconds_left(self, started: float, assignment: Assignment) -> float | None:
        """Return the seconds until a segment is slow; None if it was logged already.

        Args:
            started: Start of the attempt, in seconds of `time.monotonic`.
            assignment: Segment that trains.
        """
        if assignment.id in self._warned:
            return None
        return max(0.0, started + self._patience - time.monotonic())

    def check(self, started: float, assignment: Assignment) -> None:
        """Log a segment that is slow, once. The arguments are those of `seconds_left`."""
        passed = time.monotonic() - started
        if passed < self._patience or assignment.id in self._warned:
            return
        self._warned.add(assignment.id)
        longest = (
            "" if self._longest is None else f", and no other took more than {self._longest:.0f} s"
        )
        log.warning(
            "member %d has trained interval %d for %.0f s%s; if it hangs, stop the run and resume it; a "
            "run with a deadline ends such a segment by itself",
            *(assignment.member, assignment.interval, passed, longest),
        )
