"""Ray next to worker processes, and how long a cluster of three nodes takes to recover from what it loses.

The nodes are processes of this machine, which therefore compete for its cores: what starts anew (a process that
imports torch) takes longer here than on a node of its own.

python benchmarks/cluster.py
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from clocked import folder
from measure import SEED, Bench, Row, alternate, begin, finish

import popgrad
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment
from popgrad.core.space import LogUniform, Space
from popgrad.executors import EXECUTORS
from popgrad.executors.base import Executor
from popgrad.state import State
from popgrad.store.journal import Journal
from popgrad.tasks.base import Context, Split

CPU = torch.device("cpu")
MEGABYTES, MEMBERS, INTERVALS, STEPS = [1, 10, 100], 6, 10, 100
TINY = {"megabytes": [1], "intervals": 2, "faults": False}
NODE = {"num_cpus": 1, "object_store_memory": 2 * 10**8}


@dataclass(frozen=True)
class Walk:
    """A state of so many bytes, and steps that take about 2 ms each."""

    size: int
    space: Space = field(default_factory=lambda: Space({"lr": LogUniform(1e-3, 1e-1)}))
    score: str = "score"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Zeros, and a matrix that is worked on."""
        del hparams, ctx
        return {"all": torch.zeros(self.size, dtype=torch.uint8), "w": torch.randn(200, 200)}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Products."""
        del hparams, ctx
        for _ in range(steps - 1):
            state["w"] = torch.tanh(state["w"] @ state["w"] + torch.randn(200, 200))
        return state

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """A number, and the process that trained."""
        del hparams, split, ctx
        return {"score": float(state["w"].sum()), "pid": float(os.getpid())}


def interval_seconds(executor: Executor, intervals: int) -> float:
    """Seconds of an interval in which nothing is trained, and everybody inherits."""
    for interval in range(intervals + 1):
        if interval == 1:  # the first one is of fresh members
            start = time.perf_counter()
        sources = [((m + 1) % MEMBERS, interval - 1) if interval else None for m in range(MEMBERS)]
        executor.submit(
            [Assignment(m, interval, s, {}, SEED, interval, 1) for m, s in enumerate(sources)]
        )
        held = [executor.next().id for _ in range(MEMBERS)]
        executor.retain(held)
    found = (time.perf_counter() - start) / intervals
    executor.retain([])
    return found


def overhead(bench: Bench, megabytes: Sequence[int], intervals: int) -> list[Row]:
    """What an interval costs beside the training, by the size of a state."""
    rows = []
    for size in megabytes:
        made = {
            name: EXECUTORS[name](Walk(size * 10**6), [CPU], workers=2)
            for name in ("ray", "processes")
        }
        try:
            subjects = {
                name: partial(interval_seconds, each, intervals) for name, each in made.items()
            }
            alternate(subjects, 1)  # whatever is made once
            values = alternate(subjects, bench.repeat)
        finally:
            for each in made.values():
                each.close()
        in_ms = {name: [1000 * value for value in each] for name, each in values.items()}
        what = f"an interval of {MEMBERS} members of {size} MB that all inherit and train nothing, 2 workers"
        rows.append(Row(what, "ms", in_ms, ("ray", "processes")))
    return rows


class Nodes:
    """Three nodes with a CPU each; the controller is on the first."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={**NODE, "include_dashboard": False}
        )
        self.others = [self.cluster.add_node(**NODE) for _ in range(2)]
        self.cluster.wait_for_nodes()
        self.cluster.connect()

    def lose(self) -> None:
        """A node, at once."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)

    def add(self) -> None:
        """A node."""
        self.others.append(self.cluster.add_node(**NODE))

    def close(self) -> None:
        """All of it."""
        import ray

        ray.shutdown()
        self.cluster.shutdown()


def train(place: Path, **more: Any) -> popgrad.Result:
    """A run on whatever cluster there is."""
    return popgrad.run(
        *(Walk(2 * 10**6),),
        population=MEMBERS, intervals=3, interval=STEPS, seed=SEED, executor="ray", directory=place, **more,
    )  # fmt: skip


class Fault:
    """Does something in the second interval, and says how long the interval took from there."""

    def __init__(self, what: Callable[[Any], object] | None, *, deciding: bool) -> None:
        self.what, self.deciding, self.began, self.took = what, deciding, 0.0, 0.0

    def segment(self, segment: Any) -> None:
        """The first one of the second interval: the others are in training."""
        if segment.interval == 1 and not self.deciding and not self.began:
            self._strike(segment)

    def interval(self, end: Any) -> None:
        """The decision before the second interval; and its end."""
        if end.interval == 0 and self.deciding:
            self._strike(end)
        elif end.interval == 1:
            self.took = time.perf_counter() - self.began

    def _strike(self, told: Any) -> None:
        if self.what is not None:
            self.what(told)
        self.began = time.perf_counter()


def kill(segment: Any) -> None:
    """The actor that has just finished a segment, and been given another one."""
    os.kill(int(segment.metrics["pid"]), signal.SIGKILL)


def struck(what: Callable[[Any], object] | None, *, deciding: bool) -> float:
    """Seconds of the interval in which something is lost, from there to its end."""
    fault = Fault(what, deciding=deciding)
    with folder() as place:
        train(place / "run", on_segment=fault.segment, on_interval=fault.interval)
    return fault.took


def joined(nodes: Nodes) -> float:
    """Seconds from the start of a node until somebody has trained on it."""
    known: set[float] = set()
    times: list[float] = []

    def segment(told: Any) -> None:
        if told.interval == 1 and not times:
            nodes.add()
            times.append(time.perf_counter())
        if len(times) == 1 and told.interval > 1 and told.metrics["pid"] not in known:
            times.append(time.perf_counter())
        known.add(told.metrics["pid"])

    with folder() as place:
        popgrad.run(
            Walk(2 * 10**6), population=MEMBERS, intervals=40, interval=STEPS, seed=SEED, executor="ray",
            directory=place / "run", on_segment=segment,
        )  # fmt: skip
    return times[1] - times[0]


def resumed() -> float:
    """Seconds from the resume of a run that lost its controller until the first member has trained."""

    class LostError(Exception):
        pass

    def lost(_: Any) -> None:
        raise LostError

    with folder() as place:
        with suppress(LostError):
            train(place / "run", on_interval=lost)
        times: list[float] = []
        begin = time.perf_counter()
        popgrad.resume(
            place / "run",
            task=Walk(2 * 10**6),
            on_segment=lambda _: times.append(time.perf_counter()),
        )
        journal = Journal(place / "run" / "journal.db", readonly=True)
        assert len(journal.segments()) == 3 * MEMBERS
        journal.close()
    return times[0] - begin


def faults(bench: Bench) -> list[Row]:
    """Seconds to recover from each fault, with as many again without one to compare with."""
    nodes = Nodes()

    def lose(_: Any) -> None:
        nodes.lose()

    def whole(measured: Callable[[], float]) -> float:
        found = measured()
        while len(nodes.others) < 2:
            nodes.add()
        time.sleep(10)  # until Ray has noticed all of it
        return found

    try:
        subjects = {
            "actor killed in training": partial(struck, kill, deciding=False),
            "node lost in training": partial(struck, lose, deciding=False),
            "no fault": partial(struck, None, deciding=False),
            "node lost at exploit": partial(struck, lose, deciding=True),
            "no fault, from exploit on": partial(struck, None, deciding=True),
            "controller lost, resumed": resumed,
        }
        values = alternate(
            {name: partial(whole, each) for name, each in subjects.items()}, bench.repeat
        )
        values["node joins, to its first segment"] = []
        for _ in range(bench.repeat):
            nodes.lose()
            time.sleep(20)
            values["node joins, to its first segment"].append(joined(nodes))
    finally:
        nodes.close()
    return [Row(name, "s", {"seconds": each}) for name, each in values.items()]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("ray", __doc__, argv)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
    sizes: dict[str, Any] = (
        TINY if bench.smoke else {"megabytes": MEGABYTES, "intervals": INTERVALS, "faults": True}
    )
    rows = overhead(bench, sizes["megabytes"], sizes["intervals"])
    if sizes["faults"]:
        rows += faults(bench)
    finish(bench, rows, members=MEMBERS, steps=STEPS, **sizes)


if __name__ == "__main__":
    main()
