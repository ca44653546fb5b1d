"""What a cluster that is only imagined would be used for, by policy; and whether the controller keeps up with it.

Time is virtual, the numbers of the cluster repeat exactly. Engine, strategy, journal and the collection of
checkpoints are real, on this machine's disk; how fast they go is measured.

python benchmarks/scaling.py
"""

import logging
import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from clocked import folder
from measure import SEED, Row, begin, finish

from popgrad.core.interval import Interval
from popgrad.core.population import Hparams, SegmentId
from popgrad.core.segment import Assignment, Outcome, Segment, Telemetry
from popgrad.core.space import Space, Uniform
from popgrad.engine.limits import Limits
from popgrad.engine.loop import Engine
from popgrad.executors.simulated import Cluster, Simulated
from popgrad.state import State
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from popgrad.strategies import pbt
from popgrad.tasks.base import Context, Split

STEPS, OVERHEAD = 600, 5.0
"""Of an interval, at a step a second; seconds of each segment beside them."""
NOMINAL = STEPS + OVERHEAD
"""Seconds of an interval in a slot that is no straggler."""
STRAGGLERS, SLOW = 10, 1 / 3
"""One slot in so many is a straggler; its speed."""
FAULTS = {"failure": 0.001, "preemption": 0.05, "away": 600.0}
DEADLINE = 1.5 * NOMINAL
ALL = {"members": [100, 1_000, 10_000], "shares": [1, 4], "intervals": 10}
TINY = {"members": [20], "shares": [1, 2], "intervals": 6}
"""Members; of which one slot is there for so many; intervals of each."""
CPU = [torch.device("cpu")]
SYNC, LATE, ASYNC, BEFORE = (
    "sync",
    "sync with a deadline",
    "async",
    "async, until the first member is done",
)


