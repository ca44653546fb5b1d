"""The clock of a session: how many seconds the controller spent on what."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from popgrad.record.timings import Activity

_Made = TypeVar("_Made")


class Stopwatch:
    """Seconds of the controller by activity. An activity within another one is not counted twice.

    Example:
        >>> watch = Stopwatch()
        >>> with watch.during("journal"):
        ...     pass
        >>> sorted(watch.seconds()) == ["journal", "rest"]
        True
    """

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._seconds: dict[Activity, float] = {}
        self._inner = 0.0  # seconds of activities within the present one

    @contextmanager
    def during(self, activity: Activity) -> Iterator[None]:
        """Count the seconds of the block as those of an activity."""
        begin = time.perf_counter()
        outer = self._inner
        self._inner = 0.0
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            own = seconds - self._inner
            self._seconds[activity] = self._seconds.get(activity, 0.0) + own
            self._inner = outer + seconds

    def timed(self, activity: Activity, function: Callable[[], _Made]) -> Callable[[], _Made]:
        """Return a function whose calls count as an activity."""

        def call() -> _Made:
            with self.during(activity):
                return function()

        return call

    def seconds(self) -> dict[Activity, float]:
        """Return the seconds by activity; "rest" has those of no activity."""
        whole = time.perf_counter() - self._begin
        return {**self._seconds, "rest": whole - sum(self._seconds.values())}
