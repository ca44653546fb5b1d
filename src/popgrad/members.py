"""The members as a run goes: the last and the best segment of each, and what a strategy sees of them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from popgrad.core.errors import NobodyLeftError, RunError
from popgrad.core.population import Hparams, Plan, Population, Segment
from popgrad.core.seeding import Floats, Index
from popgrad.core.space import Space


class Members:
    """What is known of each member. A strategy is shown views of it, so that a decision copies nothing.

    Args:
        hparams: What each begins with.
        begun: The first interval of whoever is in a slot now, by member; 0 where it is not named.

    Attributes:
        last: Each member's last segment, where it has one.
        best: Each slot's best one, where a score was finite.
    """

    def __init__(self, hparams: Iterable[Hparams], begun: Mapping[int, int] | None = None) -> None:
        self.last: dict[int, Segment] = {}
        self.best: dict[int, Segment] = {}
        self._hparams, self._begun = list(hparams), begun or {}
        size = len(self._hparams)
        self._scores: Floats = np.full(size, math.nan)
        self._steps: Index = np.zeros(size, np.int64)
        self._intervals: Index = np.zeros(size, np.int64)

    def update(self, segment: Segment) -> None:
        """A member has finished a segment."""
        member = segment.member
        if not segment.failed and (member not in self.best or segment.score > self.best[member].score):
            self.best[member] = segment
        if segment.interval >= self._begun.get(member, 0):
            self.hold(member, segment, segment.interval + 1)

    def hold(self, member: int, segment: Segment, intervals: int) -> None:
        """A member has the state of a segment, after so many intervals of its own."""
        self.last[member] = segment
        self._scores[member], self._hparams[member] = segment.score, segment.hparams
        self._steps[member], self._intervals[member] = segment.last_step, intervals

    @property
    def best_score(self) -> float:
        """The best last score; nan where none is finite. A score of +inf is a failure, no best."""
        finite = self._scores[np.isfinite(self._scores)]
        return float(finite.max()) if finite.size else math.nan

    @property
    def least(self) -> int:
        """Intervals that everybody has completed who has not failed."""
        alive = np.isfinite(self._scores) | (self._intervals == 0)
        return int(self._intervals[alive].min() if alive.any() else self._intervals.max())

    def population(self) -> Population:
        """As a strategy sees it: read-only views."""
        scores, intervals, steps = self._scores.view(), self._intervals.view(), self._steps.view()
        for view in (scores, intervals, steps):
            view.flags.writeable = False
        return Population(scores, intervals, steps, self._hparams)

    def checked(self, plan: Plan, ready: Index, space: Space) -> Plan:
        """The plan with hyperparameters in the space's own types; refused where it cannot be obeyed.

        Raises:
            RunError: It is not about the ready members, or a source is none, or has failed.
            UsageError: Hyperparameters are not in the space.
        """
        last = self.last
        sizes = {len(plan.members), len(plan.sources), len(plan.hparams), len(plan.changes)}
        if sorted(plan.members) != ready.tolist() or sizes != {len(ready)}:
            raise RunError(
                f"the strategy's plan is for the members {plan.members}, ready are {ready.tolist()}"
            )
        hparams = []
        for member, source, wanted in zip(plan.members, plan.sources, plan.hparams, strict=True):
            if source != member and (source not in last or last[source].failed):
                raise RunError(f"the strategy lets member {member} inherit from {source}, which has no state")
            known = member in last and wanted is last[member].hparams
            hparams.append(wanted if known else space.check(wanted, f"the plan for member {member}"))
        return replace(plan, hparams=tuple(hparams))

    def nobody_left(self, why: str) -> NobodyLeftError:
        """What is raised where nobody is alive: why, and the first failure."""
        last = [self.last[member] for member in sorted(self.last)]
        errors = [segment.error for segment in last if segment.error]
        raised = [segment.error for segment in last if segment.broke]
        why = (
            f"all {len(self._hparams)} members have failed, most by an exception"
            if len(raised) > len(errors) / 2
            else why
        )
        return NobodyLeftError(f"{why}\nThe first failure: {(raised or errors)[0]}" if errors else why)
