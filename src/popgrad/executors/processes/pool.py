"""A pool of persistent worker processes, one torch thread each; states wait in shared memory."""

import itertools
import pickle
import resource
import time
from collections.abc import Callable, Collection, Sequence
from multiprocessing.connection import wait

import cloudpickle
import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment, Outcome, Telemetry
from popgrad.executors.base import Attempt, Save, late_outcome
from popgrad.executors.clocks import StartClock, TrainingClock
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.executors.processes.limits import limit_error, set_file_limit
from popgrad.executors.processes.process import Process
from popgrad.executors.processes.shared_memory import Layout, SharedState, make_layout
from popgrad.executors.processes.worker import (
    FirstMessage,
    FlushDone,
    Job,
    SegmentDone,
    StartReport,
)
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.remote import WorkerError, make_setup
from popgrad.executors.writer import WRITE_LIMIT
from popgrad.hardware import available_cores
from popgrad.state import State, flatten, unflatten
from popgrad.tasks.base import Sharing, Task
from popgrad.tasks.copies import pickle_task

_FLUSH_LIMIT = WRITE_LIMIT + 60.0
"""Seconds to wait for a worker that writes checkpoints; it ends its own wait before."""


class Processes:
    """Trains in `workers` processes. They are started once; one that dies is replaced.

    Args:
        task: Task to train; pickled by value if it is defined in the main module or a notebook.
        devices: Devices; members take turns over them.
        save: Writes a checkpoint, in the worker; None = no checkpoints are written.
        workers: Number of processes, at least 1; None = one per core.
        deadline: Seconds that a segment may take. One that takes longer fails, ends its worker, and
            is not retrained; None = no limit.
        pickled: Task as `pickle_task` returns it; None = it is pickled here.
        max_time: Seconds of the session; they limit the start of a worker, see `StartClock`.

    Raises:
        UsageError: The task cannot be sent to another process, or `workers` is less than 1.
        RunError: The workers' arithmetic differs from this process's, one ends while it starts or
            takes too long for it, or the system permits no more processes or files.
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
        max_time: float | None = None,
    ) -> None:
        self._devices = devices
        self._deadline = deadline
        self._python_clock = StartClock(None, None)
        self._task_clock = StartClock(deadline, max_time)
        self._training_clock = TrainingClock()
        self._queue: TrainingQueue[Attempt] = TrainingQueue()
        self._states: dict[SegmentId, tuple[SharedState, Layout]] = {}
        self._free: list[SharedState] = []  # memory that holds no state any more, to write over
        self._workers: list[Process] = []
        self._count = available_cores() if workers is None else workers
        if self._count < 1:
            raise UsageError(
                f"workers: expected at least 1, got {workers}; leave it out for one per core"
            )

        self._setup = make_setup(pickled or pickle_task(task), save)
        self._shared: SharedState | None = None  # the task's data
        self._data: tuple[str, Layout] | None = None
        if isinstance(task, Sharing):
            self._data = self._share(task)

        self._numbers = itertools.count()  # of the workers, for their names
        self.fingerprint = fingerprint_with()
        # Each state that is held takes a file descriptor, and 1,024 are the usual limit.
        self._file_limit = set_file_limit(resource.RLIM_INFINITY)
        self._start_workers()

    # --- workers ----------------------------------------------------------------------------------

    def _share(self, task: Sharing) -> tuple[str, Layout]:
        """Put the task's data into shared memory, which this process then uses as well."""
        tree, leaves = flatten(task.share())
        layout = make_layout(tree, leaves)
        self._shared = _write(SharedState, layout, leaves, f"the data, {layout.size} bytes")
        task.adopt(unflatten(tree, self._shared.alias(layout)))
        return self._shared.path, layout

    def _start_workers(self) -> None:
        """Start the workers that are missing, all at once. If one cannot work, all are closed."""
        try:
            # Each interpreter has to import torch, so all of them start side by side.
            new = []
            while len(self._workers) < self._count:
                try:
                    worker = Process()
                except (OSError, RuntimeError) as error:
                    raise limit_error(error, "another worker process") from None
                self._workers.append(worker)
                new.append((worker, f"worker {next(self._numbers)}"))

            # A worker gets the task once it can read it: a long message would wait for that in silence.
            for worker, name in new:
                self._answer_of_start(worker, name, StartReport)
                worker.started = time.monotonic()
                worker.send(cloudpickle.dumps(FirstMessage(name, self._setup, self._data)))
            for worker, name in new:
                self._check_started(worker, name)
        except BaseException:
            self.close()
            raise

    def _answer_of_start(self, worker: Process, name: str, wanted: type = object) -> object:
        """Return the next answer of a worker that starts; log it if the worker is slow.

        Args:
            worker: The worker.
            name: Its name.
            wanted: `StartReport` = the first report; else the first answer that is no report.

        Raises:
            RunError: The worker has ended, or takes too long.
        """
        clock = self._task_clock
        doing = "loads the task"
        if wanted is StartReport:
            # A short deadline is not meant for what takes long on a busy machine.
            clock = self._python_clock
            doing = "starts Python and imports torch"
        while True:
            try:
                answer = worker.receive(clock.seconds_left(worker.started, name))
            except TimeoutError:
                clock.check(worker.started, name, doing)
                continue
            except EOFError:
                raise RunError(
                    f"{_end(worker)} while it was starting{worker.last_words}; to see why, train with "
                    "the executor serial"
                ) from None
            if wanted is StartReport or not isinstance(answer, StartReport):
                return answer
            doing = answer.doing

    def _check_started(self, worker: Process, name: str) -> None:
        """Wait until a worker can train, and compare its arithmetic with this process's."""
        answer = self._answer_of_start(worker, name)
        if isinstance(answer, WorkerError):
            raise answer.error
        if answer != self.fingerprint:
            raise RunError(
                "the arithmetic of a worker process differs from this process's, so that results "
                "could not be repeated; import popgrad before anything is computed with torch, or "
                f"set MKL_CBWR=AUTO in the environment ({answer} here {self.fingerprint})"
            )

    # --- training ---------------------------------------------------------------------------------

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments, and start as many as there are idle workers."""
        for assignment in assignments:
            self._queue.push(assignment.first_step, Attempt(assignment))
        self._dispatch()

    def _dispatch(self) -> None:
        """Replace the workers that have died, and give the idle ones segments from the queue."""
        # Starting a replacement takes time, which an empty queue is not worth.
        if self._queue and len(self._workers) < self._count:
            self._start_workers()
        for worker in self._workers:
            if not self._queue:
                return
            if worker.attempt is None:
                self._send(worker, self._queue.pop())

    def _send(self, worker: Process, attempt: Attempt) -> None:
        """Let a worker train a segment."""
        worker.attempt = attempt
        worker.started = time.monotonic()
        worker.target = self._free_memory()

        assignment = attempt.assignment
        source = None
        if assignment.source is not None:
            shared, layout = self._states[assignment.source]
            source = shared.path, layout
        device = self._devices[assignment.member % len(self._devices)]
        worker.send(pickle.dumps(Job(assignment, str(device), source, worker.target.path)))

    def next(self) -> Outcome:
        """Wait for the next segment that any worker finishes, or fails for the last time."""
        while True:
            busy = {worker.pipe: worker for worker in self._workers if worker.attempt is not None}
            if not busy:
                raise RunError("nothing was submitted that could finish")

            answered = wait(list(busy), self._timeout(busy.values()))
            if not answered:
                first = min(busy.values(), key=lambda worker: worker.started)
                if (
                    self._deadline is not None
                    and time.monotonic() >= first.started + self._deadline
                ):
                    return self._end_late(first)
                for worker in busy.values():
                    assert worker.attempt is not None
                    self._training_clock.check(worker.started, worker.attempt.assignment)
                continue
            attempt, answer = self._receive(busy[answered[0]])  # type: ignore[index]

            # The worker gets its next segment first: it need not wait for what the controller does.
            settled = attempt.settle(answer.outcome) if isinstance(answer, SegmentDone) else None
            if isinstance(settled, Attempt):
                self._queue.push(settled.assignment.first_step, settled, retry=True)
            self._dispatch()

            if isinstance(answer, WorkerError):
                raise answer.error
            if isinstance(settled, Outcome):
                return settled

    def _timeout(self, busy: Collection[Process]) -> float | None:
        """Return the seconds until the first deadline, or until a segment is slow; None = neither."""
        times = [
            self._training_clock.seconds_left(worker.started, worker.attempt.assignment)
            for worker in busy
            if worker.attempt is not None
        ]
        if self._deadline is not None:
            first = min(worker.started for worker in busy)
            times.append(max(0.0, first + self._deadline - time.monotonic()))
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _end_late(self, worker: Process) -> Outcome:
        """End a worker that is over its deadline; another one takes its place."""
        assert self._deadline is not None
        assert worker.attempt is not None
        assert worker.target is not None
        assignment = worker.attempt.assignment
        # Its memory may be written over only once the process has ended.
        _end(worker)
        self._workers.remove(worker)
        if worker.ended:
            self._free.append(worker.target)
        self._dispatch()

        seconds = time.monotonic() - worker.started
        late = Telemetry(seconds, "given up", began=time.time() - seconds)
        return late_outcome(assignment.id, self._deadline, late)

    def _receive(self, worker: Process) -> tuple[Attempt, SegmentDone | WorkerError]:
        """Return a worker's answer; if the worker has died, a failure."""
        attempt = worker.attempt
        target = worker.target
        assert attempt is not None
        assert target is not None
        # The task may have taken the process with it: by a signal, or for want of memory.
        try:
            answer = worker.receive()
        except EOFError:
            answer = SegmentDone(Outcome(attempt.assignment.id, error=_end(worker)), None)
            self._workers.remove(worker)

        assert isinstance(answer, SegmentDone | WorkerError)
        self._training_clock.add(time.monotonic() - worker.started)
        worker.attempt = None
        worker.target = None
        if isinstance(answer, SegmentDone) and answer.layout is not None:
            self._hold(answer.outcome.id, target, answer.layout)
        else:
            self._free.append(target)
        return attempt, answer

    # --- states -----------------------------------------------------------------------------------

    def _free_memory(self) -> SharedState:
        """Return memory for a state.

        Raises:
            RunError: The system permits no more open files.
        """
        if self._free:
            return self._free.pop()
        try:
            return SharedState()
        except OSError as error:
            raise limit_error(error, "the state of another member") from None

    def _hold(self, segment: SegmentId, shared: SharedState, layout: Layout) -> None:
        # A state that is held stays: an heir may be reading it, and the new one must equal it.
        if segment in self._states:
            self._free.append(shared)
        else:
            self._states[segment] = shared, layout

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the state is in shared memory."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Write the state into shared memory."""
        tree, leaves = flatten(state)
        layout = make_layout(tree, leaves)
        what = f"the state of member {segment[0]}, {layout.size} bytes"
        self._hold(segment, _write(self._free_memory, layout, leaves, what), layout)

    def state(self, segment: SegmentId) -> State:
        """Return a copy of the state."""
        shared, layout = self._states[segment]
        return unflatten(layout.tree, shared.read(layout))  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state, except those that a submitted segment has yet to start from."""
        # A segment in training may have to be tried again, so its source stays as well.
        busy = [worker.attempt for worker in self._workers if worker.attempt is not None]
        kept = {*segments, *(attempt.assignment.source for attempt in [*busy, *self._queue])}
        for segment in [segment for segment in self._states if segment not in kept]:
            shared, _ = self._states.pop(segment)
            self._free.append(shared)

    def flush(self) -> None:
        """Wait until every worker has written its checkpoints; one that has died has none."""
        idle = [worker for worker in self._workers if worker.attempt is None]
        for worker in idle:
            worker.send(pickle.dumps(None))

        # All answers are read before an error is raised, lest one be taken for a segment's.
        answers = []
        for worker in idle:
            try:
                answers.append(worker.receive(_FLUSH_LIMIT))
            except (EOFError, TimeoutError):
                # The engine writes the checkpoints that are missing.
                _end(worker)
                self._workers.remove(worker)
        for answer in answers:
            if isinstance(answer, WorkerError):
                raise answer.error
            assert isinstance(answer, FlushDone)

    def close(self) -> None:
        """End the workers, even if they train; free memory, and restore the limit of files."""
        # All are killed before one is waited for, so that they end side by side.
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()

        memory = [shared for shared, _ in self._states.values()] + self._free
        memory += [worker.target for worker in self._workers if worker.target is not None]
        for shared in memory:
            shared.close()
        if self._shared is not None:
            self._shared.close()
        self._shared = None

        self._workers = []
        self._free = []
        self._states = {}
        self._queue.clear()
        # From here on no worker is started.
        self._count = 0
        if self._file_limit is not None:
            set_file_limit(self._file_limit)
        self._file_limit = None


def _write(
    make: Callable[[], SharedState], layout: Layout, leaves: Sequence[torch.Tensor], what: str
) -> SharedState:
    """Write leaves into shared memory, and return it.

    Args:
        make: Returns the memory.
        layout: Layout of the leaves.
        leaves: Tensors to write.
        what: What they are, for the message.

    Raises:
        RunError: There is no memory, or no open file, for them.
    """
    shared = None
    try:
        shared = make()
        shared.write(layout, leaves)
    except OSError as error:
        if shared is not None:
            shared.close()
        raise limit_error(error, what) from None
    return shared


def _end(worker: Process) -> str:
    """End a worker, and return how it ended."""
    worker.kill()
    return worker.wait()
