"""Segments that are trained by callers: offered to them, and finished by their reports.

The other executors train; this one waits. It never blocks: `next` raises `NoOutcomeYet`, and the engine is
entered again after the next report.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment, Outcome, Telemetry
from popgrad.executors.base import Attempt, Save, samples_behind
from popgrad.metrics import as_numbers, samples_of
from popgrad.state import State, Tree, clone, digest_leaves, flatten, unflatten
from popgrad.tasks.base import Task


class NoOutcomeYet(Exception):  # noqa: N818  # it is no error
    """A wait for the next outcome, which only the report of a caller can end."""


class StoredStates(Protocol):
    """Final states of recorded segments that lie elsewhere, such as on the disk."""

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the state of a segment is stored."""

    def state(self, segment: SegmentId) -> State:
        """Return a copy of a stored state."""


class AskTell:
    """Offers segments to callers, and takes their reports.

    Args:
        task: Without effect: the callers train.
        devices: Without effect.
        save: Writes a checkpoint, before the report that brings the state has an outcome: nothing can
            compute the state again. None = states are held in memory.
        workers: Without effect.
        deadline: None; the caller of this executor decides when an assignment is offered again.
        stored: States that this process need not hold; None = all are held in memory.

    Raises:
        UsageError: A deadline is given.

    Example:
        >>> from popgrad.core.segment import Assignment
        >>> from popgrad.tasks import Quadratic
        >>> executor = AskTell(Quadratic(), [])
        >>> executor.submit([Assignment(0, 0, None, {}, seed=0, first_step=0, steps=5)])
        >>> (attempt,) = executor.offered
        >>> executor.report(attempt.assignment.id, {"score": 1.0}, {"weights": [0.5]})
        >>> executor.next().metrics, executor.holds((0, 0))
        ({'score': 1.0}, True)
    """

    def __init__(
        self,
        task: Task,  # noqa: ARG002
        devices: Sequence[torch.device],  # noqa: ARG002
        save: Save | None = None,
        workers: int | None = None,  # noqa: ARG002
        deadline: float | None = None,
        *,
        stored: StoredStates | None = None,
    ) -> None:
        if deadline is not None:
            raise UsageError(
                "deadline: callers train, and no executor can stop them; use the lease of a study"
            )

        self._save = save
        self._stored = stored
        self._offered: dict[SegmentId, Attempt] = {}
        self._outcomes: deque[Outcome] = deque()
        self._states: dict[SegmentId, State] = {}

    @property
    def fingerprint(self) -> dict[str, object]:
        """Nothing: bits depend on the callers, which may compute on different machines."""
        return {}

    @property
    def offered(self) -> list[Attempt]:
        """Segments that wait for a report, in the order in which to train them."""
        return sorted(self._offered.values(), key=lambda attempt: attempt.assignment.first_step)

    def offers(self, segment: SegmentId) -> bool:
        """Return whether a segment waits for a report."""
        return segment in self._offered

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Offer segments.

        Raises:
            UsageError: A segment is to be evaluated within, or starts from a transformed state: what
                callers train cannot be.
        """
        for assignment in assignments:
            if assignment.evaluations > 1 or assignment.transform is not None:
                raise UsageError(
                    "strategy: members that callers train cannot be evaluated within a segment, and their "
                    "states cannot be transformed; use a strategy that asks for neither, or popgrad.run"
                )
        self._offered |= {assignment.id: Attempt(assignment) for assignment in assignments}

    def next(self) -> Outcome:
        """Return the outcome of the earliest report.

        Raises:
            NoOutcomeYet: All reports have been returned.
            RunError: No segment is offered.
        """
        if self._outcomes:
            return self._outcomes.popleft()
        if not self._offered:
            raise RunError("nothing was submitted that could finish")
        raise NoOutcomeYet

    def report(
        self,
        segment: SegmentId,
        metrics: Mapping[str, Any],
        state: State,
        *,
        samples: int | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Take the final state and the validation metrics of an offered segment.

        Args:
            segment: An offered segment.
            metrics: Numbers by name.
            state: Final state; it is copied.
            samples: Training samples behind the state; None = its entry "position", if it has one.
            telemetry: Clock times and names.

        Raises:
            UsageError: A metric is not a number, or the state is not plain data.
            RunError: The checkpoint cannot be written. The segment stays offered.
        """
        assignment = self._offered[segment].assignment
        numbers = as_numbers(metrics)
        tree, leaves = flatten(state)
        leaves = [leaf.cpu() for leaf in leaves]
        digest = digest_leaves(tree, leaves)
        if self._save is not None and assignment.checkpoint:
            self._save(digest, tree, leaves)
        if self._save is None or self._stored is None:
            self._hold(segment, tree, leaves)

        if samples is None:
            samples = samples_behind(state)
        outcome = Outcome(
            segment,
            numbers,
            digest,
            samples,
            telemetry=telemetry or Telemetry(),
            metric_samples=samples_of(metrics),
        )
        del self._offered[segment]
        self._outcomes.append(outcome)

    def report_failure(
        self,
        segment: SegmentId,
        error: str,
        *,
        earlier: Sequence[str] | None = None,
        telemetry: Telemetry | None = None,
    ) -> bool:
        """Take the failure of an attempt at an offered segment.

        Args:
            segment: An offered segment.
            error: Traceback or another description.
            earlier: Errors of the earlier attempts; None = those that were reported here.
            telemetry: Clock times and names.

        Returns:
            Whether the segment has failed for the last time; else it is offered again, with the same
            seeds.
        """
        attempt = self._offered[segment]
        if earlier is not None:
            attempt = Attempt(attempt.assignment, tuple(earlier))
        settled = attempt.settle(Outcome(segment, error=error, telemetry=telemetry or Telemetry()))
        if isinstance(settled, Attempt):
            self._offered[segment] = settled
            return False

        del self._offered[segment]
        # A fault that concerns all is found within one session, and reports come from many.
        self._outcomes.append(replace(settled, repeated=False))
        return True

    def _hold(self, segment: SegmentId, tree: Tree, leaves: Sequence[torch.Tensor]) -> None:
        # Contiguous copies, as a state comes back from a checkpoint.
        copies = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
        self._states.setdefault(segment, unflatten(tree, copies))

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the state is in memory or stored."""
        if segment in self._states:
            return True
        return self._stored is not None and self._stored.holds(segment)

    def put(self, segment: SegmentId, state: State) -> None:
        """Hold a copy of a state."""
        self._hold(segment, *flatten(state))

    def state(self, segment: SegmentId) -> State:
        """Return a copy of a state."""
        if segment not in self._states and self._stored is not None:
            return self._stored.state(segment)
        return clone(self._states[segment])  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state in memory, except those that an offered segment has yet to start from."""
        kept = {*segments, *(attempt.assignment.source for attempt in self._offered.values())}
        self._states = {
            segment: state for segment, state in self._states.items() if segment in kept
        }

    def flush(self) -> None:
        """Do nothing: checkpoints are written before their segments have an outcome."""

    def close(self) -> None:
        """Drop the states and the offers."""
        self._offered.clear()
        self._outcomes.clear()
        self._states.clear()
