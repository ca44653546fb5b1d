"""The table of the members during a run: their last and best segments, as a strategy reads them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from popgrad.core.errors import AllMembersFailedError, RunError
from popgrad.core.fault import Fault
from popgrad.core.history import NO_HISTORY, History
from popgrad.core.plain_plan import plain_plan
from popgrad.core.plan import Plan
from popgrad.core.population import FRESH, Archive, Budget, Hparams, Population, SegmentId
from popgrad.core.score import Score
from popgrad.core.seeding import Floats, Index
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record.progress import Progress

NO_ARCHIVE = Archive()


class MemberTable:
    """Last and best segment of each member.

    A strategy gets views of the table, so a decision copies nothing.

    Args:
        hparams: [N] hyperparameters that each member starts with.
        begin: First interval of the present occupant of each slot, by member; 0 if the slot is not
            listed.
        ranking: Metric that ranks, with its direction; None = it is not known.

    Attributes:
        last: Last segment of each member that has one.
        best: Best segment of each slot that has had a finite score.
        resting: Members that train nothing, as the last plan has it.
    """

    def __init__(
        self,
        hparams: Iterable[Hparams],
        begin: Mapping[int, int] | None = None,
        ranking: Score | None = None,
    ) -> None:
        self.last: dict[int, Segment] = {}
        self.best: dict[int, Segment] = {}
        self.resting: frozenset[int] = frozenset()
        self._hparams = list(hparams)
        self._begin = begin or {}
        self._ranking = ranking

        size = len(self._hparams)
        self._scores: Floats = np.full(size, math.nan)
        self._steps: Index = np.zeros(size, np.int64)
        self._intervals: Index = np.zeros(size, np.int64)
        self._segments: list[SegmentId] = [(member, -1) for member in range(size)]
        self._metrics: list[Mapping[str, float]] = [{} for _ in range(size)]
        self._samples: list[Floats] = [np.array([math.nan]) for _ in range(size)]
        self._curves: list[Floats] = list(self._samples)
        self._roles = [""] * size
        self._has_roles = False

    @classmethod
    def of(
        cls,
        progress: Progress,
        segments: Mapping[SegmentId, Segment],
        ranking: Score | None = None,
    ) -> Self:
        """Return the table of the present members.

        Args:
            progress: Progress of the members.
            segments: The record, in the order of intervals.
            ranking: Metric that ranks, with its direction; None = it is not known.
        """
        newest = progress.newest
        table = cls(
            (newest[member].hparams for member in sorted(newest)),
            {member: slot.interval for member, slot in progress.refilled.items()},
            ranking,
        )

        for member, slot in progress.refilled.items():
            if slot.holds is not None:
                table.hold(member, segments[slot.holds], slot.interval)
        # In order of intervals, so that each member's last segment is the one that stays.
        for segment in segments.values():
            if segment.member in newest:
                table.update(segment)
        return table

    def update(self, segment: Segment) -> None:
        """Enter a finished segment."""
        member = segment.member
        if not segment.failed and (
            member not in self.best or segment.score > self.best[member].score
        ):
            self.best[member] = segment
        if segment.interval >= self._begin.get(member, 0):
            self.hold(member, segment, segment.interval + 1)

    def hold(self, member: int, segment: Segment, intervals: int) -> None:
        """Enter that a member has the state of a segment.

        Args:
            member: The member.
            segment: Segment whose final state it has; it may be another member's.
            intervals: Intervals that the member has completed.
        """
        self.last[member] = segment
        self._scores[member] = segment.score
        self._hparams[member] = segment.hparams
        self._steps[member] = segment.last_step
        self._intervals[member] = intervals
        self._segments[member] = segment.id
        self._metrics[member] = segment.metrics
        self._samples[member] = self._score_samples(segment)
        self._curves[member] = self._curve(segment)
        self._roles[member] = segment.role
        self._has_roles = self._has_roles or bool(segment.role)

    def _score_samples(self, segment: Segment) -> Floats:
        """Return the samples of a segment's score, higher is better; at least the score itself."""
        if self._ranking is None or self._ranking.metric not in segment.metric_samples:
            return np.array([segment.score])
        values = np.array(segment.metric_samples[self._ranking.metric])
        return -values if self._ranking.minimize else values

    def _curve(self, segment: Segment) -> Floats:
        """Return the scores of the evaluations behind the steps of a segment; at least the score."""
        within = [each.metrics for each in segment.evaluations if each.step]
        if self._ranking is None or not within:
            return np.array([segment.score])
        name = self._ranking.metric
        return np.array([self._ranking.rank(metrics[name]) for metrics in within])

    @property
    def best_score(self) -> float:
        """Best finite last score; nan = there is none.

        A score of +inf is a failure, not the best.
        """
        finite = self._scores[np.isfinite(self._scores)]
        return float(finite.max()) if finite.size else math.nan

    @property
    def completed(self) -> int:
        """Intervals that every member without a failure has completed."""
        counted = np.isfinite(self._scores) | (self._intervals == 0)
        counted[list(self.resting)] = False
        if not counted.any():
            return int(self._intervals.max())
        return int(self._intervals[counted].min())

    def population(
        self,
        archive: Sequence[Segment] = (),
        budget: Budget | None = None,
        past: Callable[[], History] = NO_HISTORY,
    ) -> Population:
        """Return the population as a strategy sees it: read-only views of this table.

        Args:
            archive: Segments that the strategy asked to keep.
            budget: Training that the run may spend; None = it is not known.
            past: Returns the history.
        """
        scores = self._scores.view()
        intervals = self._intervals.view()
        steps = self._steps.view()
        # A strategy that changes what it is given would change the table.
        for view in (scores, intervals, steps):
            view.flags.writeable = False

        return Population(
            scores,
            intervals,
            steps,
            self._hparams,
            segments=self._segments,
            metrics=self._metrics,
            samples=self._samples,
            curves=self._curves,
            roles=self._roles if self._has_roles else (),
            resting=self.resting,
            archive=Archive(
                tuple(segment.id for segment in archive),
                tuple(segment.score for segment in archive),
                tuple(segment.last_step for segment in archive),
                tuple(segment.hparams for segment in archive),
            ),
            budget=budget or Budget(),
            past=past,
        )

    def check(self, plan: Plan, ready: Index, space: Space, archive: Archive = NO_ARCHIVE) -> Plan:
        """Return a plan that can be obeyed, in plain types, with hyperparameters in those of the space.

        Archived sources are numbered from -2 down: their place does not depend on the population's size.

        Args:
            plan: Plan of a strategy.
            ready: [R] members that it has to cover.
            space: Dimensions of the hyperparameters.
            archive: Archived segments, which are the sources from N on.

        Raises:
            RunError: The plan covers other members, a source has no state, or a column has another
                length.
            UsageError: Hyperparameters are not in the space.
        """
        plan = plain_plan(plan)
        lengths = {len(plan.members), len(plan.sources), len(plan.hparams), len(plan.changes)}
        # Strategies are users' code, so a plan is checked before anything is recorded.
        if sorted(plan.members) != ready.tolist() or lengths != {len(ready)}:
            raise RunError(
                f"the strategy's plan is for the members {plan.members}, expected {ready.tolist()}"
            )

        self._check_parts(plan, archive.segments)

        size = max(len(self._hparams), len(ready))
        rows = range(size, size + len(archive))
        hparams = []
        for member, source, planned in zip(plan.members, plan.sources, plan.hparams, strict=True):
            has_state = source in self.last and not self.last[source].failed
            archived = source in rows and math.isfinite(archive.scores[source - size])
            if source not in (member, FRESH) and not has_state and not archived:
                raise RunError(
                    f"the strategy's plan lets member {member} inherit from {source}, which has no state"
                )
            # The very same mapping was checked when its segment was planned.
            unchanged = member in self.last and planned is self.last[member].hparams
            hparams.append(
                planned if unchanged else space.check(planned, f"the plan for member {member}")
            )
        sources = tuple(size - 2 - source if source in rows else source for source in plan.sources)
        return replace(plan, sources=sources, hparams=tuple(hparams))

    def _check_parts(self, plan: Plan, archive: Sequence[SegmentId]) -> None:
        """Refuse columns of another length, lengths below 1, and segments to keep that have no state."""
        columns = {
            "rests": plan.rests,
            "lengths": plan.lengths,
            "transforms": plan.transforms,
            "roles": plan.roles,
        }
        for name, column in columns.items():
            if column and len(column) != len(plan.members):
                raise RunError(
                    f"the strategy's plan has {len(column)} {name} for {len(plan.members)} members"
                )
        if any(length < 1 for length in plan.lengths):
            raise RunError(
                f"the strategy's plan has the lengths {plan.lengths}, expected at least 1"
            )

        if plan.keep:
            held = {segment.id for segment in self.last.values() if segment.digest}
            lost = [segment for segment in plan.keep if segment not in held.union(archive)]
            if lost:
                raise RunError(
                    f"the strategy's plan keeps {lost[0]}, which is neither the last segment of a member "
                    "with a state nor archived"
                )

    def all_failed(self, reason: str) -> AllMembersFailedError:
        """Return the error of a run in which every member has failed, with the first failure.

        Args:
            reason: Explanation to use unless most members failed by an exception.
        """
        last = [self.last[member] for member in sorted(self.last)]
        errors = [segment.error for segment in last if segment.error]
        exceptions = [segment.error for segment in last if segment.broke]
        if len(exceptions) > len(errors) / 2:
            reason = f"all {len(self._hparams)} members have failed, most by an exception"
        if not errors:
            return AllMembersFailedError(reason)
        error = AllMembersFailedError(f"{reason}\nThe first failure: {(exceptions or errors)[0]}")
        error.in_task = any(map(Fault.read, exceptions))
        return error
