"""A simulated cluster: virtual time, with the real strategies, engine and journal.

It tests members that are unequally fast, fail, or lose their machine, and plans for clusters that
are not at hand. Segments are really trained, one after the other, when virtual time has come to
their end: use a task that costs nothing.
"""

import heapq
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.seeding import derive
from popgrad.core.segment import Assignment, Outcome, Telemetry
from popgrad.executors.base import Attempt, Save, late_outcome
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.serial import Serial
from popgrad.state import State
from popgrad.tasks.base import Task


@dataclass(frozen=True)
class Cluster:
    """A cluster of slots; each trains one segment at a time. All draws derive from `seed`.

    Attributes:
        speeds: Steps a second of each slot, above 0.
        overhead: Seconds of a segment besides its steps: its start and its evaluation.
        failure: Probability in [0, 1] that an attempt at a segment fails, at a random moment of it.
        preemption: Mean number of times an hour that a slot is taken away; its segment starts again
            elsewhere.
        away: Seconds until a slot that was taken away is back.
        seed: Seed of the draws.

    Raises:
        UsageError: An attribute is out of its range.
    """

    speeds: tuple[float, ...]
    overhead: float = 0.0
    failure: float = 0.0
    preemption: float = 0.0
    away: float = 600.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.speeds or not all(0 < speed < math.inf for speed in self.speeds):
            raise UsageError(
                "speeds: expected steps a second above 0, for at least one slot, "
                f"got {self.speeds!r}"
            )
        if not 0 <= self.failure <= 1:
            raise UsageError(f"failure: expected a probability in [0, 1], got {self.failure}")

        for name in ("overhead", "preemption", "away"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UsageError(f"{name}: expected a number of at least 0, got {value}")


Kind = Literal["done", "failed", "late", "preempted", "back"]


@dataclass(frozen=True)
class _Event:
    """An event of a slot at a moment.

    Attributes:
        kind: Kind of the event; a slot that is "back" is idle.
        slot: Slot, from 0.
        start: Virtual time at which the slot started the attempt.
        attempt: Attempt that ends; None for "back".
    """

    kind: Kind
    slot: int
    start: float = 0.0
    attempt: Attempt | None = None


class Simulated:
    """Trains a segment when virtual time has come to its end.

    Args:
        task: Task to train.
        devices: Devices; members take turns over them.
        save: Writes a checkpoint; None = no checkpoints are written.
        workers: Number of slots; None = those of the cluster. More than those repeat its speeds.
        deadline: Virtual seconds that a segment may take; None = no limit.
        cluster: Cluster to simulate; None = slots that make a step a second.

    Attributes:
        now: Virtual seconds since the start.
        busy: Virtual seconds that slots have spent on finished segments.
        steps: Training steps of finished segments.
        lost: Virtual seconds that slots have spent in vain.
    """

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,
        deadline: float | None = None,
        *,
        cluster: Cluster | None = None,
    ) -> None:
        self._trainer = Serial(task, devices, save)
        self._deadline = deadline
        self._cluster = cluster or Cluster((1.0,))
        speeds = self._cluster.speeds
        slots = len(speeds) if workers is None else workers
        if slots < 1:
            raise UsageError(
                f"workers: expected at least 1, got {workers}; leave it out for those of the cluster"
            )

        # The slots.
        self._speeds = [speeds[slot % len(speeds)] for slot in range(slots)]
        self._idle = list(range(slots))  # a heap
        self._preemptions = [0] * slots  # times that each has been taken away
        self._next_preemption = [self._draw_preemption(slot, 0, 0.0) for slot in range(slots)]

        # The segments, and what will happen to them.
        self._queue: TrainingQueue[Attempt] = TrainingQueue()
        self._events: list[tuple[float, int, _Event]] = []  # a heap of (time, number, event)
        self._numbers = itertools.count()
        self._training = 0

        self.now = 0.0
        self.busy = 0.0
        self.lost = 0.0
        self.steps = 0

    @property
    def fingerprint(self) -> dict[str, object]:
        """Fingerprint of this process."""
        return self._trainer.fingerprint

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments."""
        for assignment in assignments:
            self._queue.push(assignment.first_step, Attempt(assignment))

    def next(self) -> Outcome:
        """Advance the time until a segment is finished, or has failed for the last time."""
        while True:
            while self._idle and len(self._queue):
                self._start(heapq.heappop(self._idle), self._queue.pop())
            if not self._training and not len(self._queue):
                raise RunError("nothing was submitted that could finish")

            self.now, _, event = heapq.heappop(self._events)
            outcome = self._handle(event)
            if outcome is not None:
                return outcome

    # --- events -----------------------------------------------------------------------------------

    def _start(self, slot: int, attempt: Attempt) -> None:
        """Start a segment in a slot, and schedule the first event that will end it."""
        assignment = attempt.assignment
        seconds = self._cluster.overhead + assignment.steps / self._speeds[slot]
        number = len(attempt.errors)
        draw = derive(self._cluster.seed, f"fails {number}", *assignment.id) / 2**63

        kind: Kind = "done"
        end = seconds
        if draw < self._cluster.failure:
            kind = "failed"
            end = seconds * draw / self._cluster.failure
        if self._deadline is not None and end > self._deadline:
            kind = "late"
            end = self._deadline
        self._catch_up(slot)
        if self.now + end > self._next_preemption[slot]:
            kind = "preempted"
            end = max(0.0, self._next_preemption[slot] - self.now)

        self._training += 1
        self._schedule(self.now + end, _Event(kind, slot, self.now, attempt))

    def _handle(self, event: _Event) -> Outcome | None:
        """Apply an event; return the outcome if it finishes a segment."""
        if event.kind == "back" or event.attempt is None:
            heapq.heappush(self._idle, event.slot)
            return None

        self._training -= 1
        attempt = event.attempt
        assignment = attempt.assignment
        seconds = self.now - event.start
        if event.kind == "preempted":
            self.lost += seconds
            self._schedule(self._take_away(event.slot), _Event("back", event.slot))
            self._queue.push(assignment.first_step, attempt)
            return None

        heapq.heappush(self._idle, event.slot)
        telemetry = Telemetry(seconds, f"slot {event.slot}", began=event.start, task=seconds)
        if event.kind == "done":
            self.busy += seconds
            self.steps += assignment.steps
            self._trainer.submit([assignment])
            outcome = self._trainer.next()
            return replace(outcome, telemetry=replace(telemetry, curve=outcome.telemetry.curve))

        self.lost += seconds
        if event.kind == "late":
            assert self._deadline is not None
            return late_outcome(assignment.id, self._deadline, telemetry)
        settled = attempt.settle(
            Outcome(assignment.id, error="a simulated failure", telemetry=telemetry)
        )
        if isinstance(settled, Attempt):
            self._queue.push(assignment.first_step, settled)
            return None
        return settled

    def _catch_up(self, slot: int) -> None:
        """Take an idle slot away as often as it is back by now."""
        while self._next_preemption[slot] + self._cluster.away <= self.now:
            self._take_away(slot)

    def _take_away(self, slot: int) -> float:
        """Take a slot away, and return when it is back; from then on it may be taken away again."""
        back = self._next_preemption[slot] + self._cluster.away
        self._preemptions[slot] += 1
        self._next_preemption[slot] = self._draw_preemption(slot, self._preemptions[slot], back)
        return back

    def _draw_preemption(self, slot: int, times: int, since: float) -> float:
        """Draw when a slot is taken away next.

        Args:
            slot: Slot, from 0.
            times: Times that it has been taken away.
            since: Virtual time from which on it may be taken away.
        """
        if not self._cluster.preemption:
            return math.inf
        draw = (derive(self._cluster.seed, "preempted", slot, times) + 1) / (2**63 + 1)
        return since - math.log(draw) * 3600 / self._cluster.preemption

    def _schedule(self, moment: float, event: _Event) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    # --- states: those of the serial executor that trains -----------------------------------------

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the state is in this process."""
        return self._trainer.holds(segment)

    def put(self, segment: SegmentId, state: State) -> None:
        """Hold a copy of a state."""
        self._trainer.put(segment, state)

    def state(self, segment: SegmentId) -> State:
        """Return a copy of a state."""
        return self._trainer.state(segment)

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state, except those that a submitted segment has yet to start from."""
        training = [event.attempt for _, _, event in self._events if event.attempt is not None]
        sources = {attempt.assignment.source for attempt in [*training, *self._queue]}
        self._trainer.retain({*segments, *(source for source in sources if source is not None)})

    def flush(self) -> None:
        """Wait for the writer."""
        self._trainer.flush()

    def close(self) -> None:
        """Drop the states, and restore the number of threads."""
        self._queue.clear()
        self._events.clear()
        self._training = 0
        self._trainer.close()
