"""What decisions, the journal and questions to it cost, from ten members to a hundred thousand.

python benchmarks/scale.py
"""

import dataclasses
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from clocked import folder
from measure import SEED, Bench, Row, begin, finish, seconds

from popgrad.config.model import parse
from popgrad.core.initial import first_hparams
from popgrad.core.plan import Decision
from popgrad.core.population import Population, SegmentId
from popgrad.core.seeding import Rng
from popgrad.core.segment import Assignment, Outcome, Segment, Telemetry
from popgrad.core.space import Constant, LogUniform, Space, Uniform
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.executors.fingerprint import fingerprint
from popgrad.record import lineage
from popgrad.record.record import Record
from popgrad.reports import history
from popgrad.runs.api import start
from popgrad.runs.build import build
from popgrad.state import State
from popgrad.store.journal import Journal
from popgrad.strategies import pbt

SPACE = Space(
    {"lr": LogUniform(1e-4, 1e-1), "keep_prob": Uniform(0.5, 1.0), "weight_decay": Constant(1e-5)}
)
SIZES = [10, 100, 1_000, 10_000, 100_000]
TINY = [10, 100]
INTERVALS = 2
"""Of the record that questions are put to."""
GOAL = 10_000
"""Members for whom there are goals."""
MICRO = 1e6


def scored(size: int) -> Population:
    """A population with scores drawn at random, one interval behind it."""
    hparams, _ = first_hparams(SPACE, Rng(SEED), size, ())
    scores = np.random.default_rng(SEED).random(size)
    return Population(scores, np.ones(size, np.int64), np.full(size, 275), hparams)


def record(population: Population) -> list[Segment]:
    """A record of some intervals; from the second on, a fifth of the members are heirs."""
    rng, size, segments = np.random.default_rng(SEED), len(population), []
    for interval in range(INTERVALS):
        donors = np.where(
            rng.random(size) < 0.2, rng.integers(size, size=size), np.arange(size)
        ).tolist()
        for member, score in enumerate(rng.random(size).tolist()):
            source = (donors[member], interval - 1) if interval else None
            hparams = population.hparams[member]
            changes = dict.fromkeys(hparams, "kept")
            metrics = {"accuracy": score, "loss": 1.0 - score}
            segments.append(
                Segment(member, interval, source, hparams, changes, SEED, 275 * interval, 275,
                        55_000 * (interval + 1), score, metrics, f"{member:064x}", "done")
            )  # fmt: skip
    return segments


def decide(journal: Journal, population: Population, number: int) -> None:
    """One synchronous decision and its transaction."""
    strategy = pbt(SPACE)
    plan, memory = strategy.step(Rng(SEED), population, np.arange(len(population)), strategy.init())
    journal.append_decision(Decision(number, plan, memory))


def decide_for_one(population: Population) -> float:
    """Seconds of a decision with one ready member, the mean of many members."""
    strategy, rng, memory = pbt(SPACE), Rng(SEED), {}
    ready = [np.array([member]) for member in range(min(len(population), 20))]

    def each() -> None:
        for one in ready:
            strategy.step(rng, population, one, memory)

    return seconds(each) / len(ready)


@dataclass
class Instant:
    """An executor whose segments take no time: what is left is the engine, the strategy and the journal.

    Attributes:
        size: Of the population.
    """

    size: int
    fingerprint: dict[str, object] = dataclasses.field(default_factory=fingerprint)
    _queue: list[Assignment] = dataclasses.field(default_factory=list)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments."""
        self._queue.extend(reversed(assignments))

    def next(self) -> Outcome:
        """The next one, with a score that orders members alike in each interval, and no checkpoint."""
        done = self._queue.pop()
        return Outcome(
            done.id, {"q": (done.member * 7919 % self.size) / self.size}, samples=done.steps
        )

    def holds(self, segment: SegmentId) -> bool:
        """Everything."""
        del segment
        return True

    def put(self, segment: SegmentId, state: State) -> None:
        """Nothing is kept."""

    def state(self, segment: SegmentId) -> State:
        """The same for all."""
        del segment
        return {"theta": [0.9, 0.9]}

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is held."""


