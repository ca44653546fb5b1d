"""Members on a Ray cluster: actors train, states go through Ray's object store.

The controller keeps a copy of every state that is held, in the object store of its own node. So whatever node
is lost, no state is; and the controller's node needs memory for two states a member.
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
from popgrad.core.population import Assignment, Outcome, SegmentId, Telemetry
from popgrad.executors.base import Attempt, Save
from popgrad.executors.processes.worker import Refused, Setup
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.ray.actor import Actor, Actors, lines
from popgrad.executors.ray.cluster import Needs, capacity, connect, disconnect
from popgrad.executors.ray.parcel import Parcel, pack, tensors, unpack
from popgrad.executors.remote import pickle_task
from popgrad.executors.writer import Writer
from popgrad.state import State, flatten
from popgrad.tasks.base import Sharing, Task

_LOOK = 1.0
"""Seconds after which somebody who waits looks whether the cluster has grown."""
_FULL = (ObjectStoreFullError, OutOfDiskError)
"""What Ray raises where neither memory nor the disk behind it has room for a state; it would again."""


@dataclass(frozen=True)
class Held:
    """A state that is held.

    Attributes:
        ref: By which actors get it; where the node is lost that had it, it is put anew.
        parcel: The controller's own copy, which outlives any other node.
    """

    ref: Any
    parcel: Parcel


class Ray:
    """Trains in actors of a Ray cluster, wherever there is room; one that is lost is replaced.

    Nodes that join are used from the next dispatch on. Checkpoints are written by the actors on the
    controller's node, where the run's directory is, and by the controller for all others.

    Args:
        task: What is trained; pickled by value where it is defined in the main module or a notebook.
        devices: Of an actor, as it sees them; members take turns over them.
        save: Writes a checkpoint; None = none are written.
        workers: Actors at most, at least 1; None = as many as the cluster has room for.
        deadline: Seconds that a segment may take. One that takes longer is given up, with its actor, and not
            trained again; None = as long as it takes.
        address: Of the cluster, as `ray_cluster.connect` takes it.
        cpus: That a member takes; a fraction lets members share one.
        gpus: Likewise.
        members: To train; more actors would idle. None = not known.
        pickled: The task as `pickle_task` returns it, if the caller has it already.

    Raises:
        UsageError: There is no such cluster, it has no room for a single member, or the task cannot be sent.
        RunError: No actor can start, or they compute differently.
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
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers}: at least 1 (leave it out for as many as fit)")
        self._devices, self._deadline = devices, deadline
        limit = min((n for n in (workers, members) if n is not None), default=None)
        self._needs = Needs(cpus, gpus)
        self._queue: TrainingQueue[Attempt] = TrainingQueue()
        self._states: dict[SegmentId, Held] = {}
        self._writer = None if save is None else Writer(save)
        setup = cloudpickle.dumps(_setup(pickled or pickle_task(task), save))
        self._ours = connect(address, workers, self._needs)
        self._actors = Actors(
            setup, str(ray.get_runtime_context().get_node_id()), self._needs, limit
        )
        try:
            if not capacity(self._needs):
                raise UsageError(
                    f"cpus, gpus: a member takes {cpus:g} CPUs and {gpus:g} GPUs, and no node of the cluster "
                    "has them"
                )
            if isinstance(task, Sharing):
                self._actors.data = _stored(pack(*flatten(task.share())))
            self._actors.grow(sys.maxsize)
            self._actors.wait()
        except BaseException:
            self.close()
            raise

    @property
    def fingerprint(self) -> dict[str, object]:
        """Of the actors, which are alike."""
        return self._actors.fingerprint

    # --- what they do ---------------------------------------------------------------------------------------

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments, and start as many as there are idle actors."""
        for assignment in assignments:
            self._queue.push(assignment.first_step, Attempt(assignment))
        self._dispatch()

    def _dispatch(self) -> None:
        for actor in self._actors.idle:
            if not self._queue:
                return
            self._send(actor, self._queue.pop())
        if self._queue:
            self._actors.grow(len(self._queue) - len(self._actors.starting))

    def _send(self, actor: Actor, attempt: Attempt) -> None:
        assignment = attempt.assignment
        source = None if assignment.source is None else self._states[assignment.source].ref
        device = self._devices[assignment.member % len(self._devices)]
        train = actor.handle.train.options(num_returns=2)
        actor.attempt, actor.began = attempt, time.monotonic()
        actor.answer, actor.final = train.remote(assignment, str(device), source, actor.name)

    def next(self) -> Outcome:
        """Wait for the next segment that any actor finishes, or fails for the last time."""
        while True:
            self._dispatch()
            busy, starting = (
                {actor.answer: actor for actor in self._actors.busy},
                self._actors.starting,
            )
            self._check_hope(busy)
            heard, _ = ray.wait([*busy, *starting], timeout=self._patience(busy.values()))
            if heard and heard[0] in starting:
                self._actors.greet(heard[0])
            elif heard:
                settled = self._take(busy[heard[0]])
                if settled is not None:
                    self._dispatch()
                    return settled
            elif late := [actor for actor in busy.values() if self._left(actor) <= 0]:
                return self._give_up(late[0])

    def _check_hope(self, busy: Collection[Any]) -> None:
        """Raises `RunError` where there is nothing to wait for."""
        if not busy and not self._queue:
            raise RunError("nothing was submitted that could finish")
        if not busy and not capacity(self._needs):
            raise RunError(
                "no node is left in the cluster that could train; resume the run when there is one"
            )

    def _left(self, actor: Actor) -> float:
        """Seconds until an actor's deadline."""
        return (
            float("inf")
            if self._deadline is None
            else actor.began + self._deadline - time.monotonic()
        )

    def _patience(self, busy: Iterable[Actor]) -> float | None:
        """Seconds to wait; None = until somebody answers."""
        times = [self._left(actor) for actor in busy if self._deadline is not None]
        if self._queue:
            times.append(_LOOK)
        return max(0.0, min(times)) if times else None

    def _give_up(self, actor: Actor) -> Outcome:
        """End an actor that is over its deadline; another one takes its place."""
        assert actor.attempt is not None
        seconds = time.monotonic() - actor.began
        self._actors.end(actor)
        self._dispatch()
        why = f"the segment took longer than the deadline of {self._deadline:g} s"
        return Outcome(
            actor.attempt.assignment.id, error=why, telemetry=Telemetry(seconds, "given up")
        )

    def _take(self, actor: Actor) -> Outcome | None:
        """An actor's answer; None where the segment is trained again."""
        attempt = actor.attempt
        assert attempt is not None
        try:
            answer, parcel = ray.get([actor.answer, actor.final])
        except _FULL:
            raise _no_room() from None
        except RayError as error:
            self._actors.bury(actor)
            self._renew(attempt.assignment.source)
            seconds = time.monotonic() - actor.began
            facts = Telemetry(seconds, actor.name)
            why = f"{actor.name} was lost: {type(error).__name__}: {lines(error)[0]}"
            answer, parcel = Outcome(attempt.assignment.id, error=why, telemetry=facts), None
        ref = actor.final
        actor.attempt = actor.answer = actor.final = None
        if isinstance(answer, Refused):
            raise answer.error
        if parcel is not None:
            self._states.setdefault(answer.id, Held(ref, parcel))
            if (
                self._writer is not None
                and attempt.assignment.checkpoint
                and actor.node != self._actors.home
            ):
                self._writer(answer.digest, parcel.tree, tensors(parcel))
        settled = attempt.settle(answer)
        if isinstance(settled, Outcome):
            return settled
        self._queue.push(settled.assignment.first_step, settled)
        return None

    # --- states ---------------------------------------------------------------------------------------------

    def _renew(self, segment: SegmentId | None) -> None:
        """Put a state into the object store again, which may have been lost with a node."""
        if segment is not None:
            parcel = self._states[segment].parcel
            self._states[segment] = Held(_stored(parcel), parcel)

    def holds(self, segment: SegmentId) -> bool:
        """Whether the controller has the state."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Put the state into the object store."""
        if segment not in self._states:
            ref = _stored(pack(*flatten(state)))
            self._states[segment] = Held(ref, ray.get(ref))

    def state(self, segment: SegmentId) -> State:
        """A copy."""
        return unpack(self._states[segment].parcel)

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Let go of every other state, but for those that a segment has yet to start from."""
        busy = [actor.attempt for actor in self._actors.busy if actor.attempt is not None]
        kept = {*segments, *(attempt.assignment.source for attempt in [*busy, *self._queue])}
        self._states = {segment: held for segment, held in self._states.items() if segment in kept}

    def flush(self) -> None:
        """Ask every actor, then write what the controller has; one that is lost has nothing to write."""
        refused: list[PopgradError] = []
        for actor, ref in [(a, a.handle.flush.remote()) for a in self._actors.idle]:
            try:
                if found := ray.get(ref):
                    refused.append(found.error)
            except RayError:
                self._actors.bury(actor)
        if self._writer is not None:
            self._writer.flush()
        if refused:
            raise refused[0]

    def close(self) -> None:
        """End the actors, whatever they do, and leave the cluster."""
        self._actors.close()
        if self._writer is not None:
            self._writer.close()
        self._queue.clear()
        self._states = {}  # before the memory is unmapped that they lie in
        if self._ours:
            disconnect()
        self._ours = False


def _stored(parcel: Parcel) -> Any:
    """A reference to it in the object store. Raises `RunError` where there is no room."""
    try:
        return ray.put(parcel)
    except _FULL:
        raise _no_room() from None


def _no_room() -> RunError:
    return RunError(
        "neither Ray's object store nor the disk behind it has room for the states; give it more memory "
        "(`ray start --object-store-memory`), or train a smaller population or model"
    )


def _setup(task: bytes, save: Save | None) -> Setup:
    deterministic = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision()
    return Setup(
        "", task, save, tuple(sys.path), torch.get_default_dtype(), precision, deterministic
    )
