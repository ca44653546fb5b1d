"""The table of the members during a run: their last and best segments, as a strategy reads them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from popgrad.core.errors import AllMembersFailedError, RunError
from popgrad.core.fault import Fault
from popgrad.core.population import Hparams, Plan, Population, Segment, SegmentId
from popgrad.core.seeding import Floats, Index
from popgrad.core.space import Space
from popgrad.record.progress import Progress


class MemberTable:
    """Last and best segment of each member.

    A strategy gets views of the table, so a decision copies nothing.

    Args:
        hparams: [N] hyperparameters that each member starts with.
        begin: First interval of the present occupant of each slot, by member; 0 if the slot is not
            listed.

    Attributes:
        last: Last segment of each member that has one.
        best: Best segment of each slot that has had a finite score.
    """

    def __init__(self, hparams: Iterable[Hparams], begin: Mapping[int, int] | None = None) -> None:
        self.last: dict[int, Segment] = {}
        self.best: dict[int, Segment] = {}
        self._hparams = list(hparams)
        self._begin = begin or {}

        size = len(self._hparams)
        self._scores: Floats = np.full(size, math.nan)
        self._steps: Index = np.zeros(size, np.int64)
        self._intervals: Index = np.zeros(size, np.int64)

    @classmethod
    def of(cls, progress: Progress, segments: Mapping[SegmentId, Segment]) -> Self:
        """Return the table of the present members.

        Args:
            progress: Progress of the members.
            segments: The record, in the order of intervals.
        """
        newest = progress.newest
        table = cls(
            (newest[member].hparams for member in sorted(newest)),
            {member: slot.interval for member, slot in progress.refilled.items()},
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
        if not counted.any():
            return int(self._intervals.max())
        return int(self._intervals[counted].min())

    def population(self) -> Population:
        """Return the population as a strategy sees it: read-only views of this table."""
        scores = self._scores.view()
        intervals = self._intervals.view()
        steps = self._steps.view()
        # A strategy that changes what it is given would change the table.
        for view in (scores, intervals, steps):
            view.flags.writeable = False
        return Population(scores, intervals, steps, self._hparams)

    def check(self, plan: Plan, ready: Index, space: Space) -> Plan:
        """Return a plan with hyperparameters in the types of the space.

        Args:
            plan: Plan of a strategy.
            ready: [R] members that it has to cover.
            space: Dimensions of the hyperparameters.

        Raises:
            RunError: The plan covers other members, or a source has no state.
            UsageError: Hyperparameters are not in the space.
        """
        lengths = {len(plan.members), len(plan.sources), len(plan.hparams), len(plan.changes)}
        # Strategies are users' code, so a plan is checked before anything is recorded.
        if sorted(plan.members) != ready.tolist() or lengths != {len(ready)}:
            raise RunError(
                f"the strategy's plan is for the members {plan.members}, expected {ready.tolist()}"
            )

        hparams = []
        for member, source, planned in zip(plan.members, plan.sources, plan.hparams, strict=True):
            if source != member and (source not in self.last or self.last[source].failed):
                raise RunError(
                    f"the strategy's plan lets member {member} inherit from {source}, which has no state"
                )
            # The very same mapping was checked when its segment was planned.
            unchanged = member in self.last and planned is self.last[member].hparams
            hparams.append(
                planned if unchanged else space.check(planned, f"the plan for member {member}")
            )
        return replace(plan, hparams=tuple(hparams))

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
