"""Assignments for an executor, from the segments that have been decided on."""

from popgrad.core.interval import Interval
from popgrad.core.segment import Assignment
from popgrad.record.progress import PendingSegment
from popgrad.tasks.base import Task, epoch_steps


def make_assignment(
    start: PendingSegment,
    *,
    task: Task,
    seed: int,
    first_step: int,
    length: Interval,
    checkpoint: bool,
    evaluations: int = 1,
    evaluate_fresh: bool = False,
) -> Assignment:
    """Return the assignment that trains a pending segment.

    Args:
        start: The segment as it was decided on.
        task: Task to train; it knows the length of an epoch.
        seed: Seed of the run.
        first_step: Training steps behind the state that the segment starts from.
        length: Length of an interval.
        checkpoint: Whether to write the final state to a checkpoint.
        evaluations: Evaluations within the segment, at least 1; as many as it has steps at most.
        evaluate_fresh: Whether to evaluate the state of a fresh member before its first step.
    """
    # Only intervals that depend on epochs have the task read its data here.
    depends_on_epochs = length.epochs or length.within_epochs
    steps_per_epoch = epoch_steps(task, start.hparams) if depends_on_epochs else 1
    steps = 0
    for _ in range(start.length):
        steps += length.steps(first_step + steps, steps_per_epoch)

    return Assignment(
        member=start.member,
        interval=start.interval,
        source=start.source,
        hparams=start.hparams,
        seed=seed,
        first_step=first_step,
        steps=steps,
        checkpoint=checkpoint,
        evaluations=min(evaluations, steps),
        evaluate_start=evaluate_fresh and start.source is None,
        transform=start.transform,
    )
