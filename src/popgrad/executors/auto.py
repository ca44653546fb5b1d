"""The choice of the fastest executor: each is timed on the start of the run."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.fault import Fault
from popgrad.core.segment import Assignment
from popgrad.executors.base import Executor

_MIN_SECONDS = 0.2
"""Seconds of the longer of the two segments by which steps are timed: a hundred times the noise of
the clock and the scheduler, and little beside the start of a worker."""

_SHORT_RUN = 5.0
"""Seconds of a serial run below which nothing else is timed: workers take half of it to start."""


@dataclass(frozen=True)
class Timing:
    """Speed of an executor.

    Attributes:
        start: Seconds until it can train.
        segment: Seconds of a segment besides its steps: its start and its evaluation.
        step: Seconds of a step of all members that train at once.
        together: Members that train at once.
    """

    start: float
    segment: float
    step: float
    together: int

    def seconds(self, members: int, intervals: int, steps: int) -> float:
        """Return the seconds of a whole run.

        Args:
            members: Size of the population.
            intervals: Intervals that each member trains.
            steps: Training steps of an interval.
        """
        turns = -(-members // self.together)
        return self.start + intervals * turns * (self.segment + steps * self.step)


def fastest(
    executors: Mapping[str, Callable[[], Executor]],
    together: Mapping[str, int],
    first: Sequence[Assignment],
    intervals: int,
) -> tuple[str, str]:
    """Time executors on the start of a run, of which nothing is kept.

    Args:
        executors: Starts each executor, by name; "serial" is among them.
        together: Members that each executor trains at once, by name.
        first: First interval of all members.
        intervals: Intervals of the run.

    Returns:
        The name of the fastest, and the reason in one line.

    Raises:
        UsageError: The serial executor cannot train.
    """
    members = len(first)
    steps = max(assignment.steps for assignment in first)
    serial = _measure(executors["serial"], first[:1])
    seconds = {"serial": serial.seconds(members, intervals, steps)}
    refusals = ""
    if seconds["serial"] > _SHORT_RUN:
        for name in executors.keys() - {"serial"}:
            try:
                timing = _measure(executors[name], first[: together[name]])
            except PopgradError as error:
                refusals += f"; not {name}: {error}"
            else:
                seconds[name] = timing.seconds(members, intervals, steps)

    best = min(seconds, key=lambda name: (seconds[name], name))
    ranked = sorted(seconds.items(), key=lambda item: item[1])
    listed = ", ".join(f"{name} {total:.3g} s" for name, total in ranked)
    return best, f"measured for the whole run: {listed}; to repeat it: --executor {best}{refusals}"


def _measure(make: Callable[[], Executor], first: Sequence[Assignment]) -> Timing:
    """Time an executor that trains the given segments at once."""
    begin = time.perf_counter()
    executor = make()
    try:
        start = time.perf_counter() - begin

        # The first segment reads data and touches memory, which the others need not.
        _seconds(executor, first, 1)
        one = _seconds(executor, first, 1)

        longest = max(assignment.steps for assignment in first)
        steps = 2
        several = _seconds(executor, first, steps)
        while several < _MIN_SECONDS and steps < longest:
            steps *= 4
            several = _seconds(executor, first, steps)
    finally:
        executor.close()

    step = max(several - one, 0.0) / (steps - 1)
    return Timing(start, max(one - step, 0.0), step, len(first))


def _seconds(executor: Executor, first: Sequence[Assignment], steps: int) -> float:
    """Train segments of a number of steps, and return the seconds that they take."""
    begin = time.perf_counter()
    executor.submit([replace(assignment, steps=steps, checkpoint=False) for assignment in first])
    outcomes = [executor.next() for _ in first]
    seconds = time.perf_counter() - begin

    executor.retain([])
    if all(outcome.error for outcome in outcomes):
        error = outcomes[0].error
        raise UsageError(
            f"executor: none can be chosen, since the task fails: {Fault.read(error) or error}"
        )
    return seconds
