"""Runs without an engine: a strategy's plans obeyed in plain Python, for tests of strategies on toys.

They know the whole seam but transforms and changes of size: sources, fresh members, the archive, rests,
lengths, roles, history and the budget. A task has to be cheap, and to draw from its context alone.
"""

import heapq
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from popgrad.core.history import History
from popgrad.core.initial import first_hparams
from popgrad.core.plan import Entry, Plan, cut, entries
from popgrad.core.population import FRESH, Archive, Budget, Hparams, Population, SegmentId
from popgrad.core.score import Score
from popgrad.core.seeding import Rng
from popgrad.state import clone
from popgrad.strategies import Strategy
from popgrad.tasks import Context, Task

Ahead = tuple[Entry, SegmentId | None]
"""A segment to train: what the plan gives its member, and the segment whose state it starts from."""


@dataclass(frozen=True)
class Row:
    """A trained segment with its final state.

    Attributes:
        id: (member, interval).
        source: Segment whose state it started from; None = it started fresh.
        entry: What the plan gave its member.
        first_step: Steps behind the state that it started from.
        last_step: Steps behind its final state.
        score: Higher is better; nan = failed.
        metrics: Metrics by name.
        state: Final state.
    """

    id: SegmentId
    source: SegmentId | None
    entry: Entry
    first_step: int
    last_step: int
    score: float
    metrics: Mapping[str, float]
    state: Any


@dataclass
class Simulation:
    """A run of a strategy on a task.

    Attributes:
        task: Task that is trained.
        strategy: Strategy that decides.
        size: Members of the population.
        intervals: Intervals of each member, or its share of the budget.
        interval: Steps of an interval.
        seed: Seed of the run.
        initial: Hyperparameters of the first members; missing ones are sampled.
        fails: Returns whether a segment fails.
        rows: Segments in the order in which they were recorded.
        plans: Plans in order, as the strategy made them.
        memories: Memory after each plan.
        populations: Population before each plan.
        last: Last segment of each member.
        kept: Segments that the last plan keeps.
        resting: Members that the last plan lets rest.
    """

    task: Task
    strategy: Strategy
    size: int
    intervals: int
    interval: int = 20
    seed: int = 0
    initial: Sequence[Hparams] = ()
    fails: Callable[[SegmentId], bool] = lambda _: False
    rows: dict[SegmentId, Row] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    memories: list[Any] = field(default_factory=list)
    populations: list[Population] = field(default_factory=list)
    last: dict[int, Row] = field(default_factory=dict)
    kept: tuple[SegmentId, ...] = ()
    resting: frozenset[int] = frozenset()

    @property
    def best(self) -> float:
        """Best finite last score."""
        return max(row.score for row in self.last.values() if math.isfinite(row.score))

    @property
    def budget(self) -> Budget:
        """Member-intervals of the run, and those of the segments so far."""
        spent = sum(row.entry.length for row in self.rows.values())
        return Budget(self.size * self.intervals, spent)

    def first(self) -> dict[int, Ahead]:
        """Return what each first member trains."""
        start = self.strategy.start(self.size)
        drawn = first_hparams(self.task.space, Rng(self.seed), start.size, self.initial)
        return {
            member: (
                Entry(FRESH, hparams, changes, role=start.roles[member] if start.roles else ""),
                None,
            )
            for member, (hparams, changes) in enumerate(zip(*drawn, strict=True))
        }

    def train(self, member: int, interval: int, ahead: Ahead) -> Row:
        """Train a segment, and record nothing yet."""
        entry, source = ahead
        assert entry.transform is None, "the simulation knows no transforms"
        donor = None if source is None else self.rows[source]
        first_step = 0 if donor is None else donor.last_step
        ctx = Context(member, interval, first_step, run_seed=self.seed)
        hparams = self.task.space.check(entry.hparams)

        steps = self.interval * entry.length
        state = self.task.init(hparams, ctx) if donor is None else clone(donor.state)
        state = self.task.train(state, hparams, steps, ctx)
        metrics = self.task.evaluate(state, hparams, "validation", ctx)
        ranking = Score.parse(self.task.score)
        failed = self.fails((member, interval))
        score = math.nan if failed else ranking.rank(metrics[ranking.metric])
        return Row(
            *((member, interval), source, entry._replace(hparams=hparams)),
            *(first_step, first_step + steps, score, metrics, state),
        )

    def record(self, row: Row) -> None:
        """Record a segment."""
        self.rows[row.id] = row
        self.last[row.id[0]] = row

    def decide(self, ready: Sequence[int]) -> dict[int, Ahead]:
        """Ask the strategy for a plan, and return what each member trains that does not rest.

        A member that keeps a failed state trains nothing either.
        """
        population = self.population()
        memory = self.memories[-1] if self.memories else self.strategy.init()
        plan, memory = self.strategy.step(Rng(self.seed), population, np.array(ready), memory)
        assert sorted(plan.members) == list(ready)
        assert {*plan.keep} <= {row.id for row in self.last.values()} | {*self.kept}
        assert self.strategy.shares_budget or not plan.lengths

        self.plans.append(plan)
        self.populations.append(population)
        self.memories.append(json.loads(json.dumps(memory)))
        if self.strategy.shares_budget:
            plan = cut(plan, population.budget.left)
        planned = entries(plan)
        rests = {member for member, entry in planned.items() if entry.rests}
        self.resting = self.resting - {*plan.members} | rests
        ahead = {
            member: (entry, self._source(member, entry.source))
            for member, entry in planned.items()
            if not entry.rests and not (entry.source == member and self._failed(member))
        }
        self.kept = plan.keep
        return ahead

    def population(self) -> Population:
        """Return the members as a strategy sees them; each has finished a segment."""
        last = [self.last[member] for member in sorted(self.last)]
        archive = [self.rows[segment] for segment in self.kept]
        roles = [row.entry.role for row in last]
        return Population(
            np.array([row.score for row in last]),
            np.array([row.id[1] + 1 for row in last]),
            np.array([row.last_step for row in last]),
            [row.entry.hparams for row in last],
            segments=[row.id for row in last],
            metrics=[row.metrics for row in last],
            samples=[np.array([row.score]) for row in last],
            curves=[np.array([row.score]) for row in last],
            roles=roles if any(roles) else (),
            resting=self.resting,
            archive=Archive(
                self.kept,
                tuple(row.score for row in archive),
                tuple(row.last_step for row in archive),
                tuple(row.entry.hparams for row in archive),
            ),
            budget=self.budget,
            past=partial(history, self.task, list(self.rows.values())),
        )

    def _failed(self, member: int) -> bool:
        return not math.isfinite(self.last[member].score)

    def _source(self, member: int, source: int) -> SegmentId | None:
        """Return the segment that a source of a plan names."""
        if source == FRESH:
            return None
        if source >= len(self.last):
            return self.kept[source - len(self.last)]
        assert source == member or not self._failed(source), "a donor has a finite score"
        return self.last[source].id


