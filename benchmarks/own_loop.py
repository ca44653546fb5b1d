"""What popgrad adds to a training loop of one's own: mnist-fc, next to the same loop without popgrad.

python benchmarks/own_loop.py
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from measure import SEED, Bench, Row, alternate, begin, finish
from member import EPOCH, Member, first, own

import popgrad
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment
from popgrad.executors.serial import Serial
from popgrad.loops.coroutine import Coroutine, GreenletCoroutine, ThreadCoroutine
from popgrad.loops.loop import Loop
from popgrad.tasks.mnist import mnist_fc

HANDOVERS = 2000
"""Hand-overs that are timed in a row; one takes some ten microseconds."""


def make(steps: int, *, reuse: bool) -> Loop:
    """The loop of `Member` as a user would write it for popgrad."""

    @popgrad.loop(space=mnist_fc().space, score="accuracy", reuse=reuse)
    def train(m: popgrad.Member) -> None:
        module, optimizer = own("fc", dict(m.hparams))
        m.track(module=module, optimizer=optimizer)
        m.state["position"] = 0
        for _ in m:
            member = Member(module, optimizer, SEED)
            member.position = m.state["position"]
            member.train(steps)
            m.state["position"] = member.position
            m.report(**member.evaluate())

    return train


def plain_seconds(steps: int, intervals: int) -> float:
    """CPU seconds of one network that is trained without popgrad."""
    member = Member(*own("fc", first(1)[0]), seed=SEED)
    member.train(1)
    start = time.process_time()
    for _ in range(intervals):
        member.train(steps)
        member.evaluate()
    return time.process_time() - start


def loop_seconds(steps: int, intervals: int, *, reuse: bool) -> float:
    """CPU seconds of the same loop in the serial executor: setup, load, training, capture, digest."""
    executor = Serial(make(steps, reuse=reuse), [torch.device("cpu")])
    hparams = first(1)[0]

    def train(interval: int) -> None:
        source: SegmentId | None = (0, interval - 1) if interval else None
        executor.submit([Assignment(0, interval, source, hparams, SEED, interval, 1)])
        outcome = executor.next()
        if outcome.error:
            raise RuntimeError(outcome.error)
        executor.retain([(0, interval)])

    try:
        train(0)
        start = time.process_time()
        for interval in range(1, intervals + 1):
            train(interval)
        return time.process_time() - start
    finally:
        executor.close()


def handover_seconds(kind: Callable[[Callable[[Coroutine], None]], Coroutine]) -> float:
    """Wall milliseconds of a hand-over to a suspended loop and back."""

    def body(own: Coroutine) -> None:
        while own.suspend(None) is not None:
            pass

    coroutine = kind(body)
    coroutine.resume()
    start = time.perf_counter()
    for _ in range(HANDOVERS):
        coroutine.resume(1)
    seconds = time.perf_counter() - start
    coroutine.resume(None)
    return 1000.0 * seconds / HANDOVERS


def measure(bench: Bench) -> list[Row]:
    """Loops that are rebuilt, and used again, next to plain ones; then the hand-over alone."""
    torch.set_num_threads(1)
    steps, intervals = (2, 1) if bench.smoke else (EPOCH, 5)
    found = alternate(
        {
            "new loops": partial(loop_seconds, steps, intervals, reuse=False),
            "used loop": partial(loop_seconds, steps, intervals, reuse=True),
            "plain": partial(plain_seconds, steps, intervals),
        },
        bench.repeat,
    )
    what = f"mnist-fc, one thread, {intervals} intervals of {steps} steps, CPU"
    handovers = alternate(
        {
            "greenlet": partial(handover_seconds, GreenletCoroutine),
            "thread": partial(handover_seconds, ThreadCoroutine),
        },
        bench.repeat,
    )
    rows = [
        Row(what, "s", {name: found[name], "plain": found["plain"]}, (name, "plain"), at_most=1.05)
        for name in ("new loops", "used loop")
    ]
    rows += [
        Row(f"hand-over by {name}", "ms", {name: values}, at_most=0.2)
        for name, values in handovers.items()
    ]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("own-loop", __doc__, argv)
    finish(bench, measure(bench))


if __name__ == "__main__":
    main()
