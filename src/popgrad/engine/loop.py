"""The training loop: the only place in which strategy, executor and record meet."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from popgrad.core.initial import first_hparams
from popgrad.core.interval import Interval
from popgrad.core.plan import Decision, Plan, resting
from popgrad.core.population import FRESH, Budget, Hparams, SegmentId
from popgrad.core.score import Score
from popgrad.core.seeding import Rng
from popgrad.core.segment import Assignment, Outcome, Segment
from popgrad.engine.assignments import make_assignment
from popgrad.engine.callbacks import Callbacks
from popgrad.engine.failures import FailureCheck
from popgrad.engine.history import recorded_history
from popgrad.engine.limits import BestInterval, Limits, StopReason
from popgrad.engine.members import MemberTable
from popgrad.engine.outcomes import finished_segment
from popgrad.engine.planning import make_plan
from popgrad.engine.reporter import Reporter
from popgrad.engine.states import StateSource
from popgrad.engine.stopwatch import Stopwatch
from popgrad.executors.base import Executor
from popgrad.record.progress import PendingSegment, first_starts, progress_after
from popgrad.record.timings import Activity, controller_seconds
from popgrad.state import State
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from popgrad.strategies.base import Growth, Strategy
from popgrad.tasks.base import Task

Mode = Literal["sync", "async"]


class Engine:
    """The training loop of one run.

    In mode "sync" all members train an interval, then all decide; in mode "async" each member
    decides as soon as it has trained. The loop continues from the record, however far it goes. So a
    new run, a resumed run, and a run with more intervals or members are the same loop.

    Args:
        task: Task to train.
        strategy: Makes the plans.
        make_executor: Starts the executor; called when there is something to train.
        journal: Journal of the run: the record so far is read from it, new segments are appended.
        checkpoints: Checkpoints of states that the executor does not hold; None = there are none.
        seed: Seed of the run.
        size: Target population size. If the record has a different size, the next decision resizes
            it; all members take part in that decision.
        interval: Length of an interval.
        mode: "sync" or "async".
        grow: How new members start; None = the strategy's default.
        initial: Hyperparameters of the first members; names may be missing.
        checkpoint_every: Intervals between two checkpoints of a member, at least 1.
        fail_fast: Whether the first failure ends the run.
        callbacks: Functions to call as segments and intervals finish.
        ranking: Metric that ranks, with its direction; None = that of the task.
        retry_failures: Whether members that crashed try again if no other member is left.
        evaluations: Evaluations within each segment, at least 1; the strategy may ask for more.
    """

    def __init__(
        self,
        task: Task,
        strategy: Strategy,
        make_executor: Callable[[], Executor],
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
        fail_fast: bool = False,
        callbacks: Callbacks | None = None,
        ranking: Score | None = None,
        retry_failures: bool = True,
        evaluations: int = 1,
    ) -> None:
        self._task = task
        self._ranking = ranking or Score.parse(task.score)
        self._strategy = strategy
        self._journal = journal
        self._rng = Rng(seed)
        self._start = strategy.first(size)
        self._size = self._start.size
        self._members_paid = size  # that share the budget
        self._evaluations = max(evaluations, self._start.evaluations)
        self._interval_length = interval
        self._synchronous = mode == "sync"
        self._growth = strategy.growth(grow)
        self._checkpoint_every = checkpoint_every
        self._limits = Limits(1)  # replaced by `run`
        self._begin = time.perf_counter()
        self._stopwatch = Stopwatch()
        self._seconds_before = controller_seconds(journal.about())

        # The record so far.
        decisions = journal.decisions()
        sizes = journal.sizes()
        hparams, changes = first_hparams(
            task.space, self._rng, sizes[0] if sizes else self._size, initial
        )
        # A resumed run may begin with another size; its first segments are recorded.
        roles = self._start.roles if len(self._start.roles) == len(hparams) else ()
        first = first_starts(hparams, changes, roles)
        self._segments = {segment.id: segment for segment in journal.segments()}
        if retry_failures:
            self._set_failures_aside(first, decisions)
        self._decided = len(decisions)  # decisions made
        self._memory = decisions[-1].memory if decisions else strategy.init()
        self._progress = progress_after(first, decisions, self._segments)
        start_executor = self._stopwatch.timed("executor start", make_executor)
        self._states = StateSource(start_executor, checkpoints, journal, self._segments, task)
        self._members = MemberTable.of(self._progress, self._segments, self._ranking)
        self._archive = decisions[-1].plan.keep if decisions else ()
        self._history = recorded_history(
            task.space, self._ranking, self._segments, first, decisions
        )
        self._unread = [each for each in self._segments if each not in self._history]
        self._best_interval = BestInterval(self._segments.values())

        # The work ahead: every member's newest segment is pending, in training, or done.
        newest = self._progress.newest
        done = {member for member, start in newest.items() if start.id in self._segments}
        # In a synchronous run, a member that kept a failure has no newer segment, but has decided.
        undecided = self._decided if self._synchronous else 0
        self._pending = {member: start for member, start in newest.items() if member not in done}
        for decision in decisions:
            self._rest(decision.plan)
        self._spent = sum(segment.length for segment in self._segments.values())
        self._spent += sum(start.length for start in self._pending.values())
        self._training: dict[SegmentId, Assignment] = {}
        self._undecided = sorted(
            member
            for member in done - self._members.resting
            if newest[member].interval >= undecided
        )
        self._without_donor: set[int] = set()  # failed members that wait for a donor
        self._unreleased = 0  # segments finished since states were last dropped
        self._reporter = Reporter(callbacks or Callbacks(), self._reported)
        self._fail_fast = fail_fast
        self._failures = FailureCheck(
            fail_fast=fail_fast,
            size=len(newest),
            segments=self._segments.values(),
            errors=[error for _, _, error in journal.failures()],
        )

    def run(self, limits: Limits) -> StopReason:
        """Train until a limit is reached, and return which one.

        Raises:
            AllMembersFailedError: No member has a finite score; the record stays and can be resumed.
            RunError: A failure ends the run at once, see `FailureCheck`.
        """
        self._limits = limits
        # The record may go beyond the limit: those members have nothing left to decide.
        self._undecided = [member for member in self._undecided if self._has_intervals_left(member)]
        self._restore_sources()

        while True:
            # Submit the segments that have been decided on.
            self._submit()

            # Collect: all members if they decide at once, else the next one to finish.
            self._collect(all_members=self._decide_together)
            reason = self._stop_reason()
            if reason is not None:
                self._collect(all_members=True)
            self._check_survivors()

            # Stop for that reason, or decide what the ready members do next.
            if reason is not None:
                return self._finish(reason)
            with self._stopwatch.during("strategy"):
                decision = self._decide()
            self._report(decision)
            self._apply(decision)
            if self._reporter.stop_requested:
                # In mode "async" other members are in training.
                self._collect(all_members=True)
                return self._finish("callback")

    def state(self, segment: SegmentId) -> State:
        """Return the final state of a segment: from the executor, its checkpoint, or retrained."""
        return self._states.state(segment)

    def controller_seconds(self) -> dict[Activity, float]:
        """Return the seconds of the controller by activity, those of earlier sessions included."""
        before = self._seconds_before
        now = self._stopwatch.seconds()
        return {each: before.get(each, 0.0) + now.get(each, 0.0) for each in before | now}

    def close(self) -> None:
        """Close the executor, if it was started."""
        self._states.close()

    # --- the record so far ----------------------------------------------------------------------

    def _set_failures_aside(
        self, first: Mapping[int, PendingSegment], decisions: Sequence[Decision]
    ) -> None:
        """Let the members that crashed try again if the run stopped since no member was left.

        By now the disk may have room again, or the code may be mended. A score that is not finite
        stays.
        """
        if not any(segment.broke for segment in self._segments.values()):
            return

        last = progress_after(first, decisions, self._segments).last(self._segments.values())
        undecided = len(decisions) if self._synchronous else 0
        crashed = [
            segment.id
            for segment in last.values()
            if segment.broke and segment.interval >= undecided
        ]
        if not crashed or not all(segment.failed for segment in last.values()):
            return

        self._journal.set_failures_aside(crashed)
        for segment in crashed:
            del self._segments[segment]

    # --- queries --------------------------------------------------------------------------------

    @property
    def _resizes(self) -> bool:
        """Whether the next decision changes the size of the population."""
        return len(self._progress.newest) != self._size

    @property
    def _decide_together(self) -> bool:
        """Whether all members take part in the next decision; it waits for the slowest."""
        return self._synchronous or self._resizes

    @property
    def _intervals_left(self) -> bool:
        """Whether any member has an interval left to train."""
        return any(map(self._has_intervals_left, self._progress.newest))

    @property
    def _reported(self) -> int:
        """Intervals that earlier sessions have reported."""
        newest = self._progress.newest
        if self._synchronous:
            # A member that rests or has failed lies behind the others.
            return max((start.interval for start in newest.values()), default=0)
        awake = newest.keys() - self._members.resting
        return min((newest[member].interval for member in awake), default=0)

    @property
    def _budget(self) -> Budget:
        """Training that the run may spend."""
        return Budget(self._members_paid * self._limits.intervals, self._spent)

    @property
    def _waking(self) -> set[int]:
        """Resting members that a plan may wake; each decision has them ready."""
        return {*filter(self._has_intervals_left, self._members.resting)}

    def _has_intervals_left(self, member: int) -> bool:
        if self._strategy.shares_budget:
            return self._budget.left > 0
        return self._progress.newest[member].interval + 1 < self._limits.intervals

    def _needed(self) -> set[SegmentId]:
        """Return the segments that a member may continue from."""
        with_state = {segment.id for segment in self._members.last.values() if segment.digest}
        return with_state | self._progress.ahead(self._segments) | {*self._archive}

    def _stop_reason(self) -> StopReason | None:
        """Return the reason to start no further interval; None = continue."""
        seconds = time.perf_counter() - self._begin
        stale = self._best_interval.stale(self._members.completed)
        reached = self._limits.reached(self._members.best_score, stale, seconds)
        if reached is None and self._reporter.stop_requested:
            reached = "callback"
        if reached is not None and self._intervals_left:
            return reached
        return None if self._undecided else "finished"

    # --- training -------------------------------------------------------------------------------

    def _restore_sources(self) -> None:
        """Restore all states that an asynchronous run needs, before it trains.

        Later, all members would wait while a state of one of them is restored.
        """
        unfinished = self._pending or self._intervals_left
        if not self._synchronous and self._segments and unfinished:
            with self._stopwatch.during("states"):
                self._states.executor(sorted(self._needed()))

    def _submit(self) -> None:
        """Submit the pending segments, after the executor holds their sources."""
        starts = [start for start in self._pending.values() if self._is_paid(start)]
        if not starts:
            return

        # The executor is started here and not before: a finished run that is resumed needs none.
        assignments = [self._assign(start) for start in starts]
        sources = [start.source for start in starts if start.source is not None]
        with self._stopwatch.during("states"):
            self._states.executor(sources).submit(assignments)
        for assignment in assignments:
            self._training[assignment.id] = assignment
            del self._pending[assignment.member]

    def _is_paid(self, start: PendingSegment) -> bool:
        """Whether a segment that was decided on lies within the limits of this session."""
        if self._strategy.shares_budget:
            return self._spent <= self._budget.total
        return start.interval < self._limits.intervals

    def _assign(self, start: PendingSegment) -> Assignment:
        done = start.interval + 1
        return make_assignment(
            start,
            task=self._task,
            seed=self._rng.seed,
            first_step=0 if start.source is None else self._segments[start.source].last_step,
            length=self._interval_length,
            checkpoint=done % self._checkpoint_every == 0 or done == self._limits.intervals,
            evaluations=self._evaluations,
            evaluate_fresh=self._start.evaluated,
        )

    def _collect(self, *, all_members: bool) -> None:
        """Record finished segments: all that are in training, or as many as a decision needs."""
        while self._training and (all_members or not self._undecided):
            with self._stopwatch.during("training"):
                outcome = self._states.executor().next()
            segment = self._record(outcome)
            self._members.update(segment)
            self._best_interval.update(segment)
            if self._has_intervals_left(segment.member):
                self._undecided.append(segment.member)

            # Dropping states takes a pass over all of them, so it is done once a round.
            self._unreleased += 1
            if self._unreleased >= len(self._progress.newest):
                self._release_states()
        if self._synchronous and self._unreleased:
            self._release_states()

    def _release_states(self) -> None:
        """Drop the states that no member can start from; each member's best state stays on disk."""
        self._unreleased = 0
        with self._stopwatch.during("states"):
            self._states.retain(self._needed(), self._members.best.values())

    def _record(self, outcome: Outcome) -> Segment:
        """Append the segment of an outcome to the record, and report it."""
        start = self._progress.newest[outcome.id[0]]
        assignment = self._training.pop(outcome.id)
        segment = finished_segment(start, assignment, outcome, self._ranking)
        # Recorded before it is used: after a kill, nothing builds on a segment that is lost.
        with self._stopwatch.during("journal"):
            self._journal.append_segments([segment], [outcome.telemetry])
        self._segments[segment.id] = segment
        self._unread.append(segment.id)
        with self._stopwatch.during("callbacks"):
            self._reporter.report_segment(segment, outcome.telemetry)

        error = self._failures.check(segment, outcome)
        if error is not None:
            if self._fail_fast:
                # A resumed run trains it again, and replaces no member for it.
                self._journal.set_failures_aside([segment.id])
            raise error
        return segment

    def _check_survivors(self) -> None:
        """Raise `AllMembersFailedError` if nothing is in training and no member has a finite score."""
        if not self._training and math.isnan(self._members.best_score):
            raise self._members.all_failed(
                f"none of the {len(self._progress.newest)} members has a finite score, so no member "
                "is left to continue from: check the learning rate's range and the score"
            )

    def _finish(self, reason: StopReason) -> StopReason:
        """Report the last intervals, and write the last states as checkpoints."""
        self._report(None)
        with self._stopwatch.during("states"):
            self._states.write_checkpoints(self._members.last.values())
        self._release_states()
        return reason

    # --- deciding -------------------------------------------------------------------------------

    def _decide(self) -> Decision:
        """Make the next decision of the ready members. It is recorded before it is obeyed."""
        ready = {*self._undecided, *self._without_donor, *self._waking}
        newest = self._progress.newest
        self._history.append(self._unread)
        self._unread = []
        plan, memory = make_plan(
            self._strategy,
            self._memory,
            self._rng,
            self._members,
            self._task.space,
            sorted(newest if self._decide_together else ready),
            size=self._size,
            joining={
                member: self._first_interval(member) for member in range(len(newest), self._size)
            },
            growth=self._growth,
            archive=[self._segments[segment] for segment in self._archive],
            budget=self._budget,
            past=self._history.columns,
        )

        # One by one, members decide at different times, so the record has to name each source's
        # segment; if all decide at once, it is the newest.
        last = self._members.last
        starts: tuple[SegmentId | None, ...] = ()
        if not self._synchronous:
            starts = tuple(last[source].id if source in last else None for source in plan.sources)

        # Memory goes through JSON, so that a resumed run sees exactly what this one sees.
        memory = json.loads(json.dumps(memory))
        archived = {
            place: self._archive[-2 - source]
            for place, source in enumerate(plan.sources)
            if source < FRESH
        }
        size = self._size if self._resizes else None
        decision = Decision(self._decided, plan, memory, starts, size, archived)
        with self._stopwatch.during("journal"):
            self._journal.append_decision(decision)
        return decision

    def _first_interval(self, member: int) -> int:
        return self._progress.first_interval(
            member, self._decided, self._segments, synchronous=self._synchronous
        )

    def _apply(self, decision: Decision) -> None:
        """Make the segments of a decision pending."""
        self._decided += 1
        self._memory = decision.memory
        starts = self._progress.apply(decision, self._segments)
        self._archive = decision.plan.keep
        self._spent += sum(start.length for start in starts)
        # Slots may have new occupants, which do not inherit the scores of the old ones.
        if decision.size is not None:
            self._members = MemberTable.of(self._progress, self._segments, self._ranking)

        self._pending |= {start.member: start for start in starts}
        self._undecided = []
        self._rest(decision.plan)
        waiting = set(decision.plan.members) - self._pending.keys()
        self._without_donor = waiting - self._members.resting

    def _rest(self, plan: Plan) -> None:
        """Enter the members that rest after a plan."""
        rests = resting(plan)
        awake = {*plan.members} - rests
        present = self._progress.newest.keys()  # slots may have been emptied since
        self._members.resting = ((self._members.resting - awake) | rests) & present

    def _report(self, decision: Decision | None) -> None:
        """Report each interval that all members without a failure have finished by now."""
        # A failed member stops counting, or it would hold back all later reports. At the end, and
        # in mode "sync", all members have come to the same interval.
        finished = self._members.completed
        if self._synchronous or decision is None:
            finished = 1 + max(segment.interval for segment in self._members.last.values())

        with self._stopwatch.during("callbacks"):
            self._reporter.report_intervals(
                finished,
                self._progress.newest,
                self._segments,
                decision,
                seconds=time.perf_counter() - self._begin,
            )