@dataclass(frozen=True)
class Climb:
    """Jaderberg's quadratic, at a rate that leaves it something to climb, any number of steps at once."""

    rate: float = 1e-4
    space: Space = field(default=Space({"h0": Uniform(0.0, 1.0), "h1": Uniform(0.0, 1.0)}))
    score: str = "q"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """The same for everyone."""
        del hparams, ctx
        return {"theta": [0.9, 0.9]}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Gradient ascent on the surrogate."""
        del ctx
        both = zip(state["theta"], ("h0", "h1"), strict=True)
        return {
            "theta": [x * (1 - 2 * self.rate * float(hparams[name])) ** steps for x, name in both]
        }

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """What is left to climb."""
        del hparams, split, ctx
        a, b = state["theta"]
        return {"q": 1.2 - (a * a + b * b)}


@dataclass(frozen=True)
class Case:
    """What is assumed, and the policy.

    Attributes:
        members: All of them.
        slots: That train at once.
        intervals: Of each member.
        policy: `SYNC`, `LATE` or `ASYNC`.
        stragglers: Whether some slots are slow.
        faults: Whether segments fail and slots are taken away.
    """

    members: int
    slots: int
    intervals: int
    policy: str
    stragglers: bool = True
    faults: bool = True

    @property
    def slow(self) -> set[int]:
        """The stragglers, drawn at random: an executor does not know them."""
        count = self.slots // STRAGGLERS if self.stragglers else 0
        return set(random.Random(SEED).sample(range(self.slots), count))

    @property
    def cluster(self) -> Cluster:
        """As the executor takes it."""
        slow = self.slow
        speeds = tuple(SLOW if slot in slow else 1.0 for slot in range(self.slots))
        return Cluster(speeds, OVERHEAD, **(FAULTS if self.faults else {}), seed=SEED)


@dataclass(frozen=True)
class Use:
    """Of the cluster, so far.

    Attributes:
        seconds: Virtual, since the beginning.
        busy: Seconds that slots have trained for what was finished.
        steps: Of what was finished, all members together.
    """

    seconds: float
    busy: float
    steps: int

    def utilisation(self, slots: int) -> float:
        """Busy seconds by all that there were, in [0, 1]."""
        return self.busy / (slots * self.seconds)

    @property
    def hourly(self) -> float:
        """Member-steps an hour."""
        return self.steps / self.seconds * 3600


class Watched:
    """The imagined cluster, with a clock that stands still while it is at work.

    A checkpoint is an empty file: the actors of a cluster would have written it, the controller collects it.

    Args:
        executor: The cluster.
        checkpoints: Of the run.
        last: The last interval.

    Attributes:
        executor: The cluster.
        inside: Wall seconds of submitting, training and letting go.
        first: What was used when the first member was done.
        whole: What was used when all were.
        begin: When the first segments were submitted.
        end: When everything was decided and collected.
    """

    def __init__(self, executor: Simulated, checkpoints: Checkpoints, last: int) -> None:
        self.executor, self._checkpoints, self._last = executor, checkpoints, last
        self.inside = self.begin = self.end = 0.0
        self.first: Use | None = None
        self._before: Use | None = None
        self.whole = Use(0.0, 0.0, 0)
        checkpoints.folder.mkdir(parents=True, exist_ok=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Takes segments."""
        self.begin = self.begin or time.perf_counter()
        self._timed(self.executor.submit, assignments)

    def next(self) -> Outcome:
        """Hands one on."""
        outcome: Outcome = self._timed(self._next)
        return outcome

    def _next(self) -> Outcome:
        outcome = self.executor.next()
        if self.first is None:
            use, before = self._use(), self._before
            if before is not None and use.seconds > before.seconds:
                self.first = before  # all that ended with it are counted
            elif before is not None or outcome.id[1] == self._last:
                self._before = use
        if outcome.digest:
            self._checkpoints.path(outcome.digest).touch()
        return outcome

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Lets go."""
        self._timed(self.executor.retain, segments)

    def flush(self) -> None:
        """The engine calls it once, behind the last interval."""
        self.end, self.whole = time.perf_counter(), self._use()

    @property
    def seconds(self) -> float:
        """Wall seconds of the controller: strategy, engine, journal, collection of checkpoints."""
        return self.end - self.begin - self.inside

    def _use(self) -> Use:
        return Use(self.executor.now, self.executor.busy, self.executor.steps)

    def _timed(self, work: Callable[..., Any], *given: Any) -> Any:
        begin = time.perf_counter()
        found = work(*given)
        self.inside += time.perf_counter() - begin
        return found


@dataclass(frozen=True)
class Ran:
    """What a run says of its case.

    Attributes:
        whole: Until everybody is done.
        first: Until the first member is.
        late: Share of the segments that were given up, in [0, 1].
        heirs: Of the members that were replaced after an interval in which they did not fail, the share that
            had trained it in a straggler; nan = nobody was replaced. Without any bias it is their share of
            the segments.
        straggling: That share of the segments.
        longest: Intervals behind the weights with the most training.
        events: Segments recorded, and members decided on.
        controller: Wall seconds of the controller.
    """

    whole: Use
    first: Use
    late: float
    heirs: float
    straggling: float
    longest: float
    events: int
    controller: float


def simulate(case: Case, place: Path) -> Ran:
    """A run under PBT as it ships, on the imagined cluster, in a directory of its own."""
    task, made = Climb(), list[Watched]()
    checkpoints = Checkpoints(place / "checkpoints")

    def executor() -> Watched:
        deadline = DEADLINE if case.policy == LATE else None
        cluster = Simulated(task, CPU, deadline=deadline, cluster=case.cluster)
        made.append(Watched(cluster, checkpoints, case.intervals - 1))
        return made[-1]

    place.mkdir()
    journal = Journal(place / "journal.db", create=True)
    engine = Engine(
        task, pbt(task.space), executor, journal, checkpoints, seed=SEED, size=case.members,
        interval=Interval(STEPS, epochs=False), mode="async" if case.policy == ASYNC else "sync",
    )  # fmt: skip
    engine.run(Limits(case.intervals))
    watched, price = made[0], record(journal.segments(), journal.telemetry(), case.slow)
    engine.close()
    journal.close()
    return Ran(
        whole=watched.whole,
        first=watched.first or watched.whole,
        **price,
        controller=watched.seconds,
    )


def record(
    segments: Sequence[Segment], telemetry: Mapping[SegmentId, Telemetry], slow: Collection[int]
) -> dict[str, Any]:
    """What the record says of a policy's price, as in `Ran`."""
    by_id = {segment.id: segment for segment in segments}
    straggled = {
        each for each, facts in telemetry.items() if int(facts.worker.removeprefix("slot ")) in slow
    }
    replaced = []
    for segment in segments:
        before = (segment.member, segment.interval - 1)
        if segment.source not in (None, before) and not by_id[before].failed:
            replaced.append(before)
    decided = sum(segment.interval > 0 for segment in segments)
    return {
        "late": sum(segment.failed for segment in segments) / len(by_id),
        "heirs": len(straggled.intersection(replaced)) / len(replaced) if replaced else math.nan,
        "straggling": len(straggled) / len(by_id),
        "longest": max(segment.last_step for segment in segments) / STEPS,
        "events": len(by_id) + decided,
    }


