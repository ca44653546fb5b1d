"""Assignments for an executor, from the segments that have been decided on."""

from popgrad.core.interval import Interval
from popgrad.core.population import Assignment
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
) -> Assignment:
    """Return the assignment that trains a pending segment.

    Args:
        start: The segment as it was decided on.
        task: Task to train; it knows the length of an epoch.
        seed: Seed of the run.
        first_step: Training steps behind the state that the segment starts from.
        length: Length of an interval.
        checkpoint: Whether to write the final state to a checkpoint.
    """
    # Only intervals that depend on epochs have the task read its data here.
    depends_on_epochs = length.epochs or length.within_epochs
    steps_per_epoch = epoch_steps(task, start.hparams) if depends_on_epochs else 1

    return Assignment(
        member=start.member,
        interval=start.interval,
        source=start.source,
        hparams=start.hparams,
        seed=seed,
        first_step=first_step,
        steps=length.steps(first_step, steps_per_epoch),
        checkpoint=checkpoint,
    )
