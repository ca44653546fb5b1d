"""Source of member states: the executor, a checkpoint, or retraining."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.engine.restore import load_checkpoint, restore
from popgrad.executors.base import Executor
from popgrad.state import State, flatten
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from popgrad.store.retention import restorable_from
from popgrad.tasks.base import Task

log = logging.getLogger("popgrad")


class StateSource:
    """Finds the final states of segments, wherever they are.

    Args:
        make_executor: Starts the executor; called when there is something to train.
        checkpoints: Checkpoints of the run; None = there are none.
        journal: Journal of the run; it holds the fingerprint of the machine that started it.
        segments: The record; it grows during the run.
        task: Task of the run.
    """

    def __init__(
        self,
        make_executor: Callable[[], Executor],
        checkpoints: Checkpoints | None,
        journal: Journal,
        segments: Mapping[SegmentId, Segment],
        task: Task,
    ) -> None:
        self._task = task
        self._make_executor = make_executor
        self._checkpoints = checkpoints
        self._journal = journal
        self._segments = segments
        self._executor: Executor | None = None
        self._exact = True  # whether this machine computes the bits of the one that started the run

    def executor(self, held: Sequence[SegmentId] = ()) -> Executor:
        """Return the executor, started if necessary, after it holds the given states."""
        # Starting an executor takes time, so it waits until something has to be trained.
        if self._executor is None:
            self._executor = self._make_executor()
            self._check_fingerprint(self._executor.fingerprint)

        if not all(map(self._executor.holds, held)):
            restore(
                self._executor,
                self._checkpoints,
                self._segments,
                held,
                exact=self._exact,
                task=self._task,
            )
        return self._executor

    def _check_fingerprint(self, fingerprint: dict[str, object]) -> None:
        """Record the fingerprint of this machine, or compare it with the recorded one."""
        recorded = self._journal.about().get("fingerprint")
        if recorded is None:
            self._journal.set_about(fingerprint=fingerprint)
            return
        if recorded == fingerprint:
            return

        self._exact = False
        differences = ", ".join(
            f"{key} {recorded.get(key)!r} -> {value!r}"
            for key, value in fingerprint.items()
            if recorded.get(key) != value
        )
        log.warning(
            "this machine's arithmetic differs from the one that started the run (%s): "
            "bits are no longer promised to be those of an uninterrupted run",
            differences,
        )

    def state(self, segment: SegmentId) -> State:
        """Return the final state of a segment; the executor is only started if no checkpoint has it."""
        # A finished run that is loaded needs no executor if its last states are on disk.
        if self._executor is None and self._checkpoints is not None:
            state = load_checkpoint(self._checkpoints, self._segments[segment], self._task)
            if state is not None:
                return state
        return self.executor([segment]).state(segment)

    def retain(self, needed: Iterable[SegmentId], best: Iterable[Segment]) -> None:
        """Drop the states that nothing needs, in memory and on disk.

        Args:
            needed: Segments that a member may continue from.
            best: Segments whose checkpoints stay as well, if they have any.
        """
        needed = set(needed)
        if self._executor is not None:
            self._executor.retain(needed)
        if self._checkpoints is not None:
            wanted = [self._segments[segment] for segment in needed]
            digests = restorable_from(self._segments, self._checkpoints, wanted)
            self._checkpoints.retain(digests | {segment.digest for segment in best})

    def write_checkpoints(self, segments: Iterable[Segment]) -> None:
        """Write the final states of segments as checkpoints, also those for which none was due."""
        if self._executor is None:
            return
        self._executor.flush()
        if self._checkpoints is None:
            return
        for segment in segments:
            if segment.digest and not self._checkpoints.has(segment.digest):
                self._checkpoints.write(segment.digest, *flatten(self.state(segment.id)))

    def close(self) -> None:
        """Close the executor, if it was started."""
        if self._executor is not None:
            self._executor.close()