def engine_decisions(size: int, count: int) -> list[float]:
    """Seconds of each of `count` decisions of a run: from its last segment on record to the next to train."""
    config = parse({"task": "quadratic", "population": size, "intervals": count + 1, "interval": 10,
                    "seed": SEED, "executor": "serial", "outputs": False})  # fmt: skip
    components = build(config)
    last, ends = [0.0], []

    def segment(_: Segment) -> None:
        last[0] = time.perf_counter()

    def interval(end: IntervalEnd) -> None:
        if end.decision is not None:
            ends.append(time.perf_counter() - last[0])

    components = dataclasses.replace(components, make_executor=lambda **_: Instant(size))
    with folder() as place:
        start(
            components.config,
            components=components,
            directory=place / "run",
            callbacks=Callbacks(segment, interval),
        )
    return ends


def questions(journal: Journal, segments: Sequence[Segment]) -> dict[str, Callable[[], object]]:
    """What is asked of a record, by what the table calls it."""
    winner, telemetry = lineage.winner(segments).id, journal.telemetry()
    whole = Record(space=SPACE, score_name="score", segments=tuple(segments))
    return {
        "reading all segments": journal.segments,
        "the winner": partial(lineage.winner, segments),
        "its lineage": partial(lineage.lineage, segments, winner),
        "founders of each interval": partial(lineage.founders, segments),
        "rows of history.csv": partial(history.rows, whole, telemetry),
    }


def measure(bench: Bench, size: int, place: Path) -> tuple[list[Row], list[float]]:
    """All that is measured of a size, and the seconds of its decisions."""
    population, name = scored(size), f"{size:,} members"
    segments, goal = record(population), size == GOAL
    journals = [place / f"{size}-{number}.db" for number in range(bench.repeat)]
    appends = _appends(name, journals, segments)
    journal = Journal(journals[0])
    decisions = [seconds(partial(decide, journal, population, k)) for k in range(bench.repeat)]
    alone = [decide_for_one(population) * 1000 for _ in range(bench.repeat)]
    engine = [each / size * MICRO for each in engine_decisions(size, bench.repeat)]
    member = [each / size * MICRO for each in decisions]
    rows = [
        Row(
            f"{name}: strategy and journal, a member",
            "µs",
            {"decision": member},
            at_most=10 if goal else None,
        ),
        Row(f"{name}: the same in a whole run, a member", "µs", {"decision": engine}),
        Row(
            f"{name}: a decision for one ready member",
            "ms",
            {"decision": alone},
            at_most=1 if goal else None,
        ),
        appends,
    ]
    for what, question in questions(journal, segments).items():
        asked = [seconds(question) / len(segments) * MICRO for _ in range(bench.repeat)]
        rows.append(Row(f"{name}: {what}, a segment", "µs", {"question": asked}))
    journal.close()
    return rows, decisions


def _appends(name: str, places: Sequence[Path], segments: Sequence[Segment]) -> Row:
    """An interval in a transaction a segment, as a run does it, then another at once; a journal each time."""
    facts, size = (
        Telemetry(1.0, "worker 0", ((275, "train_loss", 0.1),)),
        len(segments) // INTERVALS,
    )
    values: dict[str, list[float]] = {"a transaction each": [], "in one transaction": []}
    for place in places:
        journal = Journal(place, create=True)

        def each(journal: Journal = journal) -> None:
            for segment in segments[:size]:
                journal.append_segments([segment], [facts])

        def at_once(journal: Journal = journal) -> None:
            rest = segments[size:]
            journal.append_segments(rest, [facts] * len(rest))

        values["a transaction each"].append(seconds(each) / size * MICRO)
        values["in one transaction"].append(seconds(at_once) / (len(segments) - size) * MICRO)
        journal.close()
    return Row(f"{name}: appending a segment to the journal", "µs", values)


def growth(decisions: dict[int, list[float]]) -> list[Row]:
    """From each size to the next: at most as N log N."""
    rows = []
    for small, large in pairwise(decisions):
        ratios = [b / a for a, b in zip(decisions[small], decisions[large], strict=True)]
        most = large * math.log(large) / (small * math.log(small))
        goal = (
            most if small >= GOAL else None
        )  # below, what every decision costs outweighs the members
        rows.append(
            Row(
                f"a decision for {large:,} by one for {small:,}",
                "x",
                {"growth": ratios},
                at_most=goal,
            )
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    bench = begin("scale", __doc__, argv)
    sizes = TINY if bench.smoke else SIZES
    rows: list[Row] = []
    decisions: dict[int, list[float]] = {}
    with folder() as place:
        for size in sizes:
            found, decisions[size] = measure(bench, size, place)
            rows += found
    finish(bench, rows + growth(decisions), members=sizes, intervals=INTERVALS)


if __name__ == "__main__":
    main()
