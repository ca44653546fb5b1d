"""A pool of persistent worker processes, one torch thread each; members wait in memory for their turn."""

import os
import pickle
import resource
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait

import cloudpickle
import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Assignment, Outcome, SegmentId
from popgrad.executors.base import Save
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.slots import Layout, Slot, layout
from popgrad.executors.worker import Done, Job, Refused, Setup
from popgrad.state import State, flatten, unflatten
from popgrad.tasks.base import Task

_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def available_cores() -> int:
    """Cores that this process may use: what its affinity allows, and what its cgroup grants, rounded up."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def _allow_files() -> None:
    # Each state that is held takes a file descriptor, and 1,024 are the usual soft limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS refuses "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass
class _Worker:
    """A process, its end of the socket, and what it is busy with."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    lifeline: int
    job: Job | None = None
    slot: Slot | None = None


class Processes:
    """Trains in `workers` processes. They are started once, fresh (no fork: torch may have threads already).

    Args:
        task: What is trained; pickled by value where it is defined in the main module or a notebook.
        devices: Members take turns over them.
        save: Writes a checkpoint, in the worker; None = none are written.
        workers: How many, at least 1; None = one per core.

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
    ) -> None:
        self._devices = devices
        self._queue: deque[Assignment] = deque()
        self._states: dict[SegmentId, tuple[Slot, Layout]] = {}
        self._free: list[Slot] = []
        self._workers: list[_Worker] = []
        count = available_cores() if workers is None else workers
        if count < 1:
            raise UsageError(f"workers is {count}: at least 1 (leave it out for one per core)")
        pickled = _pickled(task)
        _allow_files()
        try:
            for _ in range(count):
                self._workers.append(_start())
            for i, worker in enumerate(self._workers):
                self._send(worker, cloudpickle.dumps(_setup(f"worker {i}", pickled, save)))
            self.fingerprint = self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> dict[str, object]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        own = fingerprint()
        torch.set_num_threads(threads)
        for worker in self._workers:
            found = self._receive(worker)
            if isinstance(found, Refused):
                raise found.error
            if found != own:
                raise RunError(
                    "the arithmetic of a worker process differs from this process's, so that results could "
                    "not be repeated; import popgrad before anything is computed with torch, or set "
                    f"MKL_CBWR=AUTO in the environment ({found} here {own})"
                )
        return own

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments, and start as many as there are idle workers."""
        self._queue.extend(assignments)
        self._dispatch()

    def _dispatch(self) -> None:
        for worker in self._workers:
            if not self._queue:
                return
            if worker.job is None:
                assignment = self._queue.popleft()
                source = None
                if assignment.source is not None:
                    slot, where = self._states[assignment.source]
                    source = slot.path, where
                device = self._devices[assignment.member % len(self._devices)]
                worker.slot = self._free.pop() if self._free else Slot()
                worker.job = Job(assignment, str(device), source, worker.slot.path)
                self._send(worker, pickle.dumps(worker.job))

    def next(self) -> Outcome:
        """Wait for the next segment that any worker finishes."""
        busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
        if not busy:
            raise RunError("nothing was submitted that could finish")
        ready = wait(list(busy))
        worker = busy[ready[0]]  # type: ignore[index]
        answer = self._receive(worker)
        slot, worker.job, worker.slot = worker.slot, None, None
        assert slot is not None
        if isinstance(answer, Done) and answer.layout is not None:
            self._hold(answer.outcome.id, slot, answer.layout)
        else:
            self._free.append(slot)
        self._dispatch()
        if isinstance(answer, Refused):
            raise answer.error
        assert isinstance(answer, Done)
        return answer.outcome

    def _hold(self, segment: SegmentId, slot: Slot, where: Layout) -> None:
        if segment in self._states:  # an heir may be reading what is there; what is new must be equal to it
            self._free.append(slot)
        else:
            self._states[segment] = slot, where

    def _send(self, worker: _Worker, message: bytes) -> None:
        try:
            worker.pipe.send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            raise _ended(worker) from None

    def _receive(self, worker: _Worker) -> object:
        try:
            return worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise _ended(worker) from None

    def holds(self, segment: SegmentId) -> bool:
        """Whether the state is in a slot."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Write the state into a slot."""
        tree, leaves = flatten(state)
        where = layout(tree, leaves)
        slot = self._free.pop() if self._free else Slot()
        slot.write(where, leaves)
        self._hold(segment, slot, where)

    def state(self, segment: SegmentId) -> State:
        """A copy, out of its slot."""
        slot, where = self._states[segment]
        return unflatten(where.tree, slot.read(where))  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Free the slots of every other state, but for those that a segment has yet to start from."""
        busy = [worker.job.assignment for worker in self._workers if worker.job is not None]
        kept = {*segments, *(assignment.source for assignment in [*busy, *self._queue])}
        for segment in [held for held in self._states if held not in kept]:
            self._free.append(self._states.pop(segment)[0])

    def close(self) -> None:
        """End the workers, whatever they do, and give the memory back."""
        for worker in self._workers:
            os.close(worker.lifeline)
            worker.pipe.close()
            with suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)  # with whatever the task has started
        for worker in self._workers:
            worker.process.wait()
        slots = [slot for slot, _ in self._states.values()] + self._free
        for slot in slots + [worker.slot for worker in self._workers if worker.slot is not None]:
            slot.close()
        self._workers, self._free, self._states = [], [], {}
        self._queue.clear()


def _start() -> _Worker:
    """A fresh interpreter that does not run the user's main module again, in a process group of its own."""
    ours, theirs = Pipe()
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "import sys; from popgrad.executors.worker import main; "
             "main(int(sys.argv[1]), int(sys.argv[2]))", str(theirs.fileno()), str(read)],
            env={**os.environ, **_THREADS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=(theirs.fileno(), read),
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C in a terminal reaches the controller alone
        )  # fmt: skip
    finally:
        theirs.close()
        os.close(read)
    return _Worker(process, ours, write)


def _pickled(task: Task) -> bytes:
    try:
        return cloudpickle.dumps(task)  # type: ignore[no-any-return]
    except Exception as error:  # whatever the task's parts raise
        raise UsageError(
            f"the task cannot be sent to worker processes ({type(error).__name__}: {error}); make open "
            "files, locks and the like in its functions, or train with the serial executor"
        ) from error


def _ended(worker: _Worker) -> RunError:
    code = worker.process.wait()
    doing = f"training member {worker.job.assignment.member}" if worker.job else "starting"
    advice = "; was it killed for lack of memory? Try fewer workers" if code == -signal.SIGKILL else ""
    return RunError(f"a worker process ended with code {code} while {doing}{advice}")


def _setup(name: str, task: bytes, save: Save | None) -> Setup:
    deterministic = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision()
    return Setup(name, task, save, tuple(sys.path), torch.get_default_dtype(), precision, deterministic)
