"""Actors, from both sides: the trainer in a process of Ray's, and who trains as the controller sees it."""

import itertools
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cloudpickle
import ray
import torch
from ray.exceptions import RayError

from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.population import Assignment, Outcome
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import Attempt, train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.interpreter import THREADS
from popgrad.executors.processes.worker import Refused, Setup
from popgrad.executors.ray.cluster import Needs, capacity
from popgrad.executors.ray.parcel import Parcel, look, pack, unpack
from popgrad.executors.writer import Writer
from popgrad.tasks.base import Sharing, Task

log = logging.getLogger("popgrad")

_SAID = 30.0
"""Seconds to wait for room before it is said; actors start in 2 to 15, most of it the import of torch."""
_STARTS = 3
"""Actors that start in the place of one another and end before they have, after which the run does."""


@dataclass(frozen=True)
class Greeting:
    """What a trainer says when it has started.

    Attributes:
        fingerprint: Of its arithmetic.
        node: Ray's name of the node it is on.
        pid: Its process there.
        address: Of the node, for people.
    """

    fingerprint: dict[str, object]
    node: str
    pid: int
    address: str


class Trainer:
    """The actor: one torch thread. What goes wrong is an answer, so that only Ray's own errors are raised.

    Args:
        setup: A `Setup`, pickled by cloudpickle.
        home: Ray's name of the node where checkpoints are written; a trainer elsewhere leaves that to the
            controller.
        data: The task's data, shared by all on a node; None = the task reads its own.
    """

    def __init__(self, setup: bytes, home: str, data: Parcel | None) -> None:
        self._refused: Refused | None = None
        self._node = str(ray.get_runtime_context().get_node_id())
        self._address = str(ray.util.get_node_ip_address())
        os.dup2(2, 1)  # Ray would put what a task prints among what the controller prints
        torch.set_num_threads(1)
        keep_memory(keep=True)
        self._writer: Writer | None = None
        try:
            self._start(cloudpickle.loads(setup), home, data)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._refused = Refused(
                UsageError(
                    f"the task cannot be loaded on the node {self._address} ({reason}); "
                    "what it is made of has to be installed on every node"
                )
            )

    def _start(self, setup: Setup, home: str, data: Parcel | None) -> None:
        sys.path[:] = [*setup.path, *(entry for entry in sys.path if entry not in setup.path)]
        torch.set_default_dtype(setup.dtype)
        torch.set_float32_matmul_precision(setup.matmul_precision)
        torch.use_deterministic_algorithms(setup.deterministic)
        self._task: Task = cloudpickle.loads(setup.task)
        if data is not None and isinstance(self._task, Sharing):
            self._task.adopt(look(data))
        if setup.save is not None and home == self._node:
            self._writer = Writer(setup.save)

    def greet(self) -> Greeting | Refused:
        """Its arithmetic and its place, or why it cannot work."""
        return self._refused or Greeting(fingerprint(), self._node, os.getpid(), self._address)

    def train(
        self, assignment: Assignment, device: str, source: Parcel | None, name: str
    ) -> tuple[Outcome | Refused, Parcel | None]:
        """Train a segment.

        Args:
            assignment: What to train.
            device: Where to compute.
            source: The state to start from; None = a fresh member.
            name: For the telemetry.

        Returns:
            The outcome, and the final state; none where there is an error.
        """
        state = None if source is None else unpack(source)
        try:
            outcome, tree, leaves = train_segment(
                self._task, assignment, state, torch.device(device), self._writer, name
            )
        except PopgradError as error:
            return Refused(error), None
        except Exception as error:  # a checkpoint's, since the task's own are in the outcome
            return Refused(RunError(f"{type(error).__name__}: {error}")), None
        return outcome, None if outcome.error else pack(tree, leaves)

    def flush(self) -> Refused | None:
        """Wait until the checkpoints are written; why one cannot be, None = all are."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except PopgradError as error:
            return Refused(error)
        except Exception as error:
            return Refused(RunError(f"{type(error).__name__}: {error}"))
        return None


@dataclass
class Actor:
    """An actor as its controller sees it.

    Attributes:
        handle: Ray's.
        name: For the telemetry.
        node: Ray's name of the node it is on.
        attempt: What it is busy with; None = it is idle.
        answer: To that, an object reference, as is `final`, to the final state.
        began: When it began with it, in seconds of `time.monotonic`.
        start: Of how many in its place that have started, from 1.
    """

    handle: Any
    name: str
    start: int
    node: str = ""
    attempt: Attempt | None = None
    answer: Any = None
    final: Any = None
    began: float = 0.0


class Actors:
    """Who trains: started where there is room, greeted once they have, let go of when they are lost.

    Args:
        setup: As `Trainer` takes it.
        home: Likewise.
        needs: What each takes.
        limit: How many at most; None = as many as there is room for.

    Attributes:
        home: Ray's name of the controller's node.
        data: The task's data, an object reference; None = there are none, or each reads its own.
        ready: Who can train, or does.
        starting: Who starts, by the reference to its greeting.
        fingerprint: Of the arithmetic of all; empty before the first has started.
    """

    def __init__(self, setup: bytes, home: str, needs: Needs, limit: int | None) -> None:
        self._setup, self.home = setup, home
        self._needs, self._limit = needs, limit
        self._numbers = itertools.count()
        self.data: Any = None
        self.ready: list[Actor] = []
        self.starting: dict[Any, Actor] = {}
        self.fingerprint: dict[str, object] = {}

    @property
    def idle(self) -> list[Actor]:
        """Who can train, and does not."""
        return [actor for actor in self.ready if actor.attempt is None]

    @property
    def busy(self) -> list[Actor]:
        """Who trains."""
        return [actor for actor in self.ready if actor.attempt is not None]

    def _hire(self, start: int = 1) -> None:
        """Start an actor, the so-manieth in its place. It may have to wait for room."""
        variables = {**THREADS, "MKL_CBWR": os.environ.get("MKL_CBWR", "AUTO")}
        remote = ray.remote(Trainer).options(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            runtime_env={"env_vars": variables},  # before the interpreter starts
        )
        handle = remote.remote(self._setup, self.home, self.data)
        self.starting[handle.greet.remote()] = Actor(handle, f"actor {next(self._numbers)}", start)

    def grow(self, wanted: int) -> None:
        """Start so many more, or as many as there is room for."""
        room = capacity(self._needs)
        room = min(room, self._limit or room) - len(self.ready) - len(self.starting)
        for _ in range(min(room, wanted)):
            self._hire()

    def wait(self) -> None:
        """Wait for the first actor."""
        patience: float | None = _SAID
        while not self.ready:
            heard, _ = ray.wait([*self.starting], timeout=patience)
            if heard:
                self.greet(heard[0])
            else:
                log.warning("waiting for actors to start: is the cluster busy? `ray status` tells")
                patience = None

    def greet(self, ref: Any) -> None:
        """Take an actor on that has started. One that cannot work is left to `close`."""
        actor = self.starting[ref]
        try:
            found = ray.get(ref)
        except RayError as error:
            del self.starting[ref]
            if actor.start < _STARTS:
                return self._hire(actor.start + 1)
            raise RunError(
                f"actors end while they start, {_STARTS} times in a row; popgrad and what the task imports "
                f"have to be installed on every node ({lines(error)[-1]})"
            ) from None
        if isinstance(found, Refused):
            raise found.error
        assert isinstance(found, Greeting)
        self.fingerprint = self.fingerprint or found.fingerprint
        if found.fingerprint != self.fingerprint:
            pairs = ((k, v, found.fingerprint.get(k)) for k, v in self.fingerprint.items())
            raise RunError(
                f"the node {found.address} computes otherwise than those before it, so that results could "
                f"not be repeated ({', '.join(f'{k} {a} and {b}' for k, a, b in pairs if a != b)}): let the "
                "cluster have one kind of CPU and one version of torch"
            )
        actor.node, actor.name = found.node, f"{actor.name} on {found.address}"
        self.ready.append(self.starting.pop(ref))

    def bury(self, actor: Actor) -> None:
        """Let go of an actor that is lost; of those that idle on its node too, which may be lost with it.

        Not of those on the controller's node, which is there as long as the controller is.
        """
        node = None if actor.node == self.home else actor.node
        for each in [a for a in self.ready if a is actor or (a.node == node and a.attempt is None)]:
            self.end(each)

    def end(self, actor: Actor) -> None:
        """End an actor, whatever it does."""
        with suppress(RayError):
            ray.kill(actor.handle, no_restart=True)
        self.ready.remove(actor)

    def close(self) -> None:
        """End all, and let go of the data."""
        self.ready += self.starting.values()
        self.starting, self.data = {}, None
        for actor in [*self.ready]:
            self.end(actor)


def lines(error: RayError) -> list[str]:
    """What Ray says, which may be pages: at least one line, each of at most 200 characters."""
    return [line[:200] for line in str(error).strip().splitlines()] or ["it does not say why"]
