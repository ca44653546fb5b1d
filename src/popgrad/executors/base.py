"""The executor protocol, and the one way a segment is trained."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.fault import Fault
from popgrad.core.population import SegmentId
from popgrad.core.seeding import derive
from popgrad.core.segment import Assignment, Evaluation, Outcome, Telemetry
from popgrad.executors.tracebacks import format_exception
from popgrad.metrics import as_numbers, samples_of
from popgrad.state import State, Tree, digest_leaves, flatten
from popgrad.tasks.base import Context, Task
from popgrad.tasks.evaluation import seed_generators, seeded
from popgrad.tasks.transforms import transformed

Save = Callable[[str, Tree, Sequence[torch.Tensor]], None]
"""Writes a checkpoint: (digest, tree, leaves). Raises `RunError` if it cannot."""

RETRIES = 2
"""Times that a segment is retrained if it raised an exception or ended its process. A passing cause
(memory that was short, a disk that stalled) seldom takes more; a permanent one costs three
segments. An exception that repeats itself at its line is retried once only."""

log = logging.getLogger("popgrad")


class Executor(Protocol):
    """Owner of the states: it trains, evaluates and inherits, and decides nothing.

    A state is held from the moment its segment is finished until `retain` drops it. It never
    changes: if the segment is put or trained once more, the first state stays. The segment with the
    fewest steps behind it trains first.

    Every executor takes (task, devices, save=None, workers=None, deadline=None); some take more
    keywords.
    """

    @property
    def fingerprint(self) -> dict[str, object]:
        """Arithmetic of the process that trains, on which bits depend: `fingerprint.fingerprint`."""

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Take segments to train. Their sources must be held."""

    def next(self) -> Outcome:
        """Wait for the next finished segment. One that fails is retrained first, see `Attempt`.

        Raises:
            RunError: Nothing is left that could finish, or a checkpoint could not be written.
            PopgradError: An error that the task raised on purpose; its segment is given up, the
                others continue.
        """

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the final state of a segment is held."""

    def put(self, segment: SegmentId, state: State) -> None:
        """Take the final state of a segment, as read from a checkpoint."""

    def state(self, segment: SegmentId) -> State:
        """Return a copy of the final state of a segment."""

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state, except those that a submitted segment has yet to start from."""

    def flush(self) -> None:
        """Wait until the checkpoints of all finished segments are written.

        They are written during training, and so may be missing when a segment is finished. Nothing
        may be in training.

        Raises:
            RunError: A checkpoint cannot be written.
        """

    def close(self) -> None:
        """Release everything. Segments in training and unwritten checkpoints may be lost."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to train a segment; all attempts have the same source and the same seeds.

    A score that is not finite is no error: the same seeds would give it again.

    Attributes:
        assignment: Segment to train.
        errors: Errors of the earlier attempts, in order.
    """

    assignment: Assignment
    errors: tuple[str, ...] = ()

    def settle(self, outcome: Outcome) -> "Attempt | Outcome":
        """Return the next attempt, or the outcome that the executor returns.

        Args:
            outcome: Outcome of this attempt.

        Returns:
            The outcome if it has no error; the next attempt, of at most `RETRIES`; else a failure
            with the first error.
        """
        if not outcome.error:
            return outcome
        errors = (*self.errors, outcome.error)
        fault = Fault.read(outcome.error)
        repeated = fault is not None and all(Fault.read(error) == fault for error in self.errors)
        pointless = repeated and len(errors) > 1 and fault is not None and fault.repeats
        if len(errors) > RETRIES or pointless:
            return replace(outcome, error=errors[0], repeated=repeated)

        member, interval = self.assignment.id
        last_line = outcome.error.strip().rpartition("\n")[2]
        log.warning(
            "member %d, interval %d: attempt %d of %d failed, retraining it: %s",
            *(member, interval, len(errors), RETRIES + 1, last_line),
        )
        return Attempt(self.assignment, errors)


def late_outcome(segment: SegmentId, deadline: float, telemetry: Telemetry) -> Outcome:
    """Return the failure of a segment that is over its deadline.

    Args:
        segment: Segment that is given up.
        deadline: Seconds that it was allowed.
        telemetry: Seconds that it took, and its worker.
    """
    reason = f"the segment took longer than the deadline of {deadline:g} s"
    return Outcome(segment, error=reason, telemetry=telemetry)


