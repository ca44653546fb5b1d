"""Members on a Ray cluster: actors train, states go through Ray's object store.

The controller keeps a copy of every held state in the object store of its own node. So no state is
lost with another node; the controller's node needs memory for two states per member.
"""

import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
import ray
import torch
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError

from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment, Outcome, Telemetry
from popgrad.executors.base import Attempt, Save, late_outcome
from popgrad.executors.clocks import StartClock, TrainingClock
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.ray.actor import Actor, Actors, error_lines
from popgrad.executors.ray.cluster import Needs, capacity, connect, disconnect
from popgrad.executors.ray.parcel import Parcel, pack, tensors, unpack
from popgrad.executors.remote import WorkerError, make_setup
from popgrad.executors.writer import WRITE_LIMIT, Writer
from popgrad.state import State, flatten
from popgrad.tasks.base import Sharing, Task
from popgrad.tasks.copies import pickle_task

_GROWTH_SECONDS = 1.0
"""Seconds of waiting after which a queued segment tries new nodes."""

_FLUSH_LIMIT = WRITE_LIMIT + 60.0
"""Seconds to wait for an actor that writes checkpoints; it ends its own wait before."""

_FULL_ERRORS = (ObjectStoreFullError, OutOfDiskError)
"""Errors of Ray if neither memory nor disk has room for a state; a retry would fail as well."""


@dataclass(frozen=True)
class StoredState:
    """A state in the object store.

    Attributes:
        ref: Object reference for actors; re-created if the node of the object is lost.
        parcel: The controller's own copy, which outlives any other node.
    """

    ref: Any
    parcel: Parcel


