"""A cluster that is only imagined: virtual time, real strategies, engine and journal.

It is the test bed for members that are unequally fast, fail, or lose their machine; and the means to plan for
a cluster that nobody here has. Segments are really trained, one after the other, when their time has come:
give it a task that costs nothing.
"""

import heapq
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Assignment, Outcome, SegmentId, Telemetry
from popgrad.core.seeding import derive
from popgrad.executors.base import Attempt, Save
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.serial import Serial
from popgrad.state import State
from popgrad.tasks.base import Task


@dataclass(frozen=True)
class Cluster:
    """What is assumed. All draws derive from `seed`.

    Attributes:
        speeds: Of each slot, above 0: steps a second.
        overhead: Seconds of each segment besides its steps: to begin, to evaluate.
        failure: Chance in [0, 1] that an attempt at a segment fails, at a random moment of it.
        preemption: Times an hour that a slot is taken away, on average; its segment begins again elsewhere.
        away: Seconds until it is back.
        seed: Of what is drawn.

    Raises:
        UsageError: One of them is not in its range.
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
                f"speeds: given {self.speeds!r}; steps a second above 0, for at least one slot"
            )
        if not 0 <= self.failure <= 1:
            raise UsageError(f"failure: given {self.failure}; a chance in [0, 1]")
        for name in ("overhead", "preemption", "away"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}: given {getattr(self, name)}; 0 or more")


Kind = Literal["done", "failed", "late", "preempted", "back"]


@dataclass(frozen=True)
class _Event:
    kind: Kind
    slot: int
    began: float = 0.0
    attempt: Attempt | None = None


class Simulated:
    """Trains when virtual time has come to the end of a segment.

    Args:
        task: What is trained.
        devices: As for every executor.
        save: Writes a checkpoint; None = none are written.
        workers: Slots; None = as many as the cluster has. More than that repeat its speeds.
        deadline: Virtual seconds that a segment may take; None = as long as it takes.
        cluster: What is assumed; None = slots that make a step a second.

    Attributes:
        now: Virtual seconds since the beginning.
        busy: Virtual seconds that slots have trained for what was finished.
        steps: Training steps of what was finished.
        lost: Virtual seconds that slots have trained in vain.
    """

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,
        deadline: float | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self._trainer = Serial(task, devices, save)
        self._deadline = deadline
        self._cluster = cluster or Cluster((1.0,))
        speeds = self._cluster.speeds
        slots = len(speeds) if workers is None else workers
        if slots < 1:
            raise UsageError(
                f"workers is {workers}: at least 1 (leave it out for those of the cluster)"
            )
        self._speeds = [speeds[slot % len(speeds)] for slot in range(slots)]
        self._line: TrainingQueue[Attempt] = TrainingQueue()
        self._events: list[tuple[float, int, _Event]] = []
        self._numbers = itertools.count()
        self._idle = list(range(slots))
        self._leaves = [self._leave(slot, 0, 0.0) for slot in range(slots)]
        self._left = [0] * slots
        self._training = 0
        self.now = self.busy = self.lost = 0.0
        self.steps = 0

    @property
    def fingerprint(self) -> dict[str, object]:
        """Of this process."""
        return self._trainer.fingerprint

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Let segments wait for a slot."""
        for assignment in assignments:
            self._line.push(assignment.first_step, Attempt(assignment))

    def next(self) -> Outcome:
        """Let time pass until a segment is finished, or has failed for the last time."""
        while True:
            while self._idle and len(self._line):
                self._begin(heapq.heappop(self._idle), self._line.pop())
            if not self._training and not len(self._line):
                raise RunError("nothing was submitted that could finish")
            self.now, _, event = heapq.heappop(self._events)
            outcome = self._happen(event)
            if outcome is not None:
                return outcome

    def _begin(self, slot: int, attempt: Attempt) -> None:
        """What will happen first to a segment that begins in a slot now."""
        assignment = attempt.assignment
        seconds = self._cluster.overhead + assignment.steps / self._speeds[slot]
        tried = len(attempt.errors)
        draw = derive(self._cluster.seed, f"fails {tried}", *assignment.id) / 2**63
        kind, end = "done", seconds
        if draw < self._cluster.failure:
            kind, end = "failed", seconds * draw / self._cluster.failure
        if self._deadline is not None and end > self._deadline:
            kind, end = "late", self._deadline
        self._catch_up(slot)
        if self.now + end > self._leaves[slot]:
            kind, end = "preempted", max(0.0, self._leaves[slot] - self.now)
        self._training += 1
        self._at(self.now + end, _Event(kind, slot, self.now, attempt))  # type: ignore[arg-type]

    def _happen(self, event: _Event) -> Outcome | None:
        seconds = self.now - event.began
        if event.kind == "back" or event.attempt is None:
            heapq.heappush(self._idle, event.slot)
            return None
        self._training -= 1
        assignment = event.attempt.assignment
        if event.kind == "preempted":
            self.lost += seconds
            self._at(self._back(event.slot), _Event("back", event.slot))
            self._line.push(assignment.first_step, event.attempt)
            return None
        heapq.heappush(self._idle, event.slot)
        facts = Telemetry(seconds, f"slot {event.slot}")
        if event.kind == "done":
            self.busy += seconds
            self.steps += assignment.steps
            self._trainer.submit([assignment])
            trained = self._trainer.next()
            return replace(trained, telemetry=replace(facts, curve=trained.telemetry.curve))
        self.lost += seconds
        if event.kind == "late":
            why = f"the segment took longer than the deadline of {self._deadline:g} s"
            return Outcome(assignment.id, error=why, telemetry=facts)
        settled = event.attempt.settle(
            Outcome(assignment.id, error="a simulated failure", telemetry=facts)
        )
        if isinstance(settled, Outcome):
            return settled
        self._line.push(assignment.first_step, settled)
        return None

    def _catch_up(self, slot: int) -> None:
        """A slot may have been taken away while it was idle, and be back by now."""
        while self._leaves[slot] + self._cluster.away <= self.now:
            self._back(slot)

    def _back(self, slot: int) -> float:
        """When a slot that was taken away is back; from there on it may be taken away again."""
        back = self._leaves[slot] + self._cluster.away
        self._left[slot] += 1
        self._leaves[slot] = self._leave(slot, self._left[slot], back)
        return back

    def _leave(self, slot: int, times: int, since: float) -> float:
        """When a slot is taken away next."""
        if not self._cluster.preemption:
            return math.inf
        draw = (derive(self._cluster.seed, "preempted", slot, times) + 1) / (2**63 + 1)
        return since - math.log(draw) * 3600 / self._cluster.preemption

    def _at(self, when: float, event: _Event) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event))

    # --- states: those of the process that trains ---------------------------------------------------------

    def holds(self, segment: SegmentId) -> bool:
        """Whether the state is in this process."""
        return self._trainer.holds(segment)

    def put(self, segment: SegmentId, state: State) -> None:
        """Keep a copy."""
        self._trainer.put(segment, state)

    def state(self, segment: SegmentId) -> State:
        """A copy."""
        return self._trainer.state(segment)

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Let every other state go, but for those that somebody has yet to start from."""
        training = [event.attempt for _, _, event in self._events if event.attempt is not None]
        sources = {attempt.assignment.source for attempt in [*training, *self._line]}
        self._trainer.retain({*segments, *(source for source in sources if source is not None)})

    def flush(self) -> None:
        """Wait for the writer."""
        self._trainer.flush()

    def close(self) -> None:
        """Give the threads back."""
        self._line.clear()
        self._events.clear()
        self._training = 0
        self._trainer.close()
