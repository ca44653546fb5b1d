"""All members as one stacked model, for a `TorchTask`: many small ones train in the time of a few."""

import logging
import time
import traceback
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Assignment, Evaluation, Outcome, Telemetry
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import (
    Attempt,
    Save,
    parts_of,
    start_evaluation,
    starting_state,
    train_segment,
)
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.stacked.proof import prove, prove_on_cpu
from popgrad.executors.stacked.stack import Point, Stack, StepCaches
from popgrad.executors.stacked.template import RowStart, refusal, stackable
from popgrad.executors.writer import Writer
from popgrad.hardware import available_cores
from popgrad.metrics import as_numbers, samples_of
from popgrad.state import State, clone, digest_leaves, flatten
from popgrad.tasks.base import Context, Task
from popgrad.tasks.evaluation import seeded

log = logging.getLogger("popgrad")


@dataclass(frozen=True)
class TrainedSegment:
    """A segment that a stack has trained.

    Attributes:
        assignment: The segment.
        state: Its final state; views that are not changed any more.
        outcome: Its outcome without the digest.
    """

    assignment: Assignment
    state: State
    outcome: Outcome


class Vectorised:
    """Trains in the calling process; `close` restores the caller's number of threads.

    Member m is in row m modulo `width` of a stack that always has `width` rows: rows without a
    member, which has failed or is on record already, repeat another one. So a member's bits depend
    neither on the other members nor on when a run was interrupted. A population larger than `width`
    trains in several stacks, one after the other, that take turns over the devices.

    An exception in a stack does not reveal its member. Then each member trains alone; those that
    fail three times have failed, and the others train in a stack without them, whose results alone
    count.

    Args:
        task: Task to train.
        devices: Devices that stacks take turns over.
        save: Writes a checkpoint; None = none are written.
        workers: Threads of torch; None = one per core.
        width: Rows of a stack, at least 1; None = as many as are submitted first.

    Raises:
        UsageError: The task's members cannot be stacked.
    """

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,
        width: int | None = None,
    ) -> None:
        self._task = stackable(task)
        self._devices = devices
        self._width = width
        self._save = None if save is None else Writer(save)

        self._queue: deque[Assignment] = deque()
        self._done: deque[TrainedSegment | Outcome] = deque()
        self._suspects: deque[Assignment] = (
            deque()
        )  # members of a stack that failed, to train alone
        self._cleared: list[Assignment] = []  # those that have trained alone, to train as a stack
        self._states: dict[SegmentId, State] = {}
        self._caches: StepCaches = {}
        self._closed = False
        self._threads = torch.get_num_threads()
        torch.set_num_threads(available_cores() if workers is None else workers)
        keep_memory(keep=True)

    @property
    def fingerprint(self) -> dict[str, object]:
        """Fingerprint of this process, with the width of the stack."""
        return {**fingerprint(), "width": self._width}

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments."""
        self._queue.extend(assignments)
        if self._width is None and assignments:
            self._width = len(assignments)

    def next(self) -> Outcome:
        """Return the next finished segment. The first of a stack waits for all of them.

        Raises:
            RunError: No segment was submitted, or a checkpoint could not be written.
            PopgradError: An error that the task raised on purpose, or it cannot be stacked; the
                stack is abandoned.
        """
        while not self._done:
            if self._suspects or self._cleared:
                self._done.extend(self._train_suspects())
            elif self._queue:
                self._done.extend(self._train(self._take_wave()))
            else:
                raise RunError("nothing was submitted that could finish")
        done = self._done.popleft()
        return self._finish(done) if isinstance(done, TrainedSegment) else done

    def _finish(self, trained: TrainedSegment) -> Outcome:
        """Digest and keep a final state."""
        tree, leaves = flatten(trained.state)
        outcome = replace(trained.outcome, digest=digest_leaves(tree, leaves))
        if self._save is not None and trained.assignment.checkpoint:
            self._save(outcome.digest, tree, leaves)
        self._states.setdefault(outcome.id, trained.state)
        return outcome

    # --- training ---------------------------------------------------------------------------------

    def _take_wave(self) -> list[Assignment]:
        """Take segments from the queue that fit into one stack: like the first, each in its own row."""
        assert self._width is not None
        wave: dict[int, Assignment] = {}
        first_kind = None
        remaining = deque[Assignment]()

        for assignment in self._queue:
            stack, row = divmod(assignment.member, self._width)
            within = (assignment.evaluations, assignment.evaluate_start)
            kind = (
                *(stack, assignment.seed, assignment.steps, within),
                *self._position(assignment),
            )
            first_kind = first_kind or kind
            if kind == first_kind and row not in wave:
                wave[row] = assignment
            else:
                remaining.append(assignment)

        self._queue = remaining
        return list(wave.values())

    def _position(self, assignment: Assignment) -> tuple[int, int]:
        """Return the steps behind a segment, and its position in the data.

        The position is one within an epoch, unless all members share one order.
        """
        steps = 0
        position = 0
        if assignment.source is not None:
            state = self._states[assignment.source]
            steps = state["steps"]
            position = state["position"]

        samples = len(self._task.split("train", torch.device("cpu"))[0])
        return steps, position if self._task.shared_order else position % samples

    def _train(self, wave: Sequence[Assignment]) -> list[TrainedSegment | Outcome]:
        """Train segments as a stack; if that fails, find the members at fault, one by one."""
        try:
            return [*self._train_stack(wave)]
        except (PopgradError, KeyboardInterrupt):
            raise
        except BaseException as error:
            log.warning(
                "a stack of %d members failed, each is trained alone to find the members at fault: %s",
                len(wave),
                str(error).strip().partition("\n")[0],
            )

        self._suspects.extend(wave)
        return self._train_suspects()

    def _train_suspects(self) -> list[TrainedSegment | Outcome]:
        """Train members alone up to the first that fails, which is returned; then the others as a stack."""
        while self._suspects:
            assignment = self._suspects.popleft()
            outcome = self._train_alone(assignment)
            if outcome.error:
                return [outcome]
            self._cleared.append(assignment)

        wave = self._cleared
        self._cleared = []
        if not wave:
            return []
        try:
            return [*self._train_stack(wave)]
        except (PopgradError, KeyboardInterrupt):
            raise
        except BaseException as error:
            reason = traceback.format_exception_only(error)[-1].strip().partition("\n")[0]
            raise refusal(f"each trains alone, but not together ({reason})") from error

    def _train_stack(self, wave: Sequence[Assignment]) -> list[TrainedSegment]:
        assert self._width is not None
        width = self._width
        began = time.time()
        begin = time.perf_counter()
        in_task = 0.0
        first = wave[0]
        device = self._devices[first.member // width % len(self._devices)]
        with seeded(self._context(first, device)):
            starts = {own.member % width: self._start(own, device) for own in wave}
            # Bits depend on the width, so rows without a member are trained too, and dropped.
            filler = next(iter(starts.values()))
            rows = [starts.get(row, filler) for row in range(width)]

            evaluations: list[list[Evaluation]] = [[] for _ in rows]
            if first.evaluate_start:
                found = self._proven_stack(rows, device).evaluate()
                evaluations = [start_evaluation(metrics) for metrics in found]
            points: list[tuple[Point, ...]] = [()] * width

            for part in parts_of(first):
                stack = self._proven_stack([start.part(part) for start in rows], device)
                training = time.perf_counter()
                stack.train()
                metrics = stack.evaluate()
                in_task += time.perf_counter() - training
                states = stack.states()
                rows = [replace(start, state=own) for start, own in zip(rows, states, strict=True)]
                for row in range(width):
                    evaluations[row].append(Evaluation(part.end, as_numbers(metrics[row])))
                    points[row] += stack.curve(row)

        seconds = (time.perf_counter() - begin) / len(wave)
        trained = []
        for place, assignment in enumerate(wave):
            row = assignment.member % width
            within = tuple(evaluations[row]) if len(evaluations[row]) > 1 else ()
            outcome = Outcome(
                assignment.id,
                as_numbers(metrics[row]),
                samples=states[row]["position"],
                telemetry=Telemetry(
                    seconds,
                    "stack",
                    points[row],
                    began=began + place * seconds,
                    task=in_task / len(wave),
                ),
                metric_samples=samples_of(metrics[row]),
                evaluations=within,
            )
            trained.append(TrainedSegment(assignment, states[row], outcome))
        return trained

    def _proven_stack(self, rows: Sequence[RowStart], device: torch.device) -> Stack:
        """Return a stack that does what its members do alone."""
        stack = Stack(self._task, rows, device, self._caches)
        claim = stack.unproven
        if claim is None:
            return stack
        draws = stack.draws
        del stack  # together with those of the proof it would take twice the memory

        if draws and device.type != "cpu":
            proven = prove_on_cpu(self._task, rows, claim)
        else:
            proven = prove(self._task, rows, device, self._caches, claim)
        stack = Stack(self._task, rows, device, self._caches)
        if proven:
            stack.trust(claim)
        return stack

    def _context(self, assignment: Assignment, device: torch.device) -> Context:
        return Context(
            assignment.member, assignment.interval, assignment.first_step, device, assignment.seed
        )

    def _start(self, assignment: Assignment, device: torch.device) -> RowStart:
        ctx = self._context(assignment, device)
        source = None if assignment.source is None else self._states[assignment.source]
        if source is not None and assignment.transform is not None:
            source = clone(source)
        return RowStart(assignment, starting_state(self._task, assignment, source, ctx), ctx)

    def _train_alone(self, assignment: Assignment) -> Outcome:
        """Train a segment without a stack, again if it fails; its state is not kept."""
        attempt: Attempt | Outcome = Attempt(assignment)
        device = self._devices[assignment.member // (self._width or 1) % len(self._devices)]
        while isinstance(attempt, Attempt):
            source = None if assignment.source is None else clone(self._states[assignment.source])
            outcome, _, _ = train_segment(self._task, assignment, source, device, None, "stack")
            attempt = attempt.settle(outcome)
        return attempt

    # --- states -----------------------------------------------------------------------------------

    def holds(self, segment: SegmentId) -> bool:
        """Return whether the state is in this process."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Keep a copy of a state."""
        self._states.setdefault(segment, clone(state))

    def state(self, segment: SegmentId) -> State:
        """Return a copy of a state."""
        return clone(self._states[segment])  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Drop every other state, except those that queued segments have yet to start from."""
        pending = [*self._queue, *self._suspects, *self._cleared]
        kept = {*segments, *(assignment.source for assignment in pending)}
        self._states = {
            segment: state for segment, state in self._states.items() if segment in kept
        }

    def flush(self) -> None:
        """Wait for the writer."""
        if self._save is not None:
            self._save.flush()

    def close(self) -> None:
        """Drop all states, and restore the caller's number of threads."""
        if self._save is not None:
            self._save.close()
        self._queue.clear()
        self._suspects.clear()
        self._cleared = []
        self._done.clear()
        self._states.clear()
        if not self._closed:
            torch.set_num_threads(self._threads)
            keep_memory(keep=False)
        self._closed = True
