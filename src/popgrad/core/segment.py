"""Segments as frozen data: assigned, trained, and as rows of the record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from popgrad.core.plan import Transform
from popgrad.core.population import Changes, Hparams, SegmentId


class Evaluation(NamedTuple):
    """An evaluation within a segment.

    Attributes:
        step: Steps of the segment behind it; 0 = the state that the segment started from.
        metrics: Validation metrics by name.
    """

    step: int
    metrics: Mapping[str, float]


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
        evaluations: Evaluations within the segment, evenly spaced, at least 1; the last one is at
            its end.
        evaluate_start: Whether to evaluate the state that it starts from as well.
        transform: Change of the source state before it trains; None = there is none.
    """

    member: int
    interval: int
    source: SegmentId | None
    hparams: Hparams
    seed: int
    first_step: int
    steps: int
    checkpoint: bool = True
    evaluations: int = 1
    evaluate_start: bool = False
    transform: Transform | None = None

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
        metric_samples: Samples of the metrics that are means of several, by name.
        evaluations: Evaluations within the segment, in order, if it has more than the last one.
    """

    id: SegmentId
    metrics: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    samples: int = 0
    error: str = ""
    telemetry: "Telemetry" = field(default_factory=lambda: Telemetry())
    repeated: bool = False
    metric_samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()


@dataclass(frozen=True)
class Telemetry:
    """Facts that differ between two equal runs.

    Attributes:
        seconds: Wall time of training and evaluation.
        worker: Name of the worker, e.g. "serial" or "worker 1".
        curve: Points that the task logged: (step, name, number) in order.
        path: Place of the final state, if a study was given it instead of the state; "" = it was not.
        began: Clock time at which training began, in seconds since 1970, by the clock of the worker's
            machine; None = unknown.
        task: Seconds of them in the task: starting, training, evaluating; the rest is the executor's.
            None = unknown.
    """

    seconds: float = 0.0
    worker: str = ""
    curve: tuple[tuple[int, str, float], ...] = ()
    path: str = ""
    began: float | None = None
    task: float | None = None

    @property
    def ended(self) -> float | None:
        """Clock time at which training ended, in seconds since 1970; None = unknown."""
        return None if self.began is None else self.began + self.seconds


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
        metric_samples: Samples of the metrics that are means of several, by name.
        evaluations: Evaluations within it, in order of their steps, if it has more than the last one.
        transform: Change of the source state before it trained; None = there was none.
        role: Role of the member; "" = it had none.
        length: Intervals that it lasted.

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
    metric_samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()
    transform: Transform | None = None
    role: str = ""
    length: int = 1

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
        within = [evaluation.step for evaluation in self.evaluations if evaluation.step]
        return Assignment(
            self.member,
            self.interval,
            self.source,
            self.hparams,
            self.seed,
            self.first_step,
            self.steps,
            checkpoint=False,
            evaluations=max(1, len(within)),
            evaluate_start=len(within) < len(self.evaluations),
            transform=self.transform,
        )
