"""One member after the other in this process: the reference, and the one to debug with."""

from collections import deque
from collections.abc import Collection, Sequence

import torch
from threadpoolctl import threadpool_limits

from popgrad.core.errors import RunError
from popgrad.core.population import Assignment, Outcome, SegmentId
from popgrad.executors.base import Save, train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.state import State, clone, unflatten
from popgrad.tasks.base import Task


class Serial:
    """Trains in the calling process, with one thread; the caller's number of threads comes back on `close`.

    Args:
        task: What is trained.
        devices: Members take turns over them.
        save: Writes a checkpoint; None = none are written.
    """

    def __init__(self, task: Task, devices: Sequence[torch.device], save: Save | None = None) -> None:
        self._task = task
        self._devices = devices
        self._save = save
        self._queue: deque[Assignment] = deque()
        self._states: dict[SegmentId, State] = {}
        self._threads = torch.get_num_threads()
        self._limits = threadpool_limits(1)
        torch.set_num_threads(1)

    @property
    def fingerprint(self) -> dict[str, object]:
        """Of this process."""
        return fingerprint()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments."""
        self._queue.extend(assignments)

    def next(self) -> Outcome:
        """Train the next segment of the queue."""
        if not self._queue:
            raise RunError("nothing was submitted that could finish")
        assignment = self._queue.popleft()
        source = None if assignment.source is None else clone(self._states[assignment.source])
        device = self._devices[assignment.member % len(self._devices)]
        outcome, tree, leaves = train_segment(self._task, assignment, source, device, self._save, "serial")
        if not outcome.error:
            # The task might hold on to what it returned; a state that is held never changes.
            self._states[assignment.id] = unflatten(tree, [leaf.clone() for leaf in leaves])
        return outcome

    def holds(self, segment: SegmentId) -> bool:
        """Whether the state is in this process."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Keep a copy."""
        self._states[segment] = clone(state)

    def state(self, segment: SegmentId) -> State:
        """A copy."""
        return clone(self._states[segment])  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Let every other state go."""
        self._states = {segment: self._states[segment] for segment in segments if segment in self._states}

    def close(self) -> None:
        """Give the threads back."""
        self._queue.clear()
        self._states.clear()
        self._limits.restore_original_limits()
        torch.set_num_threads(self._threads)
