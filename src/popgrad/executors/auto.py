"""Which executor trains a population fastest here: each is tried, and the clock decides."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.population import Assignment
from popgrad.executors.base import Executor

_SHORT = 0.2
"""Seconds that the longer of the two segments takes by which steps are timed: a hundred times the noise of
the clock and the scheduler, and little beside the start of a worker."""
_SOON = 5.0
"""Seconds in which a run is over one member after the other: workers take about half of it to start."""


@dataclass(frozen=True)
class Timing:
    """How fast an executor is.

    Attributes:
        start: Seconds until it can train.
        segment: Seconds for a segment without its steps: to begin, to evaluate.
        step: Seconds for a step; of all members that train at once.
        together: Members that train at once.
    """

    start: float
    segment: float
    step: float
    together: int

    def seconds(self, members: int, intervals: int, steps: int) -> float:
        """For a whole run."""
        turns = -(-members // self.together)
        return self.start + intervals * turns * (self.segment + steps * self.step)


def fastest(
    executors: Mapping[str, Callable[[], Executor]],
    together: Mapping[str, int],
    first: Sequence[Assignment],
    intervals: int,
) -> tuple[str, str]:
    """Try executors on the beginning of a run, of which nothing is kept.

    Args:
        executors: Makes each, by name; "serial" is among them.
        together: How many members each trains at once.
        first: The first interval of all members.
        intervals: Of the run.

    Returns:
        The name of the fastest, and the reason in one line.

    Raises:
        UsageError: Not even "serial" can train.
    """
    steps = max(each.steps for each in first)
    paces: dict[str, Timing] = {"serial": _measure(executors["serial"], first[:1])}
    needed = {"serial": paces["serial"].seconds(len(first), intervals, steps)}
    refused = ""
    if needed["serial"] > _SOON:
        for name in executors.keys() - {"serial"}:
            try:
                paces[name] = _measure(executors[name], first[: together[name]])
            except PopgradError as error:
                refused += f"; not {name}: {error}"
            else:
                needed[name] = paces[name].seconds(len(first), intervals, steps)
    best = min(needed, key=lambda name: (needed[name], name))
    told = ", ".join(
        f"{name} {seconds:.3g} s" for name, seconds in sorted(needed.items(), key=lambda n: n[1])
    )
    return best, f"measured for the whole run: {told}; the same again by --executor {best}{refused}"


def _measure(make: Callable[[], Executor], first: Sequence[Assignment]) -> Timing:
    begin = time.perf_counter()
    executor = make()
    try:
        started = time.perf_counter() - begin
        _timed(
            executor, first, 1
        )  # whatever is made once: data that is read, memory that is touched
        one, steps = _timed(executor, first, 1), 2
        while (several := _timed(executor, first, steps)) < _SHORT and steps < max(
            s.steps for s in first
        ):
            steps *= 4
    finally:
        executor.close()
    step = max(several - one, 0.0) / (steps - 1)
    return Timing(started, max(one - step, 0.0), step, len(first))


def _timed(executor: Executor, first: Sequence[Assignment], steps: int) -> float:
    """Seconds for segments of so many steps."""
    begin = time.perf_counter()
    executor.submit([replace(each, steps=steps, checkpoint=False) for each in first])
    outcomes = [executor.next() for _ in first]
    seconds = time.perf_counter() - begin
    executor.retain([])
    if all(outcome.error for outcome in outcomes):
        raise UsageError(f"executor: none can be chosen, since the task fails: {outcomes[0].error}")
    return seconds
