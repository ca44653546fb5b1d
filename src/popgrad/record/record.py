"""The record of a run as one value: what it was given, its segments, and the decisions between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from popgrad.core.plan import Decision
from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record import lineage
from popgrad.record.live import Curves
from popgrad.record.progress import Progress, progress_after, recorded_starts
from popgrad.record.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a run so far. Equal runs have equal segments and decisions.

    Attributes:
        space: Dimensions that the run searches.
        score_name: Metric that ranks, as `Score.parse` reads it; "-loss" ranks by the lowest loss.
        segments: Finished segments, ordered by (interval, member).
        decisions: Decisions in order. They may be left out if the population has never changed its
            size.
        sizes: Sizes of the population, from the first to the present one; () = never recorded.
        config: Resolved configuration as plain values, by key.
        given_task: Whether the run was given a task instance, which a configuration cannot name.
        task_digest: SHA-256 of the task's source; "" = the task is built in, or its source cannot
            be read.
        code: SHA-256 of each source that was imported by name when the run was started, by that name.
        run_id: Random name of the run, also of its copies; "" = not recorded.
        fingerprint: Arithmetic of the machine that started the run; empty = nothing has trained
            yet.
        stopped: Reason the run ended: "finished", "target score", "patience", "time",
            "callback", or "unfinished".
        reuse: Whether loops train several segments; None = the task is no loop.
        shared_budget: Whether the members share one budget of members times intervals; else each
            trains all intervals.
        study: Settings of a study, whose members are trained by its callers; None = a run.
        resting: Members that rest since the last decision: they keep their state, and train nothing.
    """

    space: Space
    score_name: str
    segments: tuple[Segment, ...] = field(default=(), repr=False)
    decisions: tuple[Decision, ...] = field(default=(), repr=False)
    sizes: tuple[int, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    given_task: bool = False
    task_digest: str = ""
    code: Mapping[str, str] = field(default_factory=dict, repr=False)
    run_id: str = ""
    fingerprint: Mapping[str, object] = field(default_factory=dict, repr=False)
    stopped: str = "unfinished"
    reuse: bool | None = None
    shared_budget: bool = False
    study: Mapping[str, Any] | None = None
    resting: frozenset[int] = frozenset()

    @cached_property
    def ranking(self) -> Score:
        """Metric that ranks, with its direction."""
        return Score.parse(self.score_name)

    @cached_property
    def by_id(self) -> dict[SegmentId, Segment]:
        """Segments by (member, interval)."""
        return lineage.index(self.segments)

    @cached_property
    def progress(self) -> Progress:
        """State of the members after the last decision. Needs all decisions."""
        return progress_after(recorded_starts(self.segments), self.decisions, self.by_id)

    @property
    def _resized(self) -> bool:
        return len(self.sizes) > 1

    @property
    def size(self) -> int:
        """Members in the population now."""
        return self.sizes[-1] if self.sizes else len(self.last)

    @cached_property
    def last(self) -> dict[int, Segment]:
        """Segment whose state each present member has, by member in ascending order."""
        return (
            self.progress.last(self.segments)
            if self._resized
            else lineage.last_segments(self.segments)
        )

    @cached_property
    def ahead(self) -> set[SegmentId]:
        """Segments that a decided but untrained segment starts from. Needs all decisions."""
        return self.progress.ahead(self.by_id)

    @cached_property
    def copied(self) -> frozenset[SegmentId]:
        """Segments that started from a donor's state."""
        return lineage.inherited(self.segments)

    @property
    def spent(self) -> int:
        """Member-intervals of all segments: one member trained for one interval."""
        return sum(segment.length for segment in self.segments)

    @property
    def archive(self) -> tuple[SegmentId, ...]:
        """Segments whose states the strategy keeps. Needs the decisions."""
        return self.decisions[-1].plan.keep if self.decisions else ()

    @property
    def winner(self) -> Segment:
        """Last segment with the best score among the present members; ties: the lowest member.

        Raises:
            AllMembersFailedError: No present member has a finite score.
        """
        return lineage.winner(self.last.values())

    @property
    def best_ever(self) -> Segment:
        """Segment with the best score of the whole run; ties: the earliest interval, then the lowest member.

        Raises:
            AllMembersFailedError: No segment has a finite score.
        """
        return lineage.best_ever(self.segments)

    def leaf(self, member: int | None, interval: int | None) -> int | SegmentId | None:
        """Return the leaf of a lineage that a request names.

        Args:
            member: Member; None = the winner.
            interval: Interval of that member; None = its last state is meant.

        Raises:
            AllMembersFailedError: There is no winner.
        """
        if interval is None:
            return member
        return self.winner.member if member is None else member, interval

    def lineage(self, leaf: int | SegmentId | None = None) -> tuple[Segment, ...]:
        """Return the segments behind a member's weights, root first.

        Args:
            leaf: A member (its last state is meant), a segment (member, interval), or None for the
                winner.

        Raises:
            UsageError: The record has no such member or segment.
            AllMembersFailedError: There is no winner.
        """
        if leaf is None:
            leaf = self.winner.id
        elif isinstance(leaf, int) and leaf in self.last:
            leaf = self.last[leaf].id

        return lineage.lineage(self.segments, leaf)

    def schedule(
        self, leaf: int | SegmentId | None = None, curves: Curves | None = None
    ) -> Schedule:
        """Return the hyperparameters along a lineage.

        Args:
            leaf: As in `lineage`, which also raises the errors.
            curves: Telemetry by segment, for live values; None = unknown.
        """
        return lineage.schedule(self.lineage(leaf), curves)
