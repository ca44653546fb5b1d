"""Segments from the outcomes of an executor: the score of an outcome, and its row of the record."""

import math

from popgrad.core.errors import UsageError
from popgrad.core.population import Assignment, Outcome, Segment
from popgrad.core.spelling import did_you_mean
from popgrad.record.progress import PendingSegment


def finished_segment(
    start: PendingSegment, assignment: Assignment, outcome: Outcome, score_name: str
) -> Segment:
    """Return the row of record of a trained segment.

    Args:
        start: The segment as it was decided on.
        assignment: The segment as the executor obeyed it.
        outcome: Result of training it.
        score_name: Metric that ranks; "-loss" ranks by the lowest loss.

    Raises:
        UsageError: The task does not evaluate that metric.
    """
    score, error = score_of(outcome, score_name)
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
    )


def score_of(outcome: Outcome, score_name: str) -> tuple[float, str]:
    """Return the score of an outcome and the reason if it is a failure.

    Args:
        outcome: Result of training a segment.
        score_name: Metric that ranks; "-loss" ranks by the lowest loss.

    Returns:
        The score, higher is better, nan if training failed; and the error, "" if the score is
        finite.

    Raises:
        UsageError: The task does not evaluate that metric.
    """
    if outcome.error:
        return math.nan, outcome.error

    name = score_name.removeprefix("-")
    if name not in outcome.metrics:
        evaluated = ", ".join(outcome.metrics) or "nothing"
        similar = did_you_mean(name, outcome.metrics)
        raise UsageError(f"the task's score is {name!r}, but it evaluates {evaluated}{similar}")

    metric = outcome.metrics[name]
    score = -metric if score_name.startswith("-") else metric
    return score, "" if math.isfinite(score) else f"the score ({score_name}) is {score}"