def history(task: Task, past: Sequence[Row]) -> History:
    """Return segments as columns."""
    order = {row.id: place for place, row in enumerate(past)}
    parents = [-1 if row.source is None else order[row.source] for row in past]
    return History(
        names=tuple(task.space),
        members=np.array([row.id[0] for row in past]),
        intervals=np.array([row.id[1] for row in past]),
        scores=np.array([row.score for row in past]),
        starts=np.array([math.nan if parent < 0 else past[parent].score for parent in parents]),
        parents=np.array(parents),
        first_steps=np.array([row.first_step for row in past]),
        steps=np.array([row.last_step for row in past]),
        hparams=np.array([task.space.encode(row.entry.hparams) for row in past]),
    )


def simulate(strategy: Strategy, task: Task, **settings: Any) -> Simulation:
    """Return a run in which all members decide together; settings are those of `Simulation`."""
    run = Simulation(task, strategy, **settings)
    ahead = run.first()
    number = 0

    while ahead:
        # Every member trains from the states before this round.
        trained = [run.train(member, number, entry) for member, entry in ahead.items()]
        for row in trained:
            run.record(row)
        number += 1
        if run.budget.left == 0 if strategy.shares_budget else number == run.intervals:
            break
        ahead = run.decide(sorted(run.last))
    return run


def simulate_async(
    strategy: Strategy, task: Task, paces: Sequence[float] = (), **settings: Any
) -> Simulation:
    """Return a run in which each member decides as soon as it has trained.

    All first segments are recorded before the first decision.

    Args:
        strategy: Strategy that decides.
        task: Task that is trained.
        paces: [N] time that an interval of each member takes; () = equal times, in order of members.
        **settings: Those of `Simulation`.
    """
    run = Simulation(task, strategy, **settings)
    for member, entry in run.first().items():
        run.record(run.train(member, 0, entry))
    paces = paces or [1.0] * len(run.last)
    queue = sorted((paces[member], member) for member in run.last)
    training: dict[int, Row] = {}
    waiting: set[int] = set()

    while queue:
        clock, member = heapq.heappop(queue)
        if member in training:
            run.record(training.pop(member))
        if run.last[member].id[1] + 1 >= run.intervals:
            continue

        ready = sorted({member} | waiting)
        ahead = run.decide(ready)
        waiting = {*ready} - {*ahead} - run.resting
        for heir, entry in ahead.items():
            training[heir] = run.train(heir, run.last[heir].id[1] + 1, entry)
            heapq.heappush(queue, (clock + paces[heir], heir))
    return run
