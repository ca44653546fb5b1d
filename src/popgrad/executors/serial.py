"""One member after the other in this process: the reference, and the executor to debug with."""

from collections.abc import Collection, Sequence

import torch
from threadpoolctl import threadpool_limits

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment, Outcome
from popgrad.executors.base import Attempt, Save, train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.queue import TrainingQueue
from popgrad.executors.writer import Writer
from popgrad.state import State, Tree, clone, flatten, unflatten
from popgrad.tasks.base import Closing, Task


class Serial:
    """Trains in the calling process, with one thread; `close` restores the number of threads.

    Args:
        task: Task to train.
        devices: Devices; members take turns over them.
        save: Writes a checkpoint; None = no checkpoints are written.
        workers: Without effect.
        deadline: None, since training in this process cannot be abandoned.

    Raises:
        UsageError: A deadline is given.
    """

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,  # noqa: ARG002
        deadline: float | None = None,
    ) -> None:
        if deadline is not None:
            raise UsageError(
                "deadline: the executor serial cannot abandon a segment; use processes"
            )

        self._task = task
        self._devices = devices
        self._writer = None if save is None else Writer(save)
        self._queue: TrainingQueue[Assignment] = TrainingQueue()
        self._states: dict[SegmentId, State] = {}
        self._closed = False

        # Bits depend on the number of threads. `close` restores the caller's.
        self._threads = torch.get_num_threads()
        self._limits = threadpool_limits(1)
        torch.set_num_threads(1)

    @property
    def fingerprint(self) -> dict[str, object]:
        """Fingerprint of this process."""
        return fingerprint()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments."""
        for assignment in assignments:
            self._queue.push(assignment.first_step, assignment)

    def next(self) -> Outcome:
        """Train the next segment of the queue; one that fails is retrained at once."""
        if not self._queue:
            raise RunError("nothing was submitted that could finish")
        attempt: Attempt | Outcome = Attempt(self._queue.pop())
        while isinstance(attempt, Attempt):
            attempt = attempt.settle(self._train(attempt.assignment))
        return attempt

    def _train(self, assignment: Assignment) -> Outcome:
        """Train a segment once, and hold its state if it has one."""
        source = None if assignment.source is None else clone(self._states[assignment.source])
        device = self._devices[assignment.member % len(self._devices)]
        outcome, tree, leaves = train_segment(
            self._task, assignment, source, device, self._writer, "serial"
        )
        if not outcome.error:
            self._hold(assignment.id, tree, leaves)
        return outcome

    def _hold(self, segment: SegmentId, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        # Copied, since the caller may change the leaves afterwards. Contiguous, as a state comes
        # back from a checkpoint or shared memory: the bits of a product depend on the strides of
        # its operands.
        copies = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
        self._states.setdefault(segment, unflatten(tree, copies))

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the state is in this process."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Hold a copy of a state."""
        self._hold(segment, *flatten(state))

    def state(self, segment: SegmentId) -> State:
        """Return a copy of a state."""
        return clone(self._states[segment])  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state, except those that a queued segment has yet to start from."""
        kept = {*segments, *(assignment.source for assignment in self._queue)}
        self._states = {
            segment: state for segment, state in self._states.items() if segment in kept
        }

    def flush(self) -> None:
        """Wait for the writer."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Drop the states, and restore the number of threads."""
        if self._writer is not None:
            self._writer.close()
        self._queue.clear()
        self._states.clear()
        if isinstance(self._task, Closing):
            self._task.close()
        if not self._closed:
            self._limits.restore_original_limits()
            torch.set_num_threads(self._threads)
        self._closed = True
