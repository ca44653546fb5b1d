"""The clock of workers that start: how long one may take, and what is said about one that is late."""

import logging
import time

from popgrad.core.errors import RunError

log = logging.getLogger("popgrad")

SLOW_START = 20.0
"""Seconds to wait for a worker before a line is logged; most take 2 to 5, to import torch, and more than
10 on a busy machine."""

START_LIMIT = 600.0
"""Seconds that a worker may take to start. Python, torch and large libraries from a busy file server
have taken minutes; a worker that takes longer waits for something that does not come."""

_SHORTEST_LIMIT = 60.0
"""Seconds that a worker may take in any case: a few times what it takes to import torch on a busy
machine. A shorter deadline is meant for the training alone."""


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
