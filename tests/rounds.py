"""Rounds of a strategy without training: an engine of one screen, whose members get scores from a hash.

It hands a strategy everything that the real one does: last segments, metrics, samples, curves, roles, the
archive, the budget, the history; and it obeys the plan: sources, rests, lengths, roles, `keep`, sizes.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.history import History
from popgrad.core.plan import Plan, cut
from popgrad.core.population import FRESH, Archive, Budget, Hparams, Population, SegmentId
from popgrad.core.seeding import Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Start, Strategy

STEPS = 10  # of an interval
SAMPLES = 10  # of a score

ScoreRule = Callable[[int, int, float, Hparams], float]
"""(member, interval, score at the start or nan, hparams) -> score."""


@dataclass(frozen=True)
class Row:
    """A segment, as a row of the history."""

    id: SegmentId
    parent: int
    hparams: Hparams
    score: float
    start: float
    first_step: int
    steps: int


@dataclass(frozen=True)
class Round:
    """A decision: what the strategy got, and what it gave."""

    population: Population
    ready: list[int]
    plan: Plan
    memory: Memory


def fitting_size(strategy: Strategy, least: int = 8) -> int:
    """Return the smallest population, from `least` on, that the strategy starts with."""
    for size in range(least, 10 * least):
        try:
            strategy.start(size)
        except UsageError:
            continue
        return size
    raise AssertionError("the strategy starts with no population")


def start_of(strategy: Strategy, size: int) -> Start:
    """Return a start of exactly `size` members: without the extra ones, without roles if it refuses."""
    try:
        start = strategy.start(size)
    except UsageError:
        return Start(size)
    return start._replace(size=size, roles=start.roles[:size])


def samples_of(score: float, rng: np.random.Generator) -> np.ndarray:
    """Return samples whose mean is the score."""
    draws = rng.normal(size=SAMPLES)
    return draws - draws.mean() + score if math.isfinite(score) else np.full(SAMPLES, score)


def by_hash(member: int, interval: int, start: float, hparams: Hparams) -> float:
    """Return a score that improves a little on that at the start."""
    del hparams
    gain = float(Rng(11).uniform("score", np.array(member), np.array(interval)))
    return (start if math.isfinite(start) else 0.0) + gain - 0.2


class Game:
    """The members of a run that trains nothing."""

    def __init__(
        self,
        strategy: Strategy,
        space: Space,
        *,
        size: int,
        intervals: int,
        seed: int = 0,
        score: ScoreRule = by_hash,
        broken: Collection[SegmentId] = (),
        start: Start | None = None,
    ) -> None:
        self.strategy = strategy
        self.space = space
        self.rng = Rng(seed)
        self.score = score
        self.broken = broken
        self.total = size * intervals
        self.spent = 0
        self.rows: list[Row] = []
        self.archived: tuple[SegmentId, ...] = ()
        self.resting: set[int] = set()
        self.memory = strategy.init()

        start = start or strategy.start(size)
        self.evaluations = start.evaluations
        self.last: list[int] = []  # row of each member
        self.roles = list(start.roles) or [""] * start.size
        for member in range(start.size):
            hparams = space.sample(self.rng.generator("sample", member, 0))
            self.last.append(self.train(member, 0, -1, hparams))

    def train(
        self, member: int, interval: int, parent: int, hparams: Hparams, length: int = 1
    ) -> int:
        """Append the row of a segment, and return its number."""
        source = self.rows[parent] if parent >= 0 else None
        start = math.nan if source is None else source.score
        failed = (member, interval) in self.broken
        score = math.nan if failed else self.score(member, interval, start, hparams)
        first = 0 if source is None else source.first_step + source.steps
        steps = STEPS * length
        self.rows.append(Row((member, interval), parent, dict(hparams), score, start, first, steps))
        self.spent += length
        return len(self.rows) - 1

    def goes_on(self, intervals_left: bool) -> bool:
        """Return whether a decision follows: while the budget lasts if it is shared, else as given."""
        return self.spent < self.total if self.strategy.shares_budget else intervals_left

    def keep(self) -> None:
        """Train every member for an interval as it is."""
        for member, row in enumerate(self.last):
            interval = self.rows[row].id[1] + 1
            self.last[member] = self.train(member, interval, row, self.rows[row].hparams)

    def population(self) -> Population:
        """Return the members as a strategy sees them."""
        own = [self.rows[row] for row in self.last]
        generators = [self.rng.generator("samples", *row.id) for row in own]
        archive = [row for row in self.rows if row.id in self.archived]
        archive.sort(key=lambda row: self.archived.index(row.id))
        return Population(
            np.array([row.score for row in own]),
            np.array([row.id[1] + 1 for row in own]),
            np.array([row.first_step + row.steps for row in own]),
            [row.hparams for row in own],
            segments=[row.id for row in own],
            metrics=[metrics_of(row) for row in own],
            samples=[samples_of(row.score, rng) for row, rng in zip(own, generators, strict=True)],
            curves=[curve_of(row, self.evaluations) for row in own],
            roles=tuple(self.roles) if any(self.roles) else (),
            resting=frozenset(self.resting),
            archive=Archive(
                tuple(row.id for row in archive),
                tuple(row.score for row in archive),
                tuple(row.first_step + row.steps for row in archive),
                tuple(row.hparams for row in archive),
            ),
            budget=Budget(self.total, self.spent),
            past=lambda: history_of(self.rows, self.space),
        )

    def decide(self, ready: Sequence[int], size: int | None = None) -> Round:
        """Let the strategy decide for ready members, and train as it plans.

        Args:
            ready: Members that have finished.
            size: Members from now on; all take part. None = as many as before.
        """
        population = self.population()
        before = len(population)
        joining = range(before, before if size is None else size)
        if joining and self.strategy.copies:
            population = self.extended(population, len(joining))
            ready = range(len(population))
        plan, memory = self.strategy.step(self.rng, population, np.array(ready), self.memory)
        self.memory = json.loads(json.dumps(memory))
        assert self.memory == memory, "a memory is plain JSON"

        shared = self.strategy.shares_budget
        self.obey(population, cut(plan, population.budget.left) if shared else plan)
        if joining and not self.strategy.copies:
            first = int(population.intervals.max())
            for member, hparams in zip(joining, self.sampled(joining, first), strict=True):
                self.last.append(self.train(member, first, -1, hparams))
                self.roles.append("")
        if size is not None and size < before:
            self.shrink(population, size)
        return Round(population, list(ready), plan, memory)

    def obey(self, population: Population, plan: Plan) -> None:
        """Train the segments of a plan."""
        rows = {row.id: number for number, row in enumerate(self.rows)}
        candidates = [*self.last, *(rows[segment] for segment in population.archive.segments)]
        candidates[len(self.last) : len(self.last)] = [-1] * (len(population) - len(self.last))
        roles = dict(zip(plan.members, plan.roles, strict=True)) if plan.roles else {}
        columns = zip(
            plan.members,
            plan.sources,
            plan.hparams,
            plan.rests or [False] * len(plan.members),
            plan.lengths or [1] * len(plan.members),
            strict=True,
        )

        for member, source, hparams, rests, length in columns:
            self.resting -= {member}
            if member >= len(self.last):  # a new member
                self.last.append(-1)
                self.roles.append("")
            self.roles[member] = roles.get(member, "")
            if rests:
                self.resting |= {member}
                continue
            parent = -1 if source == FRESH else candidates[source]
            if source == member and parent >= 0 and not math.isfinite(self.rows[parent].score):
                continue  # a failed member that keeps its state does not train
            interval = int(population.intervals[member])
            self.last[member] = self.train(member, interval, parent, hparams, length)
        self.archived = tuple(tuple(segment) for segment in plan.keep)

    def sampled(self, members: Iterable[int], interval: int) -> list[Hparams]:
        """Return hyperparameters of new members."""
        generators = (self.rng.generator("sample", member, interval) for member in members)
        return [self.space.sample(generator) for generator in generators]

    def extended(self, population: Population, count: int) -> Population:
        """Return a population with new members, each shown as one that has failed."""
        first = int(population.intervals.max())
        new = range(len(population), len(population) + count)
        return replace(
            population,
            scores=np.append(population.scores, [math.nan] * len(new)),
            intervals=np.append(population.intervals, [first] * len(new)),
            steps=np.append(population.steps, [0] * len(new)),
            hparams=[*population.hparams, *self.sampled(new, first)],
            segments=[*population.segments, *((member, first - 1) for member in new)],
            metrics=[*population.metrics, *({} for _ in new)],
            samples=[*population.samples, *(np.array([math.nan]) for _ in new)],
            curves=[*population.curves, *(np.array([math.nan]) for _ in new)],
            roles=(*population.roles, *[""] * len(new)) if population.roles else (),
        )

    def shrink(self, population: Population, size: int) -> None:
        """Keep the best members; those in slots that are gone move to free ones."""
        order = np.argsort(-np.nan_to_num(population.scores, nan=-np.inf), kind="stable")
        staying = sorted(order[:size].tolist())
        free = iter(sorted(set(range(size)) - set(staying)))
        slots = {member: member if member < size else next(free) for member in staying}
        rows, roles, resting = list(self.last), list(self.roles), self.resting
        for member, slot in slots.items():
            self.last[slot], self.roles[slot] = rows[member], roles[member]
        del self.last[size:], self.roles[size:]
        self.resting = {slots[member] for member in resting if member in slots}


def metrics_of(row: Row) -> Mapping[str, float]:
    """Return two metrics of a row, the first of which is its score."""
    if not math.isfinite(row.score):
        return {"accuracy": row.score, "loss": row.score}
    return {"accuracy": row.score, "loss": float(Rng(5).uniform("loss", *map(np.array, row.id)))}


def curve_of(row: Row, evaluations: int) -> np.ndarray:
    """Return the scores of the evaluations within a segment; the last one is its score."""
    if not math.isfinite(row.score):
        return np.full(evaluations, row.score)
    start = row.start if math.isfinite(row.start) else 0.0
    return np.linspace(start, row.score, evaluations + 1)[1:]


def history_of(rows: Sequence[Row], space: Space) -> History:
    """Return rows as columns."""
    return History(
        tuple(space),
        np.array([row.id[0] for row in rows]),
        np.array([row.id[1] for row in rows]),
        np.array([row.score for row in rows]),
        np.array([row.start for row in rows]),
        np.array([row.parent for row in rows]),
        np.array([row.first_step for row in rows]),
        np.array([row.first_step + row.steps for row in rows]),
        np.array([space.encode(row.hparams) for row in rows]).reshape(len(rows), len(space)),
    )


def play(
    strategy: Strategy,
    space: Space,
    *,
    size: int = 8,
    rounds: int = 6,
    sizes: Mapping[int, int] | None = None,
    **settings: Any,
) -> list[Round]:
    """Return the decisions of a synchronous run: all members decide together.

    Args:
        strategy: The strategy.
        space: Its space.
        size: Members of the population.
        rounds: Number of decisions.
        sizes: New sizes of the population, by number of the decision.
        **settings: Those of `Game`.
    """
    game = Game(strategy, space, size=size, intervals=rounds + 1, **settings)
    decided: list[Round] = []
    while game.goes_on(len(decided) < rounds):
        size_now = (sizes or {}).get(len(decided))
        decided.append(game.decide(range(len(game.last)), size_now))
    return decided


def play_one_by_one(
    strategy: Strategy, space: Space, *, size: int = 8, rounds: int = 6, **settings: Any
) -> list[Round]:
    """Return the decisions of an asynchronous run: the member with the fewest steps finishes next."""
    game = Game(strategy, space, size=size, intervals=rounds + 1, **settings)
    decided: list[Round] = []
    for member in finishing(game, rounds):
        decided.append(game.decide([member]))
    return decided


def finishing(game: Game, rounds: int) -> Iterator[int]:
    """Yield the members in the order in which they finish, until each has decided `rounds` times."""
    clocks = [
        float(Rng(3).uniform("clock", np.array(member), np.array(0)))
        for member in range(len(game.last))
    ]
    while game.goes_on(True):
        waiting = [
            member
            for member, row in enumerate(game.last)
            if member not in game.resting
            and (game.strategy.shares_budget or game.rows[row].id[1] < rounds)
            and (game.strategy.copies or math.isfinite(game.rows[row].score))
        ]
        if not waiting:
            return
        member = min(waiting, key=lambda member: clocks[member])
        clocks[member] += 1
        yield member
