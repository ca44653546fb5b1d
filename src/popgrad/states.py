"""Where the states of a run are: with the executor, in checkpoints, or to be trained again."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from popgrad.core.population import Segment, SegmentId
from popgrad.executors.base import Executor
from popgrad.restore import found, kept, restore
from popgrad.state import State, flatten
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal

log = logging.getLogger("popgrad")


class States:
    """The states that a run works with.

    Args:
        make: Makes the executor, when there is something to train.
        checkpoints: Where states lie that the executor does not hold; None = there are none.
        journal: Knows the arithmetic of the machine that began the run.
        segments: The record; it grows.
    """

    def __init__(
        self,
        make: Callable[[], Executor],
        checkpoints: Checkpoints | None,
        journal: Journal,
        segments: Mapping[SegmentId, Segment],
    ) -> None:
        self._make, self._checkpoints, self._journal, self._segments = make, checkpoints, journal, segments
        self._executor: Executor | None = None
        self._exact = True

    def supply(self, wanted: Sequence[SegmentId]) -> Executor:
        """The executor, started if need be, holding these states."""
        if self._executor is None:
            self._executor = self._make()
            self._check_fingerprint(self._executor.fingerprint)
        if not all(map(self._executor.holds, wanted)):
            restore(self._executor, self._checkpoints, self._segments, wanted, exact=self._exact)
        return self._executor

    def _check_fingerprint(self, found: dict[str, object]) -> None:
        recorded = self._journal.about().get("fingerprint")
        if recorded is None:
            self._journal.set_about(fingerprint=found)
        elif recorded != found:
            differing = ", ".join(
                f"{k} {recorded.get(k)!r} -> {v!r}" for k, v in found.items() if recorded.get(k) != v
            )
            self._exact = False
            log.warning(
                "this machine computes otherwise than the one that began the run (%s): "
                "bits are no longer promised to be those of an uninterrupted run",
                differing,
            )

    def state(self, segment: SegmentId) -> State:
        """The final state of a segment; from its checkpoint where no executor has been needed so far."""
        if self._executor is None and self._checkpoints is not None:
            state = found(self._checkpoints, self._segments[segment].digest)
            if state is not None:
                return state
        return self.supply([segment]).state(segment)

    def retain(self, needed: Iterable[SegmentId], best: Iterable[Segment]) -> None:
        """Let go of what nobody needs.

        Args:
            needed: From where somebody may go on.
            best: Whose checkpoints stay besides, where they have any.
        """
        needed = set(needed)
        if self._executor is not None:
            self._executor.retain(needed)
        if self._checkpoints is not None:
            digests = kept(self._segments, self._checkpoints, [self._segments[each] for each in needed])
            self._checkpoints.retain(digests | {segment.digest for segment in best})

    def keep(self, segments: Iterable[Segment]) -> None:
        """Have states in checkpoints, also where none was due."""
        if self._executor is None:
            return
        self._executor.flush()
        if self._checkpoints is not None:
            for segment in segments:
                if segment.digest and not self._checkpoints.has(segment.digest):
                    self._checkpoints.write(segment.digest, *flatten(self.state(segment.id)))

    def close(self) -> None:
        """Give the executor back, if there is one."""
        if self._executor is not None:
            self._executor.close()
