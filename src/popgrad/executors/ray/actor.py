"""Actors from both sides: the trainer in its process, and the actors that a controller sees."""

import itertools
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import cloudpickle
import ray
import torch
from ray.exceptions import RayError

from popgrad.core.errors import RunError
from popgrad.core.segment import Assignment, Outcome
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import Attempt, train_segment
from popgrad.executors.clocks import StartClock
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.interpreter import THREADS
from popgrad.executors.ray.cluster import Needs, capacity
from popgrad.executors.ray.parcel import Parcel, alias, pack, unpack
from popgrad.executors.remote import Setup, WorkerError, apply_setup
from popgrad.executors.writer import Writer

_FIRST = "the first actor (`ray status` shows whether the cluster is busy)"

_MAX_STARTS = 3
"""Starts of an actor in one position that may fail, after which the run ends."""


@dataclass(frozen=True)
class TrainerInfo:
    """Description of a trainer that has started.

    Attributes:
        fingerprint: Fingerprint of its process.
        node: Ray's name of its node.
        address: Address of that node.
    """

    fingerprint: dict[str, object]
    node: str
    address: str


class Trainer:
    """The actor: one torch thread. It answers with its errors, so that only Ray's own are raised.

    Args:
        setup: A `Setup`, pickled by cloudpickle.
        home: Ray's name of the node that writes checkpoints; on others, the controller writes them.
        data: The task's data, shared by all trainers on a node; None = the task reads its own.
    """

    def __init__(self, setup: bytes, home: str, data: Parcel | None) -> None:
        self._node = str(ray.get_runtime_context().get_node_id())
        self._address = str(ray.util.get_node_ip_address())
        self._writer: Writer | None = None
        self._error: WorkerError | None = None

        # Ray would mix the task's output with the controller's.
        os.dup2(2, 1)
        torch.set_num_threads(1)
        keep_memory(keep=True)
        try:
            self._start(cloudpickle.loads(setup), home, data)
        except BaseException as error:
            self._error = WorkerError.cannot_load(
                error, f"on the node {self._address}", "install what it imports on every node"
            )

    def _start(self, setup: Setup, home: str, data: Parcel | None) -> None:
        """Load the task, and start the writer if checkpoints are written on this node."""
        self._task = apply_setup(setup, None if data is None else partial(alias, data))
        if setup.save is not None and home == self._node:
            self._writer = Writer(setup.save)

    def info(self) -> TrainerInfo | WorkerError:
        """Return the description of this trainer, or the reason for which it cannot work."""
        return self._error or TrainerInfo(fingerprint(), self._node, self._address)

    def train(
        self, assignment: Assignment, device: str, source: Parcel | None, name: str
    ) -> tuple[Outcome | WorkerError, Parcel | None]:
        """Train a segment.

        Args:
            assignment: Segment to train.
            device: Device to compute on.
            source: State to start from; None = a fresh member.
            name: Name of the actor, for the telemetry.

        Returns:
            The outcome, and the final state; None if there is an error.
        """
        state = None if source is None else unpack(source)
        try:
            outcome, tree, leaves = train_segment(
                self._task, assignment, state, torch.device(device), self._writer, name
            )
        except BaseException as error:
            # Exceptions of the task's own functions are not raised, but in the outcome; but for
            # KeyboardInterrupt, which ends the run like Ctrl-C.
            return WorkerError.of(error), None
        return outcome, None if outcome.error else pack(tree, leaves)

    def flush(self) -> WorkerError | None:
        """Wait until the checkpoints are written; return an error if one cannot be."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except Exception as error:
            return WorkerError.of(error)
        return None


@dataclass
class Actor:
    """An actor as its controller sees it.

    Attributes:
        handle: Ray's handle of the actor.
        name: Name for the telemetry.
        starts: Actors that have been started in this position, with this one; from 1.
        node: Ray's name of its node; "" = it is starting.
        attempt: Segment that it trains; None = it is idle.
        outcome: Reference to the outcome of that segment; None = it is idle.
        final: Reference to the final state of that segment; None = it is idle.
        started: Start of the attempt, in seconds of `time.monotonic`.
    """

    handle: Any
    name: str
    starts: int
    node: str = ""
    attempt: Attempt | None = None
    outcome: Any = None
    final: Any = None
    started: float = 0.0


class Actors:
    """The actors of a controller: started if there is room, dropped if they are lost.

    Args:
        setup: Argument `setup` of a `Trainer`.
        home: Ray's name of the controller's node.
        needs: Resources of an actor.
        limit: Maximum number of actors; None = as many as there is room for.
        clock: Limits the start of the first actor.

    Attributes:
        home: Ray's name of the controller's node.
        data: Reference to the task's data; None = the task reads its own, or has none.
        ready: Actors that have started.
        starting: Actors that start, by the reference to their `TrainerInfo`.
        fingerprint: Fingerprint of all actors; empty before the first has started.
    """

    def __init__(
        self, setup: bytes, home: str, needs: Needs, limit: int | None, clock: StartClock
    ) -> None:
        self._setup = setup
        self._clock = clock
        self._needs = needs
        self._limit = limit
        self._numbers = itertools.count()  # of the actors, for their names
        self.home = home
        self.data: Any = None
        self.ready: list[Actor] = []
        self.starting: dict[Any, Actor] = {}
        self.fingerprint: dict[str, object] = {}

    @property
    def idle(self) -> list[Actor]:
        """Actors that can train, and do not."""
        return [actor for actor in self.ready if actor.attempt is None]

    @property
    def busy(self) -> list[Actor]:
        """Actors that train."""
        return [actor for actor in self.ready if actor.attempt is not None]

    def grow(self, wanted: int) -> None:
        """Start `wanted` more actors, or as many as there is room for."""
        room = capacity(self._needs)
        room = min(room, self._limit or room) - len(self.ready) - len(self.starting)
        for _ in range(min(room, wanted)):
            self._start_actor()

    def _start_actor(self, starts: int = 1) -> None:
        """Start an actor, which may wait for room; `starts` counts starts in its position."""
        variables = {**THREADS, "MKL_CBWR": os.environ.get("MKL_CBWR", "AUTO")}
        remote = ray.remote(Trainer).options(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            runtime_env={"env_vars": variables},  # before the interpreter starts
        )
        handle = remote.remote(self._setup, self.home, self.data)
        self.starting[handle.info.remote()] = Actor(handle, f"actor {next(self._numbers)}", starts)

    def wait(self) -> None:
        """Wait for the first actor that has started.

        Raises:
            RunError: None has started within the limit of the clock.
        """
        begin = time.monotonic()
        while not self.ready:
            left = self._clock.seconds_left(begin, _FIRST)
            answered, _ = ray.wait([*self.starting], timeout=left)
            if answered:
                self.add_started(answered[0])
            else:
                self._clock.check(begin, _FIRST, "waits for room, or loads the task")

    def add_started(self, ref: Any) -> None:
        """Make an actor ready that has answered; start another if it has ended instead.

        Args:
            ref: Key of the actor in `starting`.

        Raises:
            RunError: Actors in this position have ended too often, or this one's arithmetic
                differs. The actor is left to `close`.
            PopgradError: The actor cannot load the task.
        """
        actor = self.starting[ref]
        try:
            info = ray.get(ref)
        except RayError as error:
            del self.starting[ref]
            if actor.starts < _MAX_STARTS:
                return self._start_actor(actor.starts + 1)
            raise RunError(
                f"actors end while they start, {_MAX_STARTS} times in a row; popgrad and what the "
                f"task imports must be installed on every node ({error_lines(error)[-1]})"
            ) from None

        if isinstance(info, WorkerError):
            raise info.error
        assert isinstance(info, TrainerInfo)
        self.fingerprint = self.fingerprint or info.fingerprint
        self._check_arithmetic(info)
        actor.node = info.node
        actor.name = f"{actor.name} on {info.address}"
        self.ready.append(self.starting.pop(ref))

    def _check_arithmetic(self, info: TrainerInfo) -> None:
        """Refuse a trainer whose results would differ from those of the others."""
        if info.fingerprint == self.fingerprint:
            return
        pairs = ((key, value, info.fingerprint.get(key)) for key, value in self.fingerprint.items())
        differences = ", ".join(f"{key} {a} and {b}" for key, a, b in pairs if a != b)
        raise RunError(
            f"the arithmetic of the node {info.address} differs from that of the nodes before it, "
            f"so that results could not be repeated ({differences}); use one kind of CPU and one "
            "version of torch"
        )

    def drop(self, actor: Actor) -> None:
        """End an actor that is lost, and the idle ones on its node, which may be lost with it.

        On the controller's node only the actor itself ends: that node cannot be lost.
        """
        node = None if actor.node == self.home else actor.node
        lost = [
            other
            for other in self.ready
            if other is actor or (other.node == node and other.attempt is None)
        ]
        for other in lost:
            self.end(other)

    def end(self, actor: Actor) -> None:
        """End an actor, even if it trains."""
        with suppress(RayError):
            ray.kill(actor.handle, no_restart=True)
        self.ready.remove(actor)

    def close(self) -> None:
        """End all actors, and drop the data."""
        self.ready += self.starting.values()
        self.starting = {}
        self.data = None
        for actor in [*self.ready]:
            self.end(actor)


def error_lines(error: RayError) -> list[str]:
    """Return the lines of Ray's message: at least one, each of at most 200 characters."""
    return [line[:200] for line in str(error).strip().splitlines()] or ["no reason given"]
