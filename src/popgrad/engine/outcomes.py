"""Segments from the outcomes of an executor: the score of an outcome, and its row of the record."""

import math

from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.core.segment import Assignment, Outcome, Segment
from popgrad.core.spelling import did_you_mean
from popgrad.record.progress import PendingSegment


def finished_segment(
    start: PendingSegment, assignment: Assignment, outcome: Outcome, ranking: Score
) -> Segment:
    """Return the row of record of a trained segment.

    Args:
        start: The segment as it was decided on.
        assignment: The segment as the executor obeyed it.
        outcome: Result of training it.
        ranking: Metric that ranks, with its direction.

    Raises:
        UsageError: The task does not evaluate that metric.
    """
    score, error = score_of(outcome, ranking)

    return Segment(
        member=start.member,
        interval=start.interval,
        source=start.source,
        hparams=start.hparams,
        changes=start.changes,
        seed=assignment.seed,
        first_step=assignment.first_step,
        steps=assignment.steps,
        samples=outcome.samples,
        score=score,
        metrics=outcome.metrics,
        digest=outcome.digest,
        status="done" if math.isfinite(score) else "failed",
        error=error,
        metric_samples=outcome.metric_samples,
        evaluations=outcome.evaluations,
        transform=start.transform,
        role=start.role,
        length=start.length,
    )


def score_of(outcome: Outcome, ranking: Score) -> tuple[float, str]:
    """Return the score of an outcome and the reason if it is a failure.

    Args:
        outcome: Result of training a segment.
        ranking: Metric that ranks, with its direction.

    Returns:
        The score, higher is better, nan if training failed; and the error, "" if the score is
        finite.

    Raises:
        UsageError: The task does not evaluate that metric.
    """
    if outcome.error:
        return math.nan, outcome.error

    name = ranking.metric
    for metrics in (outcome.metrics, *(each.metrics for each in outcome.evaluations)):
        if name not in metrics:
            evaluated = ", ".join(metrics) or "nothing"
            similar = did_you_mean(name, metrics)
            raise UsageError(f"the task's score is {name!r}, but it evaluates {evaluated}{similar}")

    value = outcome.metrics[name]
    return ranking.rank(value), "" if math.isfinite(value) else f"the score ({name}) is {value}"
