"""A run of popgrad, with the clock on what it does between its start-up and its last files."""

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import RUNS, SEED
from member import task

from popgrad.config.model import parse
from popgrad.core.segment import Outcome
from popgrad.executors import Executor
from popgrad.runs.api import start
from popgrad.runs.build import build


class Clocked:
    """An executor that notes when it was given segments, and when their checkpoints were written.

    Args:
        executor: Which does the work; started.

    Attributes:
        given: When segments were submitted.
        done: When each segment was handed on.
        end: When the checkpoints of all were written.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.given: list[float] = []
        self.done: list[float] = []
        self.end = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def submit(self, assignments: Any) -> None:
        """Takes segments."""
        self.given.append(time.perf_counter())
        self._executor.submit(assignments)

    def next(self) -> Outcome:
        """Hands one on."""
        outcome = self._executor.next()
        self.done.append(time.perf_counter())
        return outcome

    def flush(self) -> None:
        """The engine calls it once, behind the last interval."""
        self._executor.flush()
        self.end = time.perf_counter()


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder on the disk of the runs, gone afterwards."""
    RUNS.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="measured-", dir=RUNS))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def population_seconds(
    size: int,
    workers: int,
    steps: int,
    intervals: int,
    *,
    directory: bool,
    behind_one: bool = False,
    executor: str = "processes",
) -> float:
    """Wall seconds of a population of mnist-fc in processes, from its first segment to its last file.

    Args:
        size: Members.
        workers: Processes, one thread each.
        steps: Of an interval.
        intervals: Of each member, that are timed.
        directory: Whether the run has one, with its journal and a checkpoint of each segment.
        behind_one: Train an interval more, and start the clock when all members have finished the first.
        executor: "processes", or "ray" on a cluster of this machine.
    """
    intervals += behind_one
    config = parse(
        {
            "task": "mnist-fc", "population": size, "intervals": intervals, "interval": steps, "seed": SEED,
            "executor": executor, "workers": workers, "device": "cpu", "outputs": False,
        }
    )  # fmt: skip
    components = build(config, task("fc"))
    clocks: list[Clocked] = []

    def clocked(**given: Any) -> Clocked:
        clocks.append(Clocked(components.make_executor(**given)))
        return clocks[-1]

    with folder() as place:
        start(
            components.config,
            task=components.task,
            components=dataclasses.replace(components, make_executor=clocked),
            directory=place / "run" if directory else None,
        )
    return clocks[0].end - (clocks[0].done[size - 1] if behind_one else clocks[0].given[0])
