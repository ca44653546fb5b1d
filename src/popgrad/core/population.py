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
"""What made a value: the factor it was multiplied by, or one of "sampled", "given", "kept", "inherited",
"resampled", "next", "previous"."""
Changes = Mapping[str, Change]
SegmentId = tuple[int, int]
"""(member, interval): names one segment of a run; intervals count from 0."""


@dataclass(frozen=True)
class Population:
    """What a strategy sees of the members. The arrays are read-only views of the engine's own.

    Attributes:
        scores: [N] of the last completed segment, higher is better; not finite = failed.
        intervals: [N] completed intervals.
        steps: [N] training steps behind the weights, along the lineage.
        hparams: [N] complete hyperparameters of the last completed segment.
    """

    scores: Floats
    intervals: Index
    steps: Index
    hparams: Sequence[Hparams]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Plan:
    """What the ready members do next. Executors obey it; the journal stores it as obeyed.

    Attributes:
        members: [R] who is ready.
        sources: [R] whose last completed segment each starts from; itself = keep, or start fresh where it is
            new.
        hparams: [R] complete, also where nothing changed.
        changes: [R] what made them, per hyperparameter.
    """

    members: tuple[int, ...]
    sources: tuple[int, ...]
    hparams: tuple[Hparams, ...]
    changes: tuple[Changes, ...]


@dataclass(frozen=True)
class Decision:
    """A plan as it was obeyed, with the strategy's memory after it.

    Attributes:
        number: Decisions of a run count from 0.
        plan: What was obeyed.
        memory: The strategy's own JSON-able data, handed back to it at the next decision.
        starts: [R] the segments that the sources had completed last, where members decide one by one; None
            for a new member that starts fresh. Empty where all decide at once.
        size: Members of the population from this decision on; None = as many as before.
    """

    number: int
    plan: Plan
    memory: Mapping[str, object]
    starts: tuple[SegmentId | None, ...] = ()
    size: int | None = None


@dataclass(frozen=True)
class Assignment:
    """One segment to train: all that an executor is told.

    Attributes:
        member: The slot.
        interval: The member's interval, from 0.
        source: Segment whose final state it starts from; None = a fresh member.
        hparams: Complete hyperparameters, written before the first step.
        seed: The run's seed; with member and interval it gives every stream of the segment.
        first_step: Training steps behind the source state.
        steps: Steps to train, at least 1.
        checkpoint: Whether its final state is written to where checkpoints are kept.
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
    """What an executor hands back for one assignment.

    Attributes:
        id: (member, interval) of the assignment.
        metrics: Each validation metric; empty when the member failed before it was evaluated.
        digest: Of the final state; "" when there is none.
        samples: Training samples behind the final state, along the lineage; 0 where the task does not say.
        error: Traceback of what the task raised; "" = it raised nothing.
        telemetry: Clock times, worker names and training curves: outside of every equality.
    """

    id: SegmentId
    metrics: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    samples: int = 0
    error: str = ""
    telemetry: "Telemetry" = field(default_factory=lambda: Telemetry())


@dataclass(frozen=True)
class Telemetry:
    """What differs between two equal runs.

    Attributes:
        seconds: Wall time of training and evaluation.
        worker: Who did it, e.g. "serial" or "worker 1".
        curve: What the task logged: (step, name, number) in order.
    """

    seconds: float = 0.0
    worker: str = ""
    curve: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True)
class Segment:
    """One member x one interval: the immutable row of record.

    Attributes:
        member: The slot.
        interval: The member's interval, from 0.
        source: Segment whose final state it started from; None = a fresh member.
        hparams: What it ran with, complete.
        changes: What made them, per hyperparameter.
        seed: The run's seed.
        first_step: Training steps behind the state it started from.
        steps: Steps trained.
        samples: Training samples behind its final state, along the lineage.
        score: What selection ranks, higher is better; nan = failed.
        metrics: Each validation metric.
        digest: Of the final state; "" when there is none.
        status: "done" or "failed".
        error: Why it failed; "" when it did not.
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
        """Whether it failed before there was a final state: by an exception, or with its process."""
        return self.failed and not self.digest

    @property
    def assignment(self) -> Assignment:
        """What an executor was told to train it, without a checkpoint."""
        start = (self.source, self.hparams, self.seed, self.first_step, self.steps)
        return Assignment(self.member, self.interval, *start, checkpoint=False)