class Ray:
    """Trains in actors of a Ray cluster, as many as have room; one that is lost is replaced.

    Nodes that join are used from the next dispatch on. Actors on the controller's node, which has
    the run's directory, write their checkpoints; the controller writes those of all others.

    Args:
        task: Task to train; pickled by value if it is defined in the main module or a notebook.
        devices: Devices of an actor, as it sees them; members take turns over them.
        save: Writes a checkpoint; None = no checkpoints are written.
        workers: Maximum number of actors, at least 1; None = as many as the cluster has room for.
        deadline: Seconds that a segment may take. One that takes longer fails, ends its actor, and
            is not retrained; None = no limit.
        address: Address of the cluster, see `cluster.connect`.
        cpus: CPUs that a member takes; a fraction lets members share one.
        gpus: GPUs that a member takes; a fraction lets members share one.
        members: Size of the population; more actors would idle. None = unknown.
        pickled: Task as `pickle_task` returns it; None = it is pickled here.
        max_time: Seconds of the session; they limit the start of the first actor, see `StartClock`.

    Raises:
        UsageError: There is no such cluster, it has no room for a single member, or the task cannot
            be sent.
        RunError: No actor can start, or their arithmetic differs.
    """

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,
        deadline: float | None = None,
        *,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        members: int | None = None,
        pickled: bytes | None = None,
        max_time: float | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(
                f"workers: expected at least 1, got {workers}; leave it out for as many as fit"
            )
        self._devices = devices
        self._deadline = deadline
        self._training_clock = TrainingClock()
        self._needs = Needs(cpus, gpus)
        self._queue: TrainingQueue[Attempt] = TrainingQueue()
        self._states: dict[SegmentId, StoredState] = {}
        self._writer = None if save is None else Writer(save)
        setup = cloudpickle.dumps(make_setup(pickled or pickle_task(task), save))

        self._connected = connect(address, workers, self._needs)  # here, and not by the caller
        limit = min((count for count in (workers, members) if count is not None), default=None)
        home = str(ray.get_runtime_context().get_node_id())
        clock = StartClock(deadline, max_time)
        self._actors = Actors(setup, home, self._needs, limit, clock)
        try:
            if not capacity(self._needs):
                raise UsageError(
                    f"cpus, gpus: a member takes {cpus:g} CPUs and {gpus:g} GPUs, and no node of "
                    "the cluster has them"
                )
            if isinstance(task, Sharing):
                self._actors.data = _store(pack(*flatten(task.share())))
            self._actors.grow(sys.maxsize)
            self._actors.wait()
        except BaseException:
            self.close()
            raise

    @property
    def fingerprint(self) -> dict[str, object]:
        """Fingerprint of the actors; all have the same."""
        return self._actors.fingerprint

    # --- training ---------------------------------------------------------------------------------

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments, and start as many as there are idle actors."""
        for assignment in assignments:
            self._queue.push(assignment.first_step, Attempt(assignment))
        self._dispatch()

    def _dispatch(self) -> None:
        """Give idle actors segments from the queue; start actors for the remaining ones."""
        for actor in self._actors.idle:
            if not self._queue:
                return
            self._send(actor, self._queue.pop())
        if self._queue:
            self._actors.grow(len(self._queue) - len(self._actors.starting))

    def _send(self, actor: Actor, attempt: Attempt) -> None:
        """Let an actor train a segment."""
        assignment = attempt.assignment
        source = None if assignment.source is None else self._states[assignment.source].ref
        device = self._devices[assignment.member % len(self._devices)]
        train = actor.handle.train.options(num_returns=2)
        actor.attempt = attempt
        actor.started = time.monotonic()
        actor.outcome, actor.final = train.remote(assignment, str(device), source, actor.name)

    def next(self) -> Outcome:
        """Wait for the next segment that any actor finishes, or fails for the last time."""
        while True:
            self._dispatch()
            busy = {actor.outcome: actor for actor in self._actors.busy}
            starting = self._actors.starting
            self._check_can_finish(busy)

            answered, _ = ray.wait([*busy, *starting], timeout=self._timeout(busy.values()))
            if not answered:
                for actor in busy.values():
                    assert actor.attempt is not None
                    self._training_clock.check(actor.started, actor.attempt.assignment)
                late = [actor for actor in busy.values() if self._seconds_left(actor) <= 0]
                if late:
                    return self._end_late(late[0])
            elif answered[0] in starting:
                self._actors.add_started(answered[0])
            else:
                outcome = self._receive(busy[answered[0]])
                if outcome is not None:
                    self._dispatch()
                    return outcome

    def _check_can_finish(self, busy: Collection[Any]) -> None:
        """Raise `RunError` if there is nothing to wait for."""
        if not busy and not self._queue:
            raise RunError("nothing was submitted that could finish")
        if not busy and not capacity(self._needs):
            raise RunError(
                "the cluster has no node left that can train; resume the run when it has one"
            )

    def _seconds_left(self, actor: Actor) -> float:
        """Return the seconds until an actor's deadline."""
        if self._deadline is None:
            return float("inf")
        return actor.started + self._deadline - time.monotonic()

    def _timeout(self, busy: Iterable[Actor]) -> float | None:
        """Return the seconds to wait for an answer, until there is something else to do; None = no limit."""
        times = [self._seconds_left(actor) for actor in busy if self._deadline is not None]
        if self._queue:
            times.append(_GROWTH_SECONDS)
        for actor in busy:
            assert actor.attempt is not None
            slow = self._training_clock.seconds_left(actor.started, actor.attempt.assignment)
            times += [] if slow is None else [slow]
        return max(0.0, min(times)) if times else None

    def _end_late(self, actor: Actor) -> Outcome:
        """End an actor that is over its deadline; another one takes its place."""
        assert self._deadline is not None
        assert actor.attempt is not None
        seconds = time.monotonic() - actor.started
        self._actors.end(actor)
        self._dispatch()
        segment = actor.attempt.assignment.id
        late = Telemetry(seconds, "given up", began=time.time() - seconds)
        return late_outcome(segment, self._deadline, late)

    def _receive(self, actor: Actor) -> Outcome | None:
        """Take an actor's answer; return the outcome, or None if the segment is retrained."""
        attempt = actor.attempt
        assert attempt is not None
        assignment = attempt.assignment
        try:
            answer, parcel = ray.get([actor.outcome, actor.final])
        except _FULL_ERRORS:
            raise _no_room() from None
        except RayError as error:
            answer = self._lose(actor, assignment, error)
            parcel = None
        self._training_clock.add(time.monotonic() - actor.started)
        ref = actor.final
        actor.attempt = None
        actor.outcome = None
        actor.final = None

        if isinstance(answer, WorkerError):
            raise answer.error
        if parcel is not None:
            self._states.setdefault(answer.id, StoredState(ref, parcel))
            away = actor.node != self._actors.home
            if self._writer is not None and assignment.checkpoint and away:
                self._writer(answer.digest, parcel.tree, tensors(parcel))

        settled = attempt.settle(answer)
        if isinstance(settled, Attempt):
            self._queue.push(settled.assignment.first_step, settled, retry=True)
            return None
        return settled

    def _lose(self, actor: Actor, assignment: Assignment, error: RayError) -> Outcome:
        """Drop an actor that is lost, and return the failure of its segment."""
        self._actors.drop(actor)
        self._store_again(assignment.source)
        seconds = time.monotonic() - actor.started
        telemetry = Telemetry(seconds, actor.name, began=time.time() - seconds)
        reason = f"{actor.name} was lost: {type(error).__name__}: {error_lines(error)[0]}"
        return Outcome(assignment.id, error=reason, telemetry=telemetry)

    # --- states -----------------------------------------------------------------------------------

    def _store_again(self, segment: SegmentId | None) -> None:
        """Re-create the object of a state, which may have been lost with a node."""
        if segment is not None:
            parcel = self._states[segment].parcel
            self._states[segment] = StoredState(_store(parcel), parcel)

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the controller has the state."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Put the state into the object store."""
        if segment not in self._states:
            ref = _store(pack(*flatten(state)))
            self._states[segment] = StoredState(ref, ray.get(ref))

    def state(self, segment: SegmentId) -> State:
        """Return a copy of the state."""
        return unpack(self._states[segment].parcel)

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state, except those that a submitted segment has yet to start from."""
        busy = [actor.attempt for actor in self._actors.busy if actor.attempt is not None]
        kept = {*segments, *(attempt.assignment.source for attempt in [*busy, *self._queue])}
        self._states = {
            segment: stored for segment, stored in self._states.items() if segment in kept
        }

    def flush(self) -> None:
        """Wait until every actor and the controller have written their checkpoints.

        An actor that is lost has none to write.
        """
        errors: list[PopgradError | KeyboardInterrupt] = []
        flushes = [(actor, actor.handle.flush.remote()) for actor in self._actors.idle]
        for actor, ref in flushes:
            try:
                answer = ray.get(ref, timeout=_FLUSH_LIMIT)
            except RayError:  # also if there is no answer in that time
                self._actors.drop(actor)
            else:
                if isinstance(answer, WorkerError):
                    errors.append(answer.error)

        if self._writer is not None:
            self._writer.flush()
        if errors:
            raise errors[0]

    def close(self) -> None:
        """End the actors, even if they train, and leave the cluster."""
        self._actors.close()
        if self._writer is not None:
            self._writer.close()
        self._queue.clear()
        self._states = {}  # before their memory is unmapped
        if self._connected:
            disconnect()
        self._connected = False


def _store(parcel: Parcel) -> Any:
    """Put a parcel into the object store, and return its reference.

    Raises:
        RunError: There is no room.
    """
    try:
        return ray.put(parcel)
    except _FULL_ERRORS:
        raise _no_room() from None


def _no_room() -> RunError:
    return RunError(
        "neither Ray's object store nor the disk behind it has room for the states; give it more "
        "memory (`ray start --object-store-memory`), or train a smaller population or model"
    )
