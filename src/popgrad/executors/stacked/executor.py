"""All members as one stacked model, for a `TorchTask`: many small ones train in the time of a few."""

import logging
import time
import traceback
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import Assignment, Outcome, SegmentId, Telemetry
from popgrad.core.seeding import derive
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import Attempt, Save, train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.stacked.stack import Known, Stack
from popgrad.executors.stacked.template import Start, refusal, stackable
from popgrad.executors.writer import Writer
from popgrad.hardware import available_cores
from popgrad.state import State, clone, digest_leaves, flatten
from popgrad.tasks.base import Context, Task
from popgrad.tasks.evaluation import seed_generators, seeded

log = logging.getLogger("popgrad")


@dataclass(frozen=True)
class Trained:
    """A segment that a stack has trained.

    Attributes:
        assignment: The segment.
        state: Its final state; views that nobody changes any more.
        outcome: All but the digest.
    """

    assignment: Assignment
    state: State
    outcome: Outcome


class Vectorised:
    """Trains in the calling process; the caller's number of threads comes back on `close`.

    Member m is in row m modulo `width` of a stack that always has `width` rows: those that nobody is in,
    since it has failed or is on record already, repeat another one. So a member's bits depend neither on who
    else trains nor on when a run was cut. A population larger than `width` trains in several stacks, one
    after the other, that take turns over the devices.

    An exception in a stack does not say whose it is. Then each of its members trains alone; those that fail
    so, three times, have failed, and the others train in a stack without them, whose results alone count.

    Args:
        task: What is trained.
        devices: Stacks take turns over them.
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
        self._task, self._devices, self._width = stackable(task), devices, width
        self._save = None if save is None else Writer(save)
        self._queue: deque[Assignment] = deque()
        self._done: deque[Trained | Outcome] = deque()
        self._states: dict[SegmentId, State] = {}
        self._known: Known = {}
        self._closed = False
        self._threads = torch.get_num_threads()
        torch.set_num_threads(available_cores() if workers is None else workers)
        keep_memory(keep=True)

    @property
    def fingerprint(self) -> dict[str, object]:
        """Of this process, with the width of the stack."""
        return {**fingerprint(), "width": self._width}

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue segments."""
        self._queue.extend(assignments)
        if self._width is None and assignments:
            self._width = len(assignments)

    def next(self) -> Outcome:
        """The next finished segment. The first of a stack waits for all of it.

        Raises:
            RunError: Nothing was submitted, or a checkpoint could not be written.
            PopgradError: What the task raised on purpose, or it cannot be stacked; the stack is given up.
        """
        if not self._done:
            if not self._queue:
                raise RunError("nothing was submitted that could finish")
            self._done.extend(self._train(self._wave()))
        done = self._done.popleft()
        return self._finish(done) if isinstance(done, Trained) else done

    def _finish(self, trained: Trained) -> Outcome:
        tree, leaves = flatten(trained.state)
        outcome = replace(trained.outcome, digest=digest_leaves(tree, leaves))
        if self._save is not None and trained.assignment.checkpoint:
            self._save(outcome.digest, tree, leaves)
        self._states.setdefault(outcome.id, trained.state)
        return outcome

    # --- training -------------------------------------------------------------------------------------------

    def _wave(self) -> list[Assignment]:
        """Segments from the queue that fit into one stack: as the first, and in rows of their own."""
        assert self._width is not None
        wave: dict[int, Assignment] = {}
        kind, rest = None, deque[Assignment]()
        for each in self._queue:
            stack, row = divmod(each.member, self._width)
            own = (stack, each.seed, each.steps, *self._place(each))
            kind = kind or own
            if own == kind and row not in wave:
                wave[row] = each
            else:
                rest.append(each)
        self._queue = rest
        return list(wave.values())

    def _place(self, assignment: Assignment) -> tuple[int, int]:
        """Steps behind a segment, and where in an epoch it begins; or in all, where the order is for all."""
        steps, position = 0, 0
        if assignment.source is not None:
            state = self._states[assignment.source]
            steps, position = state["steps"], state["position"]
        samples = len(self._task.split("train", torch.device("cpu"))[0])
        return steps, position if self._task.shared_order else position % samples

    def _train(self, wave: Sequence[Assignment]) -> list[Trained | Outcome]:
        try:
            return [*self._stacked(wave)]
        except PopgradError:
            raise
        except (Exception, SystemExit) as error:
            log.warning(
                "a stack of %d members failed, each is trained alone to find out whose fault it is: %s",
                *(len(wave), str(error).strip().partition("\n")[0]),
            )
            alone = [self._alone(each) for each in wave]
            failed = [outcome for outcome in alone if outcome.error]
            wave = [each for each, outcome in zip(wave, alone, strict=True) if not outcome.error]
            if not wave:
                return [*failed]
        try:
            return [*failed, *self._stacked(wave)]
        except PopgradError:
            raise
        except (Exception, SystemExit) as error:
            raise refusal(
                f"each trains alone, but not together ({traceback.format_exception_only(error)[-1].strip()})"
            ) from error

    def _stacked(self, wave: Sequence[Assignment]) -> list[Trained]:
        assert self._width is not None
        begin = time.perf_counter()
        device = self._devices[wave[0].member // self._width % len(self._devices)]
        first = Context(wave[0].member, wave[0].interval, wave[0].first_step, device, wave[0].seed)
        with seeded(first):
            starts = {each.member % self._width: self._start(each, device) for each in wave}
            anyone = next(iter(starts.values()))
            rows = [starts.get(row, anyone) for row in range(self._width)]
            stack = Stack(self._task, rows, device, self._known)
            stack.train()
            metrics, states = stack.evaluate(), stack.states()
        seconds = (time.perf_counter() - begin) / len(wave)
        trained = []
        for each in wave:
            row = each.member % self._width
            facts = Telemetry(seconds, "stack", stack.curve(row))
            samples = states[row]["position"]
            trained.append(
                Trained(
                    each, states[row], Outcome(each.id, metrics[row], "", samples, telemetry=facts)
                )
            )
        return trained

    def _start(self, assignment: Assignment, device: torch.device) -> Start:
        ctx = Context(
            assignment.member, assignment.interval, assignment.first_step, device, assignment.seed
        )
        if assignment.source is not None:
            return Start(assignment, self._states[assignment.source], ctx)
        seed_generators(derive(ctx.run_seed, "init", ctx.member, ctx.interval))
        return Start(assignment, self._task.init(assignment.hparams, ctx), ctx)

    def _alone(self, assignment: Assignment) -> Outcome:
        """Trained without a stack, again where it fails; its state is not kept."""
        attempt: Attempt | Outcome = Attempt(assignment)
        device = self._devices[assignment.member // (self._width or 1) % len(self._devices)]
        while isinstance(attempt, Attempt):
            source = None if assignment.source is None else clone(self._states[assignment.source])
            outcome, _, _ = train_segment(self._task, assignment, source, device, None, "stack")
            attempt = attempt.settle(outcome)
        return attempt

    # --- states ---------------------------------------------------------------------------------------------

    def holds(self, segment: SegmentId) -> bool:
        """Whether the state is in this process."""
        return segment in self._states

    def put(self, segment: SegmentId, state: State) -> None:
        """Keep a copy."""
        self._states.setdefault(segment, clone(state))

    def state(self, segment: SegmentId) -> State:
        """A copy."""
        return clone(self._states[segment])  # type: ignore[no-any-return]

    def retain(self, segments: Collection[SegmentId]) -> None:
        """Let every other state go, but for those that the queue has yet to start from."""
        kept = {*segments, *(assignment.source for assignment in self._queue)}
        self._states = {
            segment: state for segment, state in self._states.items() if segment in kept
        }

    def flush(self) -> None:
        """Wait for the writer."""
        if self._save is not None:
            self._save.flush()

    def close(self) -> None:
        """Give the threads back."""
        if self._save is not None:
            self._save.close()
        self._queue.clear()
        self._done.clear()
        self._states.clear()
        if not self._closed:
            torch.set_num_threads(self._threads)
            keep_memory(keep=False)
        self._closed = True
