"""What an executor is, and the one way a segment is trained."""

import logging
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from popgrad.core.errors import PopgradError
from popgrad.core.population import Assignment, Outcome, SegmentId, Telemetry
from popgrad.core.seeding import derive
from popgrad.state import State, Tree, digest_leaves, flatten
from popgrad.tasks.base import Context, Task
from popgrad.tasks.evaluation import seed_generators, seeded

Save = Callable[[str, Tree, Sequence[torch.Tensor]], None]
"""Writes a checkpoint: (digest, tree, leaves). Raises `RunError` where it cannot."""

RETRIES = 2
"""How often a segment is trained again that ended in an exception or with its process. What passes by itself
(memory that was short, a disk that stalled) seldom takes more; what is always raised costs three segments."""

log = logging.getLogger("popgrad")


class Executor(Protocol):
    """Owns the states; trains, evaluates, inherits; decides nothing.

    A state is held from the moment its segment is finished until `retain` lets it go. It is never changed:
    where a segment that is held is put or trained again, what was there first stays. Every executor is made
    with the same arguments: (task, devices, save=None, workers=None, deadline=None). Of those that wait, the
    least trained goes first.
    """

    @property
    def fingerprint(self) -> dict[str, object]:
        """What the bits of a result depend on, as `fingerprint.fingerprint` gives it where members train."""

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Take segments to train. Their sources must be held."""

    def next(self) -> Outcome:
        """Wait for the next finished segment; one that fails is trained again first, as `Attempt` says.

        Raises:
            RunError: Nothing can finish any more, or a checkpoint could not be written.
            PopgradError: What the task raised on purpose; that segment is given up, the others go on.
        """

    def holds(self, segment: SegmentId) -> bool:
        """Whether the final state of a segment is here."""

    def put(self, segment: SegmentId, state: State) -> None:
        """Take the final state of a segment, as read from a checkpoint."""

    def state(self, segment: SegmentId) -> State:
        """A copy of the final state of a segment."""

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Let every other state go, but for those that a submitted segment has yet to start from."""

    def flush(self) -> None:
        """Wait until the checkpoints of all finished segments are written.

        They are written while training goes on, and so may not be there when a segment is finished. Nothing
        may be in training.

        Raises:
            RunError: One cannot be written.
        """

    def close(self) -> None:
        """Give everything back. Segments in training are abandoned, checkpoints that wait may be lost."""


@dataclass(frozen=True)
class Attempt:
    """A segment to train, perhaps not for the first time: from the same source, with the same seeds.

    A score that is not finite is no error: the same seeds would give it again.

    Attributes:
        assignment: What to train.
        errors: Of the attempts before, in order.
    """

    assignment: Assignment
    errors: tuple[str, ...] = ()

    def settle(self, outcome: Outcome) -> "Attempt | Outcome":
        """What follows from this attempt's outcome: another attempt, or what the executor hands on.

        Returns:
            The outcome as it is where it has no error; the next attempt, of at most `RETRIES`; else a failure
            with the first error.
        """
        if not outcome.error:
            return outcome
        errors = (*self.errors, outcome.error)
        if len(errors) > RETRIES:
            return replace(outcome, error=errors[0])
        log.warning(
            "member %d, interval %d: attempt %d of %d failed, it is trained again: %s",
            *(*self.assignment.id, len(errors), RETRIES + 1),
            outcome.error.strip().rpartition("\n")[2],
        )
        return Attempt(self.assignment, errors)


def train_segment(
    task: Task,
    assignment: Assignment,
    source: State | None,
    device: torch.device,
    save: Save | None,
    worker: str,
) -> tuple[Outcome, Tree, list[torch.Tensor]]:
    """Train and evaluate one segment; every executor that trains members one by one does it here.

    Args:
        task: The task.
        assignment: What to train.
        source: State to start from, which the task may change; None = a fresh member.
        device: Where to compute.
        save: Writes the checkpoint of the final state, where one is wanted; None = no checkpoint.
        worker: Name for the telemetry.

    Returns:
        The outcome, and the final state taken apart. An exception of the task's, `SystemExit` too, is an
        outcome with `error`; what popgrad raises on purpose (a hyperparameter that reaches nothing) and what
        `save` raises concerns the whole run, and is raised.
    """
    curve: list[tuple[int, str, float]] = []

    def log(step: int, **numbers: float) -> None:
        curve.extend((step, name, float(value)) for name, value in numbers.items())

    begin = time.perf_counter()
    ctx = Context(
        assignment.member, assignment.interval, assignment.first_step, device, assignment.seed, log
    )
    try:
        with seeded(ctx):
            state = _trained(task, assignment, source, ctx)
            metrics = {
                str(name): float(value)
                for name, value in task.evaluate(
                    state, assignment.hparams, "validation", ctx
                ).items()
            }
        tree, leaves = flatten(state)
        leaves = [leaf.cpu() for leaf in leaves]
        outcome = Outcome(assignment.id, metrics, digest_leaves(tree, leaves), _samples(state))
    except PopgradError:
        raise
    except (Exception, SystemExit):
        outcome, tree, leaves = Outcome(assignment.id, error=traceback.format_exc()), None, []
    if save is not None and assignment.checkpoint and not outcome.error:
        save(outcome.digest, tree, leaves)
    facts = Telemetry(time.perf_counter() - begin, worker, tuple(curve))
    return replace(outcome, telemetry=facts), tree, leaves


def _trained(task: Task, assignment: Assignment, source: State | None, ctx: Context) -> State:
    if source is None:
        seed_generators(derive(ctx.run_seed, "init", ctx.member, ctx.interval))
        source = task.init(assignment.hparams, ctx)
        seed_generators(ctx.library_seed("train"))
    return task.train(source, assignment.hparams, assignment.steps, ctx)


def _samples(state: State) -> int:
    samples = state.get("position") if isinstance(state, dict) else None
    return samples if isinstance(samples, int) else 0
