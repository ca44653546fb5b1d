"""The population as a strategy sees it, as frozen data.

In the shape descriptions N is the size of the population, R the number of ready members, A the
number of archived segments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from popgrad.core.history import NO_HISTORY, History
from popgrad.core.seeding import Floats, Index

Value = float | int | str | bool
Hparams = Mapping[str, Value]
Change = float | str
"""Origin of a value: the factor it was multiplied by, or one of "sampled", "given", "kept",
"inherited", "resampled", "next", "previous", "modelled" (a model chose it), "moved" (towards the value of
a better member)."""
Changes = Mapping[str, Change]
SegmentId = tuple[int, int]
"""(member, interval): names one segment of a run; intervals count from 0."""
FRESH = -1
"""Source of a member that starts fresh, with new weights, whatever its slot has trained before."""


@dataclass(frozen=True)
class Archive:
    """Older segments whose states a strategy has asked to keep, as rows behind the members.

    Attributes:
        segments: [A] (member, interval) of each.
        scores: [A] their scores, higher is better.
        steps: [A] training steps behind their states.
        hparams: [A] their complete hyperparameters.
    """

    segments: tuple[SegmentId, ...] = ()
    scores: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    hparams: tuple[Hparams, ...] = ()

    def __len__(self) -> int:
        return len(self.segments)


@dataclass(frozen=True)
class Budget:
    """Training that a run may spend, in member-intervals: one member trained for one interval.

    Attributes:
        total: Member-intervals of the run: members times intervals.
        spent: Member-intervals of all segments so far, those that failed included.
    """

    total: int = 0
    spent: int = 0

    @property
    def left(self) -> int:
        """Member-intervals that are left."""
        return max(0, self.total - self.spent)


@dataclass(frozen=True)
class Population:
    """The members as a strategy sees them. The arrays are read-only views of the engine's own.

    Attributes:
        scores: [N] scores of the last completed segments, higher is better; not finite = failed.
        intervals: [N] completed intervals.
        steps: [N] training steps behind the weights, along the lineage.
        hparams: [N] complete hyperparameters of the last completed segments.
        segments: [N] last completed segment of each member; () = not known.
        metrics: [N] validation metrics of the last completed segments, by name; () = not known.
        samples: [N] samples of the score, each [n], higher is better; their mean is the score. A
            score without samples is its only sample. () = not known.
        curves: [N] scores of the evaluations within the last completed segments, each [evaluations]
            in order of their steps; the last one is the score. () = not known.
        roles: [N] roles of the members, as the last plan gave them; () = there are none.
        resting: Members that the last plan let rest.
        archive: Segments that the last plan asked to keep. Source N + i is the i-th of them.
        budget: Training that the run may spend.
        past: Returns the history; called once, and only if a strategy reads it.

    Example:
        >>> import numpy as np
        >>> from popgrad import Population
        >>> population = Population(
        ...     scores=np.array([0.9, np.nan]),
        ...     intervals=np.array([2, 1]),
        ...     steps=np.array([200, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> len(population), int(np.nanargmax(population.scores))
        (2, 0)
    """

    scores: Floats
    intervals: Index
    steps: Index
    hparams: Sequence[Hparams]
    segments: Sequence[SegmentId] = ()
    metrics: Sequence[Mapping[str, float]] = ()
    samples: Sequence[Floats] = ()
    curves: Sequence[Floats] = ()
    roles: Sequence[str] = ()
    resting: frozenset[int] = frozenset()
    archive: Archive = Archive()
    budget: Budget = Budget()
    past: Callable[[], History] = NO_HISTORY

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def history(self) -> History:
        """All segments so far, as columns."""
        return self.past()