def train_segment(
    task: Task,
    assignment: Assignment,
    source: State | None,
    device: torch.device,
    save: Save | None,
    worker: str,
) -> tuple[Outcome, Tree, list[torch.Tensor]]:
    """Train and evaluate one segment. Every executor that trains members one by one does it here.

    Args:
        task: Task to train.
        assignment: Segment to train.
        source: State to start from, which the task may change; None = a fresh member.
        device: Device to compute on.
        save: Writes the checkpoint of the final state, if one is due; None = no checkpoint.
        worker: Name of the worker, for the telemetry.

    Returns:
        The outcome, and the final state taken apart. An exception of the task is an outcome with
        `error`, also one that is no `Exception`, such as `SystemExit` or `asyncio.CancelledError`.

    Raises:
        PopgradError: An error on purpose, such as a hyperparameter that reaches nothing. It
            concerns the whole run.
        KeyboardInterrupt: Ctrl-C, or the task has raised it.
        Exception: An error of `save`.
    """
    curve: list[tuple[int, str, float]] = []

    def log(step: int, **numbers: float) -> None:
        curve.extend((step, name, float(value)) for name, value in numbers.items())

    began = time.time()
    begin = time.perf_counter()
    in_task: float | None = None
    ctx = Context(
        assignment.member, assignment.interval, assignment.first_step, device, assignment.seed, log
    )
    try:
        with seeded(ctx):
            state, metrics, evaluations = _train(task, assignment, source, ctx)
            in_task = time.perf_counter() - begin
        tree, leaves = flatten(state)
        leaves = [leaf.cpu() for leaf in leaves]
        outcome = Outcome(
            assignment.id,
            as_numbers(metrics),
            digest_leaves(tree, leaves),
            samples_behind(state),
            metric_samples=samples_of(metrics),
            evaluations=evaluations,
        )
    except (PopgradError, KeyboardInterrupt):
        raise
    except BaseException as error:
        outcome = Outcome(assignment.id, error=format_exception(error))
        tree = None
        leaves = []

    if save is not None and assignment.checkpoint and not outcome.error:
        save(outcome.digest, tree, leaves)
    seconds = time.perf_counter() - begin
    telemetry = Telemetry(seconds, worker, tuple(curve), began=began, task=in_task)
    return replace(outcome, telemetry=telemetry), tree, leaves


def _train(
    task: Task, assignment: Assignment, source: State | None, ctx: Context
) -> tuple[State, Mapping[str, Any], tuple[Evaluation, ...]]:
    """Train a segment: return its final state, its metrics, and the evaluations within it."""
    hparams = assignment.hparams
    state = starting_state(task, assignment, source, ctx)
    evaluations = []
    if assignment.evaluate_start:
        evaluations += start_evaluation(task.evaluate(state, hparams, "validation", ctx))

    metrics: Mapping[str, Any] = {}
    for part in parts_of(assignment):
        own = replace(ctx, part=part.number, first_step=ctx.first_step + part.begin)
        # Between two parts, an evaluation may have drawn from the global generators.
        if part.number:
            seed_generators(own.library_seed("train"))
        state = task.train(state, hparams, part.end - part.begin, own)
        if state is None:
            raise UsageError("train: expected the new state, got None; end it with return state")
        metrics = task.evaluate(state, hparams, "validation", own)
        evaluations.append(Evaluation(part.end, as_numbers(metrics)))
    return state, metrics, tuple(evaluations) if len(evaluations) > 1 else ()


class Part(NamedTuple):
    """A part of a segment, between two evaluations.

    Attributes:
        number: Position among the parts, from 0.
        begin: Steps of the segment before it.
        end: Steps of the segment behind it.
    """

    number: int
    begin: int
    end: int


def parts_of(assignment: Assignment) -> list[Part]:
    """Return the parts of a segment, as equal as whole steps allow; the last one ends with it.

    Example:
        >>> segment = Assignment(0, 0, None, {}, seed=0, first_step=0, steps=10, evaluations=3)
        >>> [part.end for part in parts_of(segment)]
        [3, 6, 10]
    """
    count = assignment.evaluations
    ends = [assignment.steps * (number + 1) // count for number in range(count)]
    return [Part(number, begin, ends[number]) for number, begin in enumerate([0, *ends[:-1]])]


def start_evaluation(metrics: Mapping[str, Any]) -> list[Evaluation]:
    """Return the evaluation before the first step; none if there are no metrics yet, as in a loop."""
    return [Evaluation(0, as_numbers(metrics))] if metrics else []


def starting_state(task: Task, assignment: Assignment, source: State | None, ctx: Context) -> State:
    """Return the state that a segment trains from: fresh, inherited, or inherited and transformed.

    Args:
        task: Task to train.
        assignment: Segment to train.
        source: State of its source, which may be changed; None = a fresh member.
        ctx: Context of the segment.
    """
    if source is None:
        seed_generators(derive(ctx.run_seed, "init", ctx.member, ctx.interval))
        state = task.init(assignment.hparams, ctx)
    elif assignment.transform is not None:
        state = transformed(task, source, assignment.transform, assignment.hparams, ctx)
    else:
        return source
    seed_generators(ctx.library_seed("train"))
    return state


def samples_behind(state: State) -> int:
    """Return the training samples behind a state; 0 if the task does not count them."""
    samples = state.get("position") if isinstance(state, dict) else None
    return samples if isinstance(samples, int) else 0
