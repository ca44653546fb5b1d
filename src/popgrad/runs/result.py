"""The result of a run: its record, its winner, and evaluations; from memory or from a directory."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from popgrad.config import RunConfig
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Segment, SegmentId, Telemetry
from popgrad.core.space import Space
from popgrad.hardware import resolve_devices
from popgrad.record import lineage
from popgrad.record.record import Record
from popgrad.record.schedule import Schedule
from popgrad.report import frame, rows
from popgrad.runs.reopen import reopen_task
from popgrad.runs.winner import Winner
from popgrad.state import State
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.tasks.base import Context, Split, Task
from popgrad.tasks.evaluation import evaluate

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger("popgrad")

_PATIENCE = 2.0
"""Seconds that a checkpoint of a run in progress may be behind its record: a few milliseconds are usual."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a run as far as it has come. Made by `run`, `resume` and `load`.

    Attributes:
        record: Everything that the run has recorded.
        telemetry: Clock times and training curves by segment; not part of the record.
        config: Resolved configuration.
        run_directory: Paths of the run's files; None = in memory only.
        trained_task: The task, if it is at hand; None = it is made from the configuration when
            needed.
        final_states: Final states that are at hand, by segment.
        journal: Journal of a run in memory, for readings of splits; None = that of the directory.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=4, intervals=3, executor="serial")
        >>> len(result.segments), result.stopped
        (12, 'finished')
        >>> result.winner.score == max(segment.score for segment in result.last.values())
        True
    """

    record: Record = field(repr=False)
    telemetry: Mapping[SegmentId, Telemetry] = field(repr=False)
    config: RunConfig = field(repr=False)
    run_directory: Directory | None = field(repr=False)
    trained_task: Task | None = field(default=None, repr=False)
    final_states: Mapping[SegmentId, State] = field(default_factory=dict, repr=False)
    journal: Journal | None = field(default=None, repr=False)

    # --- the record -------------------------------------------------------------------------------

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Finished segments, ordered by (interval, member)."""
        return self.record.segments

    @property
    def last(self) -> Mapping[int, Segment]:
        """Segment whose state each present member has, by member."""
        return self.record.last

    @property
    def size(self) -> int:
        """Members of the population now; `config.population` is the requested number."""
        return self.record.size

    @property
    def space(self) -> Space:
        """Dimensions that the run searched."""
        return self.record.space

    @property
    def score_name(self) -> str:
        """Metric that ranks; "-loss" ranks by the lowest loss."""
        return self.record.score_name

    @property
    def stopped(self) -> str:
        """Reason the run ended: "finished", "target score", "time", or "unfinished"."""
        return self.record.stopped

    @property
    def directory(self) -> Path | None:
        """Directory of the run; None = in memory only."""
        return None if self.run_directory is None else self.run_directory.path

    @property
    def best_ever(self) -> Segment:
        """Segment with the best score of the whole run; its weights may be gone."""
        return self.record.best_ever

    @property
    def history(self) -> list[dict[str, Any]]:
        """The record as a table, one row per segment: the content of `history.csv`."""
        return rows(self.record, self.telemetry)

    def frame(self) -> "DataFrame":
        """Return `history` as a pandas data frame.

        Raises `UsageError` if pandas is not installed.
        """
        return frame(self.history)

    def lineage(self, member: int | SegmentId) -> tuple[Segment, ...]:
        """Return the segments behind a member's weights, or behind (member, interval), root first.

        Members that have left the population have a lineage too.
        """
        return self.record.lineage(member)

    def schedule(self, member: int | None = None) -> Schedule:
        """Return the hyperparameters along a member's lineage; None = the winner's.

        Runs no task code.
        """
        return self.record.schedule(member)

    def best(self, member: int) -> Segment:
        """Return a member's best segment so far; its state is kept beside the last one's."""
        return lineage.best_ever([segment for segment in self.segments if segment.member == member])

    # --- the model --------------------------------------------------------------------------------

    @cached_property
    def task(self) -> Task:
        """The task that was trained. Runs the task's code."""
        if self.trained_task is not None:
            return self.trained_task
        # The initial weights are part of the states since then, and their file may be gone.
        config = self.config.model_copy(update={"weights": None})
        return reopen_task(self.record, config, self.directory, None, "load")

    @cached_property
    def winner(self) -> Winner:
        """The member with the best final score; ties go to the lowest member.

        Raises:
            NobodyLeftError: No present member has a finite score.
        """
        segment = self.record.winner
        return Winner(segment, self.record.lineage(segment.id), self.state(segment.id), self.task)

    @property
    def made_by(self) -> dict[str, Any]:
        """Task, options and versions behind the winner, for the files that describe it."""
        return {
            "task": None if self.record.given_task else self.config.task,
            "options": self.config.options,
            "made_with": self.config.made_with,
        }

    def state(self, segment: SegmentId) -> State:
        """Return the final state of a segment; those of each member's last and best segment are kept.

        Raises:
            UsageError: The run was in memory only, and the state was not kept.
            RunError: The state is gone, or its checkpoint is damaged.
        """
        if segment in self.final_states:
            return self.final_states[segment]
        if self.run_directory is None:
            raise UsageError(
                f"the state of segment {segment} was not kept: give the run a directory"
            )

        checkpoints = self.run_directory.checkpoints
        digest = self.record.by_id[segment].digest
        if self.stopped == "unfinished":
            checkpoints.wait([digest], _PATIENCE)
        return checkpoints.load(digest)

    # --- evaluation -------------------------------------------------------------------------------

    def test(self, member: int | None = None, *, reader: str = "Result.test") -> dict[str, float]:
        """Evaluate a member's final state on the test split, which selection never sees.

        Args:
            member: The member; None = the winner.
            reader: Name of the caller, for the record.
        """
        segment = self.winner.segment if member is None else self.lineage(member)[-1]
        return self.evaluate(segment.id, "test", reader=reader)

    def evaluate(self, segment: SegmentId, split: Split, *, reader: str) -> dict[str, float]:
        """Evaluate the final state of a segment on a split. The reading of the split is recorded.

        Args:
            segment: The segment; the states of each member's last and best segment are kept.
            split: "train", "validation" or "test".
            reader: Name of the caller, for the record.

        Raises:
            RunError: The state is gone.
        """
        recorded = self.record.by_id[segment]
        ctx = Context(
            recorded.member, recorded.interval, recorded.last_step, self._device(), self.config.seed
        )
        metrics = evaluate(self.task, self.state(segment), recorded.hparams, split, ctx)

        try:
            self._record_reading(reader, split, segment, metrics)
        except RunError as error:
            # The directory may not be writable; the metrics are right all the same.
            log.warning("the reading is not in the record: %s", error)
        return metrics

    def _record_reading(
        self, reader: str, split: Split, segment: SegmentId, metrics: Mapping[str, float]
    ) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if self.journal is not None:
            self.journal.append_reading(now, reader, split, segment, metrics)
        elif self.run_directory is not None:
            journal = Journal(self.run_directory.journal)
            try:
                journal.append_reading(now, reader, split, segment, metrics)
            finally:
                journal.close()

    def _device(self) -> torch.device:
        try:
            return resolve_devices(self.config.device)[0]
        except UsageError as error:
            log.warning("%s; evaluating on the CPU", error)
            return torch.device("cpu")
