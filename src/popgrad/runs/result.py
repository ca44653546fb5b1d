"""The result of a run: its record, its winner, and evaluations; from memory or from a directory."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from popgrad.config import RunConfig
from popgrad.core.errors import AllMembersFailedError, RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.score import parse_objectives
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Space
from popgrad.hardware import resolve_devices
from popgrad.record import lineage
from popgrad.record.front import segment_front
from popgrad.record.plain_table import text_table, value_text
from popgrad.record.record import Record
from popgrad.record.schedule import Schedule
from popgrad.record.timings import Activity, Timings, timings
from popgrad.reports.history import frame, rows
from popgrad.runs.export import export as exported
from popgrad.runs.export import write
from popgrad.runs.notebook import result_html
from popgrad.runs.plot import Plot
from popgrad.runs.recipes import make_soup
from popgrad.runs.reopen import reopen_task
from popgrad.runs.soup import Soup
from popgrad.runs.status import Status, run_status
from popgrad.runs.winner import Winner
from popgrad.state import State
from popgrad.store.directory import Directory
from popgrad.store.journal import NO_SEGMENT, Journal
from popgrad.tasks.base import Context, Split, Task, network_bytes, reads_test_split
from popgrad.tasks.evaluation import evaluate

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger("popgrad")

_PATIENCE = 2.0
"""Seconds that a checkpoint of a run in progress may be behind its record: a few milliseconds are usual."""


@dataclass(frozen=True, kw_only=True, repr=False)
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
        allow_changed_task: Whether to make the task although its source has changed.
        process: Number of the process that worked on the run when it was opened; "" = none did.
        controller_seconds: Seconds of the controller by activity, of all sessions that have ended.

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
    allow_changed_task: bool = field(default=False, repr=False)
    process: str = field(default="", repr=False)
    controller_seconds: Mapping[Activity, float] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        """Return a short description: score, winner, hyperparameters, status, directory."""
        return text_table(*self._table())

    def _repr_html_(self) -> str:
        """Return the same description for a notebook, with the winner's lineage and schedule."""
        return result_html(*self._table(), self.record)

    def _table(self) -> tuple[str, list[list[str]]]:
        """Return the title and the rows of the description."""
        failed = sum(segment.failed for segment in self.segments)
        members = f"{self.size} member{'' if self.size == 1 else 's'}"
        count = f"{len(self.segments)} segments, {members}" + (
            f", {failed} failed" if failed else ""
        )
        where = "in memory only" if self.directory is None else str(self.directory)
        rows = [["status", self.status.describe()], ["record", count], ["directory", where]]
        with suppress(AllMembersFailedError):
            hparams = self.record.winner.hparams
            words = ", ".join(f"{name} {value_text(value)}" for name, value in hparams.items())
            rows.insert(0, ["hparams", words])
        return f"Result: {self.headline}", rows

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
        """Reason the run ended, of `StopReason`; "unfinished" = it has not come to a limit."""
        return self.record.stopped

    @property
    def in_progress(self) -> bool:
        """Whether another process was at work on the run when it was opened."""
        return self.status.state == "in progress"

    @property
    def status(self) -> Status:
        """Status of the run when it was opened: in progress, interrupted, or finished."""
        return run_status(self.record, self.telemetry, self.process)

    @property
    def headline(self) -> str:
        """The winner's score in words."""
        try:
            winner = self.record.winner
        except AllMembersFailedError:
            return "no member has a finite score"
        ranking = self.record.ranking
        return f"{ranking.words(winner.score)}, member {winner.member}"

    @property
    def directory(self) -> Path | None:
        """Directory of the run; None = in memory only."""
        return None if self.run_directory is None else self.run_directory.path

    @property
    def best_ever(self) -> Segment:
        """Segment with the best score of the whole run; its weights may be gone."""
        return self.record.best_ever

    @property
    def front(self) -> tuple[Segment, ...]:
        """Last segments that no other present member dominates in the objectives of the strategy.

        Those of "mo-pbt"; for any other strategy the score is the only objective, so these are the
        segments with the best score, as a rule one. The best in the first objective comes first.
        """
        objectives = self.config.strategy.options().get("objectives")
        return self.front_of(objectives or [self.score_name])

    def front_of(self, objectives: Sequence[str]) -> tuple[Segment, ...]:
        """Return the last segments that no other present member dominates in some metrics.

        Args:
            objectives: Metrics that the task evaluates, "-" before a name if lower is better:
                ["accuracy", "-params"].

        Raises:
            UsageError: An objective is none of the metrics, or would be maximised although lower is
                better, by its name.

        Example:
            >>> import popgrad
            >>> result = popgrad.run("quadratic", population=4, intervals=3, executor="serial")
            >>> result.front_of(["q"]) == result.front
            True
        """
        return segment_front(self.last.values(), parse_objectives(objectives))

    @property
    def history(self) -> list[dict[str, Any]]:
        """The record as a table, one row per segment: the content of `history.csv`."""
        return rows(self.record, self.telemetry)

    def frame(self) -> "DataFrame":
        """Return `history` as a pandas data frame.

        Raises `UsageError` if pandas is not installed.
        """
        return frame(self.history)

    def figure(self, name: str = "schedule") -> Any:
        """Return a figure of the run, a `matplotlib.figure.Figure`; a notebook shows it as it is.

        Args:
            name: Name of a method of `plot`, which takes options: "schedule", "lineage", "results",
                "founders", "scores" or "timeline".

        Raises:
            UsageError: There is no such figure, or no segment is finished.
            AllMembersFailedError: There is no winner.

        Example:
            >>> import popgrad
            >>> result = popgrad.run("quadratic", population=4, intervals=3, executor="serial")
            >>> result.figure("schedule").savefig("schedule.pdf")
        """
        return self.plot.draw(name)

    @property
    def timings(self) -> Timings:
        """Time of the run, divided: in the task, in popgrad, or waiting."""
        return timings(self.telemetry, self.controller_seconds)

    @property
    def plot(self) -> Plot:
        """Figures of the run: `plot.lineage()`, `plot.schedule()`, and so on, to style and to save."""
        return Plot(self.record, self.telemetry)

    def export(self, format: str, path: str | PathLike[str] | None = None) -> str | bytes:  # noqa: A002
        """Return the record in a format of other programs, and write it to a file if a path is given.

        Args:
            format: "alife", the family tree in the ALife phylogeny data standard (CSV); "newick", with
                branch lengths in steps; "dot", for Graphviz; "csv" or "parquet", a row for each
                segment; or "json", what the dashboard draws.
            path: File to write; an older one is replaced.

        Returns:
            Text, or the bytes of parquet.

        Raises:
            UsageError: There is no such format, no segment is finished, the file cannot be written, or
                pandas or pyarrow is missing for parquet.

        Example:
            >>> import popgrad
            >>> result = popgrad.run("quadratic", population=2, intervals=1, executor="serial")
            >>> result.export("newick").count(":")
            2
        """
        name = "" if self.directory is None else self.directory.name
        content = exported(self.record, self.telemetry, self.status, name, format)
        if path is not None:
            write(content, Path(path))
        return content

    def lineage(self, member: int | SegmentId) -> tuple[Segment, ...]:
        """Return the segments behind a member's weights, or behind (member, interval), root first.

        Members that have left the population have a lineage too.
        """
        return self.record.lineage(member)

    def schedule(self, member: int | None = None) -> Schedule:
        """Return the hyperparameters along a member's lineage; None = the winner's.

        Runs no task code.
        """
        return self.record.schedule(member, self.telemetry)

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
        return reopen_task(
            self.record, config, self.directory, None, "load", allow_changed=self.allow_changed_task
        )

    @cached_property
    def winner(self) -> Winner:
        """The member with the best final score; ties go to the lowest member.

        Raises:
            AllMembersFailedError: No present member has a finite score.
        """
        segment = self.record.winner
        line = self.record.lineage(segment.id)
        return Winner(
            segment, line, self.state(segment.id), self.task, self.telemetry, self.record.ranking
        )

    @property
    def made_by(self) -> dict[str, Any]:
        """Task, options, versions and ranking behind the winner, for the files that describe it."""
        return {
            "task": None if self.record.given_task else self.config.task,
            "options": self.config.options,
            "code": dict(self.record.code),
            "made_with": self.config.made_with,
            "ranked_by": {
                "metric": self.record.ranking.metric,
                "direction": self.record.ranking.direction,
            },
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
        return checkpoints.load(digest, lambda: self._network_bytes(segment))

    def _network_bytes(self, segment: SegmentId) -> int | None:
        """Return the bytes of a segment's network; None if the task is not at hand."""
        if self.trained_task is None and self.record.given_task:
            return None
        return network_bytes(self.task, self.record.by_id[segment].hparams)

    # --- evaluation -------------------------------------------------------------------------------

    @property
    def has_test(self) -> bool:
        """Whether the task can be evaluated on the test split."""
        return reads_test_split(self.task)

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
            RunError: The state is gone, or a file of the run lies elsewhere.
        """
        if self.run_directory is not None:
            self.run_directory.check_own()  # the reading is written there
        recorded = self.record.by_id[segment]
        ctx = Context(
            recorded.member, recorded.interval, recorded.last_step, self._device(), self.config.seed
        )
        metrics = evaluate(self.task, self.state(segment), recorded.hparams, split, ctx)

        self._record_reading(reader, split, segment, metrics)
        return metrics

    def soup(
        self,
        *,
        test: bool = False,
        batches: Iterable[Any] | None = None,
        reader: str = "Result.soup",
    ) -> Soup:
        """Return the last members as one model: averages of their weights, and their ensemble.

        All choices are made on the validation split. The chosen average is written beside the
        winner's weights, as soup.safetensors and soup.json for `popgrad.load_model`.

        Args:
            test: Whether to evaluate all on the test split too, for comparison; it is recorded.
            batches: Training batches, inputs or (inputs, ...), for networks of a loop with BatchNorm
                layers; None = those of the task.
            reader: Name of the caller, for the record.

        Raises:
            AllMembersFailedError: No present member has a finite score.
            UsageError: The run was in memory only, the task trains no networks that can be evaluated
                or has no test split, or fewer than two members have networks of equal shapes.
        """
        if self.run_directory is None:
            raise UsageError(
                "soup: the run was in memory only, and kept the winner's state alone; give it a directory"
            )
        if test and not self.has_test:
            raise UsageError("soup: test: the task has no evaluation on a test split; leave it out")
        self.run_directory.check_own()
        best = self.record.winner
        ctx = Context(best.member, best.interval, best.last_step, self._device(), self.config.seed)
        last = tuple(self.last.values())
        ranking = self.record.ranking
        soup = make_soup(self.task, last, self.state, ranking, ctx, test=test, batches=batches)

        for candidate in soup.candidates:
            if candidate.test is not None:
                # An average or an ensemble is the final state of no segment.
                segment = best.id if candidate is soup.winner else NO_SEGMENT
                words = f"{reader}: {candidate.words}"
                self._record_reading(words, "test", segment, candidate.test)
        soup.save(self.run_directory.soup, self.made_by)
        return soup

    def _record_reading(
        self, reader: str, split: Split, segment: SegmentId, metrics: Mapping[str, float]
    ) -> None:
        try:
            self._append_reading(reader, split, segment, metrics)
        except RunError as error:
            # The directory may not be writable; the metrics are right all the same.
            log.warning("the reading is not in the record: %s", error)

    def _append_reading(
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
