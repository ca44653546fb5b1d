"""The one training loop: strategy, executor and record meet here, and nowhere else."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from popgrad.core.errors import NobodyLeftError, UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.interval import Interval
from popgrad.core.population import Assignment, Decision, Hparams, Outcome, Plan, Segment, SegmentId
from popgrad.core.resize import extended, grown, sampled, shrunk
from popgrad.core.seeding import Index, Rng
from popgrad.executors.base import Executor
from popgrad.members import Members
from popgrad.state import State
from popgrad.states import States
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from popgrad.store.standing import Start, first_starts, follow, present, standing
from popgrad.strategies.base import Growth, Strategy
from popgrad.tasks.base import Task, epoch_steps
from popgrad.watch import IntervalEnd, Watch

log = logging.getLogger("popgrad")

Mode = Literal["sync", "async"]


@dataclass(frozen=True)
class Limits:
    """When a run ends.

    Attributes:
        intervals: That each member trains, at least 1.
        max_seconds: No further interval is started after these; None = no limit.
        target_score: No further interval is started once a member has it; None = no target.
    """

    intervals: int
    max_seconds: float | None = None
    target_score: float | None = None


class Engine:
    """A run. In mode "sync" everyone trains, then everyone decides; in "async" whoever has finished does.

    It goes on from where the record stands, so that a fresh run, a resumed one and one that is to have more
    intervals or members are the same loop.

    Args:
        task: What is trained.
        strategy: Makes the plans.
        executor: Makes the executor when there is something to train.
        journal: Where the record goes, and comes from.
        checkpoints: Where states come from that the executor does not hold; None = there are none.
        seed: The run's seed.
        size: Members that are wanted. Where the record has another number of them, they become as many with
            the next decision, which all take part in.
        interval: How long an interval is.
        mode: Who decides when.
        grow: How new members begin; None = as the strategy has it.
        initial: Hyperparameters of the first members; names may be missing.
        checkpoint_every: Intervals between two checkpoints of a member, at least 1.
        watch: Who is told.
    """

    def __init__(
        self,
        task: Task,
        strategy: Strategy,
        executor: Callable[[], Executor],
        journal: Journal,
        checkpoints: Checkpoints | None,
        *,
        seed: int,
        size: int,
        interval: Interval,
        mode: Mode = "sync",
        grow: Growth | None = None,
        initial: Sequence[Hparams] = (),
        checkpoint_every: int = 1,
        watch: Watch | None = None,
    ) -> None:
        self._task, self._strategy, self._journal = task, strategy, journal
        self._rng, self._interval, self._together = Rng(seed), interval, mode == "sync"
        self._every, self._watch = checkpoint_every, watch or Watch()
        self._size, self._growth = size, strategy.growth(grow)
        self._limits = Limits(1)
        self._begin = time.perf_counter()
        self._segments = {segment.id: segment for segment in journal.segments()}
        self._states = States(executor, checkpoints, journal, self._segments)
        decisions = journal.decisions()
        self._decided = len(decisions)
        self._memory = decisions[-1].memory if decisions else strategy.init()
        self._try_again(decisions)
        first = (journal.sizes() or [size])[0]
        hparams, changes = first_hparams(task.space, self._rng, first, initial)
        self._standing = standing(first_starts(hparams, changes), decisions, self._segments)
        self._newest = self._standing.newest
        self._stand()

    def run(self, limits: Limits) -> str:
        """Train until a limit is reached; returns which: "finished", "target score" or "time".

        Raises:
            NobodyLeftError: No member has a finite score; the record stays and can be resumed.
        """
        self._limits, stopped = limits, ""
        if not self._together and self._segments and not (self._over() and not self._waiting):
            self._states.supply(sorted(self._needed()))  # before anybody trains whom it would wait for
        while True:
            if not stopped:
                self._submit()
            if self._together or self._resizes or stopped or not self._undecided():
                self._take()
            stopped, fresh = stopped or self._reached(), self._undecided()
            if self._training and (stopped or not fresh):
                continue
            if not self._training and math.isnan(self._members.best_score):
                raise self._members.nobody_left(
                    f"none of the {len(self._newest)} members has a finite score, so nobody is left to go on "
                    "with: look at the learning rate's range and at the score"
                )
            if stopped or not fresh:
                self._tell(None)
                self._states.keep(self._members.last.values())
                self._let_go()
                return stopped or "finished"
            decision = self._decide(np.array(self._ready(fresh)))
            self._tell(decision)
            self._obey(decision)

    def state(self, segment: SegmentId) -> State:
        """The final state of a segment: from the executor, its checkpoint, or trained again."""
        return self._states.state(segment)

    def close(self) -> None:
        """Give the executor back, if there is one."""
        self._states.close()

    # --- where it stands ------------------------------------------------------------------------------------

    def _try_again(self, decisions: Sequence[Decision]) -> None:
        """Where a run has stopped since nobody was left, give those who broke another chance.

        By then the disk may have room again, or the code be mended. A score that is not finite stays.
        """
        last = present(list(self._segments.values()), decisions).last
        undecided = len(decisions) if self._together else 0
        broke = [s.id for s in last.values() if s.broke and s.interval >= undecided]
        if broke and all(segment.failed for segment in last.values()):
            self._journal.set_failures_aside(broke)
            for each in broke:
                del self._segments[each]

    def _stand(self) -> None:
        """What follows from each member's newest start and from the record."""
        self._seat()
        done = {m for m, start in self._newest.items() if start.id in self._segments}
        self._waiting = {m: start for m, start in self._newest.items() if m not in done}
        self._training: set[SegmentId] = set()
        asked = self._decided if self._together else 0  # who kept a failure is not asked again at the end
        self._fresh = sorted(m for m in done if self._newest[m].interval >= asked)
        self._parked = set[int]()
        self._finished = 0
        self._told = min((self._newest[m].interval for m in self._newest), default=0)

    def _seat(self) -> None:
        """Know of each member what the record says."""
        seats = self._standing.seats
        self._members = Members(
            (self._newest[member].hparams for member in sorted(self._newest)),
            {member: seat.interval for member, seat in seats.items()},
        )
        for member, seat in seats.items():
            if seat.holds is not None:
                self._members.hold(member, self._segments[seat.holds], seat.interval)
        for segment in self._segments.values():  # in order of intervals, so that the last ones stay
            if segment.member in self._newest:
                self._members.update(segment)

    @property
    def _resizes(self) -> bool:
        """Whether the next decision changes the size of the population: it waits for everybody."""
        return len(self._newest) != self._size

    def _undecided(self) -> list[int]:
        """Who has finished since the last decision, and has more to train."""
        self._fresh = [m for m in self._fresh if self._newest[m].interval + 1 < self._limits.intervals]
        return self._fresh

    def _ready(self, fresh: Sequence[int]) -> list[int]:
        """Who is asked: all, or those who have finished, with those who had nobody to inherit from."""
        everybody = self._together or self._resizes
        return sorted(self._newest) if everybody else sorted({*fresh, *self._parked})

    # --- training -------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Hand on what has been decided, and whatever it starts from."""
        starts = [s for s in self._waiting.values() if s.interval < self._limits.intervals]
        if not starts:
            return
        executor = self._states.supply([start.source for start in starts if start.source is not None])
        executor.submit([self._assignment(start) for start in starts])
        for start in starts:
            self._training.add(start.id)
            del self._waiting[start.member]

    def _assignment(self, start: Start) -> Assignment:
        first = 0 if start.source is None else self._segments[start.source].last_step
        steps = self._interval.steps(first, self._epoch_steps(start.hparams))
        due = (start.interval + 1) % self._every == 0 or start.interval + 1 == self._limits.intervals
        where = (start.member, start.interval, start.source)
        return Assignment(*where, start.hparams, self._rng.seed, first, steps, due)

    def _epoch_steps(self, hparams: Hparams) -> int:
        """Steps of an epoch; 1 where no interval depends on it."""
        counted = self._interval.epochs or self._interval.within_epochs
        return epoch_steps(self._task, hparams) if counted else 1

    def _take(self) -> None:
        """Wait for everyone in training, or for the next who finishes."""
        while self._training:
            outcome = self._states.supply([]).next()
            segment = self._record(self._newest[outcome.id[0]], outcome)
            self._training.remove(segment.id)
            self._members.update(segment)
            self._fresh.append(segment.member)
            self._finished += 1
            if not (self._together or self._resizes):
                break
        if self._finished >= (1 if self._together else len(self._newest)):
            self._let_go()

    def _let_go(self) -> None:
        """Of what nobody can start from any more; each member's best state stays on disk."""
        self._finished = 0
        self._states.retain(self._needed(), self._members.best.values())

    def _needed(self) -> set[SegmentId]:
        """Whose states somebody may yet start from."""
        ahead = {s.source for s in self._newest.values() if s.id not in self._segments and s.source}
        return {segment.id for segment in self._members.last.values() if segment.digest} | ahead

    def _record(self, start: Start, outcome: Outcome) -> Segment:
        assignment = self._assignment(start)
        score, why = (math.nan, outcome.error) if outcome.error else self._score(outcome.metrics)
        segment = Segment(
            member=start.member,
            interval=start.interval,
            source=start.source,
            hparams=start.hparams,
            changes=start.changes,
            seed=assignment.seed,
            first_step=assignment.first_step,
            steps=assignment.steps,
            samples=outcome.samples,
            score=score,
            metrics=outcome.metrics,
            digest=outcome.digest,
            status="done" if math.isfinite(score) else "failed",
            error=why,
        )
        self._journal.append_segments([segment], [outcome.telemetry])
        self._segments[segment.id] = segment
        if segment.failed:
            log.warning("member %d failed in interval %d: %s", *segment.id, why.strip().rpartition("\n")[2])
        if self._watch.record is not None:
            self._watch.record(segment, outcome.telemetry)
        if self._watch.segment is not None:
            self._watch.segment(segment)
        return segment

    def _score(self, metrics: Mapping[str, float]) -> tuple[float, str]:
        """The score, higher is better, and why it is a failure ("" = it is none)."""
        name = self._task.score.removeprefix("-")
        if name not in metrics:
            raise UsageError(
                f"the task's score is {name!r}, but it evaluates {', '.join(metrics) or 'nothing'}"
            )
        score = -metrics[name] if self._task.score.startswith("-") else metrics[name]
        return score, "" if math.isfinite(score) else f"the score ({self._task.score}) is {score}"

    # --- deciding -------------------------------------------------------------------------------------------

    def _reached(self) -> str:
        """Why nobody starts another interval, though some are left; "" = they may."""
        target, seconds = self._limits.target_score, self._limits.max_seconds
        if target is not None and self._members.best_score >= target:
            return "" if self._over() else "target score"
        if seconds is not None and time.perf_counter() - self._begin >= seconds:
            return "" if self._over() else "time"
        return ""

    def _over(self) -> bool:
        """Whether everybody has trained all intervals."""
        return all(start.interval + 1 >= self._limits.intervals for start in self._newest.values())

    def _decide(self, ready: Index) -> Decision:
        """What the ready members do next; it is recorded before it is obeyed."""
        plan, memory = self._plan(ready)
        last, size = self._members.last, self._size if self._resizes else None
        starts = () if self._together else tuple(last[s].id if s in last else None for s in plan.sources)
        # Memory as the journal will give it back: what a resumed run sees is what this one sees.
        decision = Decision(self._decided, plan, json.loads(json.dumps(memory)), starts, size)
        self._journal.append_decision(decision)
        self._decided, self._memory = self._decided + 1, decision.memory
        return decision

    def _plan(self, ready: Index) -> tuple[Plan, Mapping[str, object]]:
        """The strategy's plan, and what becomes of it where the population changes its size."""
        population, before = self._members.population(), len(self._newest)
        new = range(before, self._size)
        intervals = {m: self._first_interval(m) for m in new}
        hparams = sampled(self._task.space, self._rng, intervals)
        if new and self._growth == "clone":
            population, ready = extended(population, hparams, intervals.values()), np.arange(self._size)
        try:
            plan, memory = self._strategy.step(self._rng, population, ready, self._memory)
        except NobodyLeftError as error:
            raise self._members.nobody_left(str(error)) from None
        plan = self._members.checked(plan, ready, self._task.space)
        if new:
            plan = grown(plan, before, hparams)
        elif self._resizes:
            plan = shrunk(plan, population.scores, self._size)
        return plan, memory

    def _first_interval(self, member: int) -> int:
        return self._standing.first_interval(member, self._decided, self._segments, together=self._together)

    def _obey(self, decision: Decision) -> None:
        starts = follow(decision, self._standing, self._segments)
        if decision.size is not None:
            self._seat()
        self._waiting |= {start.member: start for start in starts}
        self._fresh = []
        self._parked = set(decision.plan.members) - self._waiting.keys()

    def _tell(self, decision: Decision | None) -> None:
        """Tell of each interval that all who are alive have finished by now."""
        done = self._members.least - 1
        if self._together or decision is None:
            done = max(segment.interval for segment in self._members.last.values())
        seconds = time.perf_counter() - self._begin
        while self._told <= done:
            if self._watch.interval is not None:
                ids = ((member, self._told) for member in sorted(self._newest))
                segments = tuple(self._segments[each] for each in ids if each in self._segments)
                self._watch.interval(IntervalEnd(self._told, segments, decision, seconds))
            self._told += 1
