"""What a run has given: the winner, the history, the lineage; from memory or from a run directory."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from popgrad.config import RunConfig, parse
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Segment, SegmentId, Telemetry
from popgrad.core.space import Space
from popgrad.executors.base import evaluate, resolve_devices
from popgrad.report import frame, rows
from popgrad.state import State
from popgrad.store import lineage
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.standing import present_in
from popgrad.tasks.base import Context, Split, Task
from popgrad.winner import Winner

log = logging.getLogger("popgrad")


@dataclass(frozen=True)
class Result:
    """The record of a run, and what can be asked of it.

    Attributes:
        segments: Every segment, in order of (interval, member).
        last: Each member's last segment, of those who are in the population, by member.
        size: Members of the population now; `config.population` is how many are wanted.
        telemetry: Clock times and training curves, by segment; no part of the record.
        space: What was searched.
        score_name: The metric that ranks.
        directory: Where it lies; None = in memory only.
        stopped: Why it ended: "finished", "target score", "time" or "unfinished".
        config: The resolved configuration.
        named: Whether the configuration names the task, else it was given as an instance.
        make_task: The task, made when it is needed.
        read_state: The final state of a segment, read when it is needed.
        note_reading: Records that a split was read.
    """

    segments: tuple[Segment, ...] = field(repr=False)
    last: Mapping[int, Segment] = field(repr=False)
    size: int
    telemetry: Mapping[SegmentId, Telemetry] = field(repr=False)
    space: Space
    score_name: str
    directory: Path | None
    stopped: str
    config: RunConfig = field(repr=False)
    named: bool = field(repr=False)
    make_task: Callable[[], Task] = field(repr=False)
    read_state: Callable[[SegmentId], State] = field(repr=False)
    note_reading: Callable[[str, str, str, SegmentId, Mapping[str, float]], None] = field(repr=False)

    @cached_property
    def task(self) -> Task:
        """What was trained. Runs the task's code."""
        return self.make_task()

    @cached_property
    def winner(self) -> Winner:
        """The best final score of a live member; ties go to the lowest member.

        Raises:
            NobodyLeftError: No member is alive at the end.
        """
        segment = lineage.winner(self.last.values())
        return Winner(
            segment, lineage.lineage(self.segments, segment.id), self.read_state(segment.id), self.task
        )

    @property
    def made_by(self) -> dict[str, Any]:
        """What made the winner, for the files that are written of it: task, options, versions."""
        return {
            "task": self.config.task if self.named else None,
            "options": self.config.options,
            "made_with": self.config.made_with,
        }

    @property
    def best_ever(self) -> Segment:
        """The best score of any interval; its weights may be gone."""
        return lineage.best_ever(self.segments)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per segment: what `history.csv` holds."""
        return rows(self.segments, self.telemetry, self.space)

    def frame(self) -> Any:
        """`history` as a pandas data frame. Raises `UsageError` where there is no pandas."""
        return frame(self.history)

    def lineage(self, member: int | SegmentId) -> tuple[Segment, ...]:
        """The segments behind a member's weights, or behind (member, interval), the first one first.

        Members that have left the population have theirs, too.
        """
        leaf = self.last[member].id if isinstance(member, int) and member in self.last else member
        return lineage.lineage(self.segments, leaf)

    def best(self, member: int) -> Segment:
        """A member's best segment so far; its state is kept beside the last one's."""
        return lineage.best_ever([segment for segment in self.segments if segment.member == member])

    def test(self, member: int | None = None, *, reader: str = "Result.test") -> dict[str, float]:
        """Metrics of a member's final state on the test split, which selection never sees.

        Args:
            member: Whose; None = the winner's.
            reader: Who reads, for the record.
        """
        segment = self.winner.segment if member is None else self.lineage(member)[-1]
        return self.evaluate(segment.id, "test", reader=reader)

    def evaluate(self, segment: SegmentId, split: Split, *, reader: str) -> dict[str, float]:
        """Metrics of the final state of a segment on a split; the reading is recorded.

        Args:
            segment: Whose state; those of each member's last and best segment are kept.
            split: "train", "validation" or "test".
            reader: Who reads, for the record.

        Raises:
            RunError: The state is gone.
        """
        found = next(each for each in self.segments if each.id == segment)
        ctx = Context(found.member, found.interval, found.last_step, self._device(), self.config.seed)
        metrics = evaluate(self.task, self.read_state(segment), found.hparams, split, ctx)
        try:
            self.note_reading(
                datetime.now(UTC).isoformat(timespec="seconds"), reader, split, segment, metrics
            )
        except RunError as error:  # a directory that cannot be written to
            log.warning("the reading is not in the record: %s", error)
        return metrics

    def _device(self) -> torch.device:
        try:
            return resolve_devices(self.config.device)[0]
        except UsageError as error:
            log.warning("%s; evaluating on the CPU", error)
            return torch.device("cpu")


_PATIENCE = 2.0
"""Seconds that a checkpoint of a run in progress may be behind its record: a few milliseconds are usual."""


def result_of(
    journal: Journal,
    place: Directory | None,
    about: Mapping[str, Any],
    task: Callable[[], Task],
    final: Mapping[SegmentId, State],
) -> Result:
    """The result that a journal tells of, as far as it has come.

    Args:
        journal: The record; read now, and written to where a split is read of a run without a directory.
        place: The run's directory; None = in memory only.
        about: What the journal knows of the run as a whole.
        task: Makes the task when it is needed.
        final: States that are at hand.
    """
    config = parse(about["config"])
    segments = tuple(journal.segments())
    digests = {segment.id: segment.digest for segment in segments}

    def state(segment: SegmentId) -> State:
        if segment in final:
            return final[segment]
        if place is None:
            raise UsageError(f"the state of segment {segment} was not kept: give the run a directory")
        if about.get("stopped") == "unfinished":
            place.checkpoints.wait([digests[segment]], _PATIENCE)
        return place.checkpoints.load(digests[segment])

    def note_reading(*reading: Any) -> None:
        if place is None:
            journal.append_reading(*reading)
            return
        own = Journal(place.journal)
        try:
            own.append_reading(*reading)
        finally:
            own.close()

    return Result(
        segments=segments,
        last=present_in(journal, segments).last,
        size=journal.sizes()[-1],
        telemetry=journal.telemetry(),
        space=Space.from_spec(about["space"]),
        score_name=about["score"],
        directory=None if place is None else place.path,
        stopped=about.get("stopped", "unfinished"),
        config=config,
        named=not about["given_task"],
        make_task=task,
        read_state=state,
        note_reading=note_reading,
    )
