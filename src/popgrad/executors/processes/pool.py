"""A pool of persistent worker processes, one torch thread each; members wait in memory for their turn."""

import itertools
import pickle
import resource
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait

import cloudpickle
import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Assignment, Outcome, SegmentId, Telemetry
from popgrad.executors.base import Attempt, Save
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.executors.processes.process import Process
from popgrad.executors.processes.shared_memory import Layout, SharedState, layout
from popgrad.executors.processes.worker import Done, Flushed, Job, Refused, Setup
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.remote import pickle_task
from popgrad.hardware import available_cores
from popgrad.state import State, flatten, unflatten
from popgrad.tasks.base import Sharing, Task


def _limit_files(soft: int) -> int | None:
    """Set how many files may be open; returns how many it were, None where nothing has changed."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if soft == resource.RLIM_INFINITY else soft
    if before == wanted:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS refuses "unlimited"
        return None
    return before


class Processes:
    """Trains in `workers` processes. They are started once; one that dies is replaced.

    Args:
        task: What is trained; pickled by value where it is defined in the main module or a notebook.
        devices: Members take turns over them.
        save: Writes a checkpoint, in the worker; None = none are written.
        workers: How many, at least 1; None = one per core.
        deadline: Seconds that a segment may take. One that takes longer is given up, with its worker, and not
            trained again; None = as long as it takes.
        pickled: The task as `pickle_task` returns it, if the caller has it already.

    Raises:
        UsageError: The task cannot be sent to another process, or `workers` is less than 1.
        RunError: The workers' arithmetic differs from this process's, or one ends while it starts.
    """

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,
        deadline: float | None = None,
        *,
        pickled: bytes | None = None,
    ) -> None:
        self._devices, self._deadline = devices, deadline
        self._queue: TrainingQueue[Attempt] = TrainingQueue()
        self._states: dict[SegmentId, tuple[SharedState, Layout]] = {}
        self._free: list[SharedState] = []
        self._workers: list[Process] = []
        self._count = available_cores() if workers is None else workers
        if self._count < 1:
            raise UsageError(f"workers is {workers}: at least 1 (leave it out for one per core)")
        self._data: SharedState | None = None
        self._setup = _setup(pickled or pickle_task(task), save)
        if isinstance(task, Sharing):
            self._setup = replace(self._setup, data=self._share(task))
        self._numbers = itertools.count()
        self.fingerprint = fingerprint_with()
        # Each state that is held takes a file descriptor, and 1,024 are the usual limit.
        self._files = _limit_files(resource.RLIM_INFINITY)
        self._start()

    def _share(self, task: Sharing) -> tuple[str, Layout]:
        """Put the task's data where the workers find it. This process then uses the same memory."""
        tree, leaves = flatten(task.share())
        where = layout(tree, leaves)
        self._data = SharedState()
        self._data.write(where, leaves)
        task.adopt(unflatten(tree, self._data.look(where)))
        return self._data.path, where

    def _start(self) -> None:
        """Start the workers that are missing, all at once. Where one cannot work, all are closed."""
        try:
            new = []
            while len(self._workers) < self._count:
                new.append(Process())
                self._workers.append(new[-1])
            for worker in new:
                setup = replace(self._setup, name=f"worker {next(self._numbers)}")
                worker.send(cloudpickle.dumps(setup))
            for worker in new:
                self._greet(worker)
        except BaseException:
            self.close()
            raise

    def _greet(self, worker: Process) -> None:
        try:
            found = worker.receive()
        except EOFError:
            raise RunError(f"{_end(worker)} while it was starting") from None
        if isinstance(found, Refused):
            raise found.error
        if found != self.fingerprint:
            raise RunError(
                "the arithmetic of a worker process differs from this process's, so that results could "
                "not be repeated; import popgrad before anything is computed with torch, or set "
                f"MKL_CBWR=AUTO in the environment ({found} here {self.fingerprint})"
            )

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments, and start as many as there are idle workers."""
        for assignment in assignments:
            self._queue.push(assignment.first_step, Attempt(assignment))
        self._dispatch()

    def _dispatch(self) -> None:
        if self._queue and len(self._workers) < self._count:
            self._start()
        for worker in self._workers:
            if not self._queue:
                return
            if worker.attempt is None:
                worker.attempt, worker.began = self._queue.pop(), time.monotonic()
                assignment, source = worker.attempt.assignment, None
                if assignment.source is not None:
                    slot, where = self._states[assignment.source]
                    source = slot.path, where
                device = self._devices[assignment.member % len(self._devices)]
                worker.slot = self._free.pop() if self._free else SharedState()
                worker.send(pickle.dumps(Job(assignment, str(device), source, worker.slot.path)))

    def next(self) -> Outcome:
        """Wait for the next segment that any worker finishes, or fails for the last time."""
        while True:
            busy = {worker.pipe: worker for worker in self._workers if worker.attempt is not None}
            if not busy:
                raise RunError("nothing was submitted that could finish")
            heard = wait(list(busy), self._patience(busy.values()))
            if not heard:
                return self._give_up(min(busy.values(), key=lambda worker: worker.began))
            worker = busy[heard[0]]  # type: ignore[index]
            attempt, answer = self._take(worker)
            settled = attempt.settle(answer.outcome) if isinstance(answer, Done) else None
            if isinstance(settled, Attempt):
                self._queue.push(settled.assignment.first_step, settled)
            self._dispatch()
            if isinstance(answer, Refused):
                raise answer.error
            if isinstance(settled, Outcome):
                return settled

    def _patience(self, busy: Iterable[Process]) -> float | None:
        """Seconds until the first deadline; None = there is none."""
        if self._deadline is None:
            return None
        return max(0.0, min(worker.began for worker in busy) + self._deadline - time.monotonic())

    def _give_up(self, worker: Process) -> Outcome:
        """End a worker that is over its deadline; another one takes its place."""
        assert worker.attempt is not None
        assert worker.slot is not None
        assignment = worker.attempt.assignment
        _end(worker)
        self._workers.remove(worker)
        self._free.append(worker.slot)
        self._dispatch()
        why = f"the segment took longer than the deadline of {self._deadline:g} s"
        seconds = time.monotonic() - worker.began
        return Outcome(assignment.id, error=why, telemetry=Telemetry(seconds, "given up"))

    def _take(self, worker: Process) -> tuple[Attempt, Done | Refused]:
        """A worker's answer; from one that has died, that it has."""
        attempt, slot = worker.attempt, worker.slot
        assert attempt is not None
        assert slot is not None
        try:
            answer = worker.receive()
        except EOFError:
            answer = Done(Outcome(attempt.assignment.id, error=_end(worker)), None)
            self._workers.remove(worker)
        assert isinstance(answer, Done | Refused)
        worker.attempt = worker.slot = None
        if isinstance(answer, Done) and answer.layout is not None:
            self._hold(answer.outcome.id, slot, answer.layout)
        else:
            self._free.append(slot)
        return attempt, answer

    def _hold(self, segment: SegmentId, slot: SharedState, where: Layout) -> None:
        if (
            segment in self._states
        ):  # an heir may be reading what is there; what is new must be equal to it
            self._free.append(slot)
        else:
            self._states[segment] = slot, where

    def holds(self, segment: SegmentId) -> bool:
        """Whether the state is in a slot."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Write the state into a slot."""
        tree, leaves = flatten(state)
        where = layout(tree, leaves)
        slot = self._free.pop() if self._free else SharedState()
        slot.write(where, leaves)
        self._hold(segment, slot, where)

    def state(self, segment: SegmentId) -> State:
        """A copy, out of its slot."""
        slot, where = self._states[segment]
        return unflatten(where.tree, slot.read(where))  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Free the slots of every other state, but for those that a segment has yet to start from."""
        busy = [worker.attempt for worker in self._workers if worker.attempt is not None]
        kept = {*segments, *(attempt.assignment.source for attempt in [*busy, *self._queue])}
        for segment in [held for held in self._states if held not in kept]:
            self._free.append(self._states.pop(segment)[0])

    def flush(self) -> None:
        """Ask every worker; one that has died has nothing to write any more."""
        idle = [worker for worker in self._workers if worker.attempt is None]
        for worker in idle:
            worker.send(pickle.dumps(None))
        answers = []
        for worker in idle:
            try:
                answers.append(worker.receive())
            except EOFError:
                _end(worker)
                self._workers.remove(worker)
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer.error
            assert isinstance(answer, Flushed)

    def close(self) -> None:
        """End the workers, whatever they do, and give the memory and the caller's limit of files back."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()
        slots = [slot for slot, _ in self._states.values()] + self._free
        for slot in slots + [worker.slot for worker in self._workers if worker.slot is not None]:
            slot.close()
        if self._data is not None:
            self._data.close()
        self._data = None
        self._workers, self._free, self._states = [], [], {}
        self._queue.clear()
        self._count = 0  # none is started any more
        if self._files is not None:
            _limit_files(self._files)
        self._files = None


def _end(worker: Process) -> str:
    worker.kill()
    return worker.wait()


def _setup(task: bytes, save: Save | None) -> Setup:
    deterministic = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision()
    return Setup(
        "", task, save, tuple(sys.path), torch.get_default_dtype(), precision, deterministic
    )
