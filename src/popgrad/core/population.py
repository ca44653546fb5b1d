"""The words of popgrad as frozen data: Population, Plan, Decision, Assignment, Outcome, Segment.

In the shape descriptions N is the size of the population and R the number of ready members.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from popgrad.core.seeding import Floats, Index

Value = float | int | str | bool
Hparams = Mapping[str, Value]
Change = float | str
"""Origin of a value: the factor it was multiplied by, or one of "sampled", "given", "kept",
"inherited", "resampled", "next", "previous"."""
Changes = Mapping[str, Change]
SegmentId = tuple[int, int]
"""(member, interval): names one segment of a run; intervals count from 0."""


@dataclass(frozen=True)
class Population:
    """The members as a strategy sees them. The arrays are read-only views of the engine's own.

    Attributes:
        scores: [N] scores of the last completed segments, higher is better; not finite = failed.
        intervals: [N] completed intervals.
        steps: [N] training steps behind the weights, along the lineage.
        hparams: [N] complete hyperparameters of the last completed segments.

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

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Plan:
    """The next step of each ready member. Executors obey it; the journal stores it as obeyed.

    Attributes:
        members: [R] ready members.
        sources: [R] members to continue from, each from its last completed segment; the member
            itself = keep, or start fresh if it is new.
        hparams: [R] complete hyperparameters, changed or not.
        changes: [R] origin of each hyperparameter.

    Example:
        Member 0 continues; member 1 copies its weights, and explores.

        >>> from popgrad import Plan
        >>> plan = Plan(
        ...     members=(0, 1),
        ...     sources=(0, 0),
        ...     hparams=({"lr": 0.1}, {"lr": 0.08}),
        ...     changes=({"lr": "kept"}, {"lr": 0.8}),
        ... )
        >>> [member for member, source in zip(plan.members, plan.sources) if source != member]
        [1]
    """

    members: tuple[int, ...]
    sources: tuple[int, ...]
    hparams: tuple[Hparams, ...]
    changes: tuple[Changes, ...]


@dataclass(frozen=True)
class Decision:
    """A plan as it was obeyed, with the strategy's memory after it.

    Attributes:
        number: Position among the decisions of a run, from 0.
        plan: The obeyed plan.
        memory: Memory of the strategy, plain JSON; its input at the next decision.
        starts: [R] last completed segments of the sources if members decide one by one; None = a
            new member that starts fresh. Empty if all members decide at once.
        size: Members of the population from this decision on; None = unchanged.
    """

    number: int
    plan: Plan
    memory: Mapping[str, object]
    starts: tuple[SegmentId | None, ...] = ()
    size: int | None = None


@dataclass(frozen=True)
class Assignment:
    """One segment to train: everything that an executor is given.

    Attributes:
        member: Slot in the population.
        interval: Interval of the member, from 0.
        source: Segment whose final state it starts from; None = a fresh member.
        hparams: Complete hyperparameters, written before the first step.
        seed: Seed of the run; with member and interval it gives every stream of the segment.
        first_step: Training steps behind the source state.
        steps: Steps to train, at least 1.
        checkpoint: Whether to write the final state to a checkpoint.
    """

    member: int
    interval: int
    source: SegmentId | None
    hparams: Hparams
    seed: int
    first_step: int
    steps: int
    checkpoint: bool = True

    @property
    def id(self) -> SegmentId:
        """(member, interval)."""
        return self.member, self.interval


@dataclass(frozen=True)
class Outcome:
    """The result of one assignment, from an executor.

    Attributes:
        id: (member, interval) of the assignment.
        metrics: Validation metrics by name; empty if the member failed before it was evaluated.
        digest: SHA-256 of the final state; "" = there is none.
        samples: Training samples behind the final state, along the lineage; 0 = unknown.
        error: Traceback of an exception from the task; "" = there was none.
        telemetry: Clock times, worker names and training curves: outside of every equality.
        repeated: Whether all attempts have ended with the same exception at the same line.
    """

    id: SegmentId
    metrics: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    samples: int = 0
    error: str = ""
    telemetry: "Telemetry" = field(default_factory=lambda: Telemetry())
    repeated: bool = False


@dataclass(frozen=True)
class Telemetry:
    """Facts that differ between two equal runs.

    Attributes:
        seconds: Wall time of training and evaluation.
        worker: Name of the worker, e.g. "serial" or "worker 1".
        curve: Points that the task logged: (step, name, number) in order.
    """

    seconds: float = 0.0
    worker: str = ""
    curve: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True)
class Segment:
    """One member x one interval: the immutable row of record.

    Attributes:
        member: Slot in the population.
        interval: Interval of the member, from 0.
        source: Segment whose final state it started from; None = a fresh member.
        hparams: Complete hyperparameters that it trained with.
        changes: Origin of each hyperparameter.
        seed: Seed of the run.
        first_step: Training steps behind the state it started from.
        steps: Steps trained.
        samples: Training samples behind its final state, along the lineage.
        score: Score that selection ranks, higher is better; nan = failed.
        metrics: Validation metrics by name.
        digest: SHA-256 of its final state; "" = there is none.
        status: "done" or "failed".
        error: Reason for the failure; "" = it did not fail.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "quadratic", population=2, intervals=2, interval=10, executor="serial"
        ... )
        >>> segment = result.segments[0]
        >>> segment.id, segment.source, segment.last_step, segment.status
        ((0, 0), None, 10, 'done')
    """

    member: int
    interval: int
    source: SegmentId | None
    hparams: Hparams
    changes: Changes
    seed: int
    first_step: int
    steps: int
    samples: int
    score: float
    metrics: Mapping[str, float]
    digest: str
    status: str
    error: str = ""

    @property
    def id(self) -> SegmentId:
        """(member, interval)."""
        return self.member, self.interval

    @property
    def last_step(self) -> int:
        """Training steps behind its final state."""
        return self.first_step + self.steps

    @property
    def failed(self) -> bool:
        """Whether selection must treat it as failed."""
        return not math.isfinite(self.score)

    @property
    def broke(self) -> bool:
        """Whether it crashed before it had a final state: by an exception, or with its process."""
        return self.failed and not self.digest

    @property
    def assignment(self) -> Assignment:
        """The assignment that trains it, without a checkpoint."""
        start = (self.source, self.hparams, self.seed, self.first_step, self.steps)
        return Assignment(self.member, self.interval, *start, checkpoint=False)
