"""The one training loop: strategy, executor and record meet here, and nowhere else."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from popgrad.core.errors import NobodyLeftError, RunError, UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.interval import Interval
from popgrad.core.population import (
    Assignment,
    Changes,
    Decision,
    Hparams,
    Outcome,
    Plan,
    Population,
    Segment,
    SegmentId,
)
from popgrad.core.seeding import Floats, Index, Rng
from popgrad.executors.base import Executor
from popgrad.restore import found, kept, restore
from popgrad.state import State, flatten
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task, epoch_steps
from popgrad.watch import IntervalEnd, Watch

log = logging.getLogger("popgrad")


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
    """A run in synchronous mode: everyone trains, then everyone decides.

    What the journal holds already is taken from there, so that a fresh run, a resumed one and one that goes
    on are the same loop.

    Args:
        task: What is trained.
        strategy: Makes the plans.
        executor: Makes the executor when there is something to train.
        journal: Where the record goes, and comes from.
        checkpoints: Where states come from that the executor does not hold; None = there are none.
        seed: The run's seed.
        size: Members.
        interval: How long an interval is.
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
        initial: Sequence[Hparams] = (),
        checkpoint_every: int = 1,
        watch: Watch | None = None,
    ) -> None:
        self._task, self._strategy, self._journal, self._checkpoints = task, strategy, journal, checkpoints
        self._make_executor = executor
        self._executor: Executor | None = None
        self._rng, self._size, self._interval = Rng(seed), size, interval
        self._every, self._watch = checkpoint_every, watch or Watch()
        self._exact = True
        self._limits = Limits(1)
        self._begin = time.perf_counter()
        self._decisions = {decision.number: decision for decision in journal.decisions()}
        self._segments = {segment.id: segment for segment in journal.segments()}
        self._last: dict[int, Segment] = {}
        self._best: dict[int, Segment] = {}
        self._changes: dict[SegmentId, Changes] = {}
        self._scores: Floats = np.full(size, math.nan)
        self._steps: Index = np.zeros(size, np.int64)
        self._intervals: Index = np.zeros(size, np.int64)
        self._hparams, self._first_changes = first_hparams(task.space, self._rng, size, initial)

    def run(self, limits: Limits) -> str:
        """Train until a limit is reached; returns which: "finished", "target score" or "time".

        Raises:
            NobodyLeftError: No member has a finite score; the record stays and can be resumed.
        """
        self._limits = limits
        self._try_again()
        assignments = self._first()
        for interval in range(limits.intervals):
            self._train(assignments)
            if not np.isfinite(self._scores).any():
                raise self._nobody_left(
                    f"none of the {self._size} members has a finite score, so nobody is left to go on with: "
                    "look at the learning rate's range and at the score"
                )
            stopped = self._stopped(interval, limits)
            decision = None if stopped else self._decide(interval)
            self._tell(interval, decision)
            if decision is None:
                self._keep_last()
                return stopped
            assignments = self._next(interval + 1, decision.plan)
        raise AssertionError("a run has at least one interval")

    def state(self, segment: SegmentId) -> State:
        """The final state of a segment: from the executor, its checkpoint, or trained again."""
        if self._executor is None and self._checkpoints is not None:
            state = found(self._checkpoints, self._segments[segment].digest)
            if state is not None:
                return state
        return self._supply([segment]).state(segment)

    def close(self) -> None:
        """Give the executor back, if there is one."""
        if self._executor is not None:
            self._executor.close()

    def _try_again(self) -> None:
        """Where a run has stopped since nobody was left, give those who broke another chance.

        By then the disk may have room again, or the code be mended. A score that is not finite stays.
        """
        last = max((interval for _, interval in self._segments), default=0)
        theirs = [segment for segment in self._segments.values() if segment.interval == last]
        broke = [segment.id for segment in theirs if segment.broke]
        if broke and last not in self._decisions and all(segment.failed for segment in theirs):
            self._journal.set_failures_aside(broke)
            for segment in broke:
                del self._segments[segment]

    # --- training -------------------------------------------------------------------------------------------

    def _first(self) -> list[Assignment]:
        return [self._assign(member, 0, None) for member in range(self._size)]

    def _next(self, interval: int, plan: Plan) -> list[Assignment]:
        """Who trains next, and from whose state. A failed member that keeps stays failed."""
        for member, hparams in zip(plan.members, plan.hparams, strict=True):
            self._hparams[member] = hparams
        sources = {
            member: self._last[source] for member, source in zip(plan.members, plan.sources, strict=True)
        }
        self._changes = {(m, interval): c for m, c in zip(plan.members, plan.changes, strict=True)}
        return [self._assign(m, interval, source) for m, source in sources.items() if not source.failed]

    def _assign(self, member: int, interval: int, source: Segment | None) -> Assignment:
        hparams = self._hparams[member]
        start = (None, 0) if source is None else (source.id, source.last_step)
        steps = self._interval.steps(start[1], self._epoch_steps(hparams))
        due = (interval + 1) % self._every == 0 or interval + 1 == self._limits.intervals
        return Assignment(member, interval, start[0], hparams, self._rng.seed, start[1], steps, due)

    def _epoch_steps(self, hparams: Hparams) -> int:
        """Steps of an epoch; 1 where no interval depends on it."""
        return (
            epoch_steps(self._task, hparams) if self._interval.epochs or self._interval.within_epochs else 1
        )

    def _train(self, assignments: Sequence[Assignment]) -> None:
        """Train what the record does not have yet, and let go of states that nothing starts from any more."""
        missing = {each.id: each for each in assignments if each.id not in self._segments}
        if missing:
            executor = self._supply([each.source for each in missing.values() if each.source is not None])
            executor.submit(list(missing.values()))
            for _ in range(len(missing)):
                outcome = executor.next()
                self._record(missing[outcome.id], outcome)
        for each in assignments:
            self._update(self._segments[each.id])
        if missing:
            executor.retain({segment.id for segment in self._last.values()})
            self._collect()

    def _collect(self) -> None:
        """Delete the checkpoints that nothing needs: neither going on, nor each member's best state."""
        if self._checkpoints is not None:
            wanted = kept(self._segments, self._checkpoints, self._last.values())
            self._checkpoints.retain(wanted | {best.digest for best in self._best.values()})

    def _keep_last(self) -> None:
        """Have the last states in checkpoints, also where none was due."""
        if self._executor is None:
            return
        self._executor.flush()
        if self._checkpoints is not None:
            for segment in self._last.values():
                if segment.digest and not self._checkpoints.has(segment.digest):
                    self._checkpoints.write(segment.digest, *flatten(self.state(segment.id)))
            self._collect()

    def _supply(self, wanted: Sequence[SegmentId]) -> Executor:
        """The executor, holding these states."""
        if self._executor is None:
            self._executor = self._make_executor()
            self._check_fingerprint(self._executor.fingerprint)
        if not all(map(self._executor.holds, wanted)):
            restore(self._executor, self._checkpoints, self._segments, wanted, exact=self._exact)
        return self._executor

    def _check_fingerprint(self, found: dict[str, object]) -> None:
        recorded = self._journal.about().get("fingerprint")
        if recorded is None:
            self._journal.set_about(fingerprint=found)
        elif recorded != found:
            differing = ", ".join(
                f"{k} {recorded.get(k)!r} -> {v!r}" for k, v in found.items() if recorded.get(k) != v
            )
            self._exact = False
            log.warning(
                "this machine computes otherwise than the one that began the run (%s): "
                "bits are no longer promised to be those of an uninterrupted run",
                differing,
            )

    def _record(self, assignment: Assignment, outcome: Outcome) -> None:
        score, why = (math.nan, outcome.error) if outcome.error else self._score(outcome.metrics)
        segment = Segment(
            member=assignment.member,
            interval=assignment.interval,
            source=assignment.source,
            hparams=assignment.hparams,
            changes=self._changes.get(assignment.id, self._first_changes[assignment.member]),
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

    def _score(self, metrics: Mapping[str, float]) -> tuple[float, str]:
        """The score, higher is better, and why it is a failure ("" = it is none)."""
        name = self._task.score.removeprefix("-")
        if name not in metrics:
            raise UsageError(
                f"the task's score is {name!r}, but it evaluates {', '.join(metrics) or 'nothing'}"
            )
        score = -metrics[name] if self._task.score.startswith("-") else metrics[name]
        return score, "" if math.isfinite(score) else f"the score ({self._task.score}) is {score}"

    def _update(self, segment: Segment) -> None:
        member = segment.member
        self._last[member] = segment
        if not segment.failed and (member not in self._best or segment.score > self._best[member].score):
            self._best[member] = segment
        self._scores[member] = segment.score
        self._steps[member], self._intervals[member] = segment.last_step, segment.interval + 1

    # --- deciding -------------------------------------------------------------------------------------------

    def _stopped(self, interval: int, limits: Limits) -> str:
        """Why the run ends after this interval; "" = it goes on."""
        if interval + 1 == limits.intervals:
            return "finished"
        best = self._scores[np.isfinite(self._scores)].max()  # a score of +inf is a failure, no best
        if interval in self._decisions:  # a resumed run has been here, and went on
            return ""
        if limits.target_score is not None and best >= limits.target_score:
            return "target score"
        if limits.max_seconds is not None and time.perf_counter() - self._begin >= limits.max_seconds:
            return "time"
        return ""

    def _decide(self, number: int) -> Decision:
        """The recorded decision, else the strategy's, which is recorded before it is obeyed."""
        if number in self._decisions:
            return self._decisions[number]
        memory = self._decisions[number - 1].memory if number else self._strategy.init()
        ready = np.arange(self._size)
        try:
            plan, memory = self._strategy.step(self._rng, self._population(), ready, memory)
        except NobodyLeftError as error:
            raise self._nobody_left(str(error)) from None
        # Memory as the journal will give it back: what a resumed run sees is what this one sees.
        decision = Decision(number, self._checked(plan, ready), json.loads(json.dumps(memory)))
        self._journal.append_decision(decision)
        self._decisions[number] = decision
        return decision

    def _checked(self, plan: Plan, ready: Index) -> Plan:
        """The plan with hyperparameters in the space's own types; refused where it cannot be obeyed.

        Raises:
            RunError: It is not about the ready members, or a source is none, or has failed.
            UsageError: Hyperparameters are not in the space.
        """
        sizes = {len(plan.members), len(plan.sources), len(plan.hparams), len(plan.changes)}
        if sorted(plan.members) != ready.tolist() or sizes != {len(ready)}:
            raise RunError(
                f"the strategy's plan is for the members {plan.members}, ready are {ready.tolist()}"
            )
        hparams = []
        for member, source, wanted in zip(plan.members, plan.sources, plan.hparams, strict=True):
            if source != member and (source not in self._last or self._last[source].failed):
                raise RunError(f"the strategy lets member {member} inherit from {source}, which has no state")
            known = wanted is self._last[member].hparams
            hparams.append(
                wanted if known else self._task.space.check(wanted, f"the plan for member {member}")
            )
        return replace(plan, hparams=tuple(hparams))

    def _nobody_left(self, why: str) -> NobodyLeftError:
        errors = [segment.error for segment in self._last.values() if segment.error]
        raised = [segment.error for segment in self._last.values() if segment.broke]
        why = (
            f"all {self._size} members have failed, most by an exception"
            if len(raised) > len(errors) / 2
            else why
        )
        return NobodyLeftError(f"{why}\nThe first failure: {(raised or errors)[0]}" if errors else why)

    def _population(self) -> Population:
        scores, intervals, steps = self._scores.view(), self._intervals.view(), self._steps.view()
        for view in (scores, intervals, steps):
            view.flags.writeable = False
        last = [self._last[member].hparams for member in range(self._size)]
        return Population(scores, intervals, steps, last)

    def _tell(self, interval: int, decision: Decision | None) -> None:
        if self._watch.interval is not None:
            segments = tuple(s for s in self._last.values() if s.interval == interval)
            self._watch.interval(IntervalEnd(interval, segments, decision, time.perf_counter() - self._begin))