def measure(members: int, slots: int, intervals: int, repeat: int) -> list[Row]:
    """All policies in a cluster where nothing goes wrong, and in one where much does."""
    rows = []
    for goes_wrong in (False, True):
        policies = (
            [SYNC, LATE, ASYNC] if goes_wrong else [SYNC, ASYNC]
        )  # where nothing does, nobody is late
        ran: dict[str, list[Ran]] = {}
        for policy in policies:
            case = Case(members, slots, intervals, policy, stragglers=goes_wrong, faults=goes_wrong)
            ran[policy] = [repeated(case) for _ in range(repeat)]
        what = f"{members:,} members on {slots:,} slots"
        label = f"{what}, {'stragglers and faults' if goes_wrong else 'nothing goes wrong'}"
        rows += use(label, slots, ran) + pace(label, slots, ran)
        if goes_wrong:
            rows += price(what, ran)
    return rows


def repeated(case: Case) -> Ran:
    """A run in a folder of its own."""
    with folder() as place:
        return simulate(case, place / "run")


def use(what: str, slots: int, ran: Mapping[str, Sequence[Ran]]) -> list[Row]:
    """Simulated: of the cluster."""
    uses = {policy: [each.whole for each in runs] for policy, runs in ran.items()}
    uses[BEFORE] = [each.first for each in ran[ASYNC]]
    busy = {policy: [each.utilisation(slots) for each in found] for policy, found in uses.items()}
    hourly = {policy: [each.hourly for each in found] for policy, found in uses.items()}
    return [Row(what, "utilisation", busy), Row(what, "member-steps/h", hourly)]


def price(what: str, ran: Mapping[str, Sequence[Ran]]) -> list[Row]:
    """Simulated: what PBT pays for a policy."""
    late = {LATE: [100 * each.late for each in ran[LATE]]}
    longest = {policy: [each.longest for each in runs] for policy, runs in ran.items()}
    heirs = {
        f"{policy}, {name}": [100 * getattr(each, found) for each in ran[policy]]
        for policy in (SYNC, ASYNC)
        for name, found in (("of segments", "straggling"), ("of members replaced", "heirs"))
    }
    return [
        Row(what, "% of segments given up", late),
        Row(what, "% trained in stragglers", heirs),
        Row(what, "intervals behind the most trained weights", longest),
    ]


def pace(what: str, slots: int, ran: Mapping[str, Sequence[Ran]]) -> list[Row]:
    """Measured: of the controller, next to what slots that are always busy need."""
    needed = 2 * slots / NOMINAL  # a segment, and a decision for its member
    rates = {
        policy: [each.events / each.controller for each in runs] for policy, runs in ran.items()
    }
    ratios = {policy: [rate / needed for rate in found] for policy, found in rates.items()}
    return [
        Row(what, "events/s", {"needed": [needed] * len(rates[SYNC]), **rates}),
        Row(what, "times the rate needed", ratios),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("scaling", __doc__, argv)
    sizes: dict[str, Any] = TINY if bench.smoke else ALL
    rows = []
    with quiet():
        for members in sizes["members"]:
            for share in sizes["shares"]:
                rows += measure(members, members // share, sizes["intervals"], bench.repeat)
    finish(bench, rows, **sizes, steps=STEPS, overhead=OVERHEAD, deadline=DEADLINE, **FAULTS)


@contextmanager
def quiet() -> Iterator[None]:
    """Failures are asked for here, and not warned of one by one."""
    log = logging.getLogger("popgrad")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


if __name__ == "__main__":
    main()
