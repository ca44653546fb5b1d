"""The proof of a stack: its steps and its evaluation against the same ones of a member alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from popgrad.core.errors import PopgradError
from popgrad.executors.stacked.difference import StepStates, Tolerance, find_difference, moved
from popgrad.executors.stacked.stack import Claim, Stack, StepCaches
from popgrad.executors.stacked.template import RowStart, refusal
from popgrad.metrics import as_numbers
from popgrad.state import State, digest
from popgrad.tasks.evaluation import seeded
from popgrad.tasks.torch_task import TorchTask

_STEPS = 2
"""Full batches of the proof. The second step starts from the results of the first one: moments,
buffers, Python state, weights that share memory."""


@dataclass(frozen=True)
class _Segment:
    """A short segment of the proof, trained by the stack.

    Attributes:
        starts: Start of each row.
        states: Final state of each row.
        losses: Training losses of each row, as its curve has them.
        names: Name of each optimized parameter, by optimizer and index.
    """

    starts: Sequence[RowStart]
    states: Sequence[State]
    losses: Sequence[Sequence[float]]
    names: Mapping[tuple[str, int], str]


def prove(
    task: TorchTask,
    starts: Sequence[RowStart],
    device: torch.device,
    caches: StepCaches,
    claim: Claim,
) -> bool:
    """Compare a stack with some of its members alone.

    Two steps with full batches are compared, then one with each other size of a batch, which
    continues from the optimizer's state of these, then an evaluation. A member alone is trained by
    `TorchTask.train` and evaluated by `TorchTask.evaluate`, from the same state, with the same
    batches and draws.

    Args:
        task: Task of the members.
        starts: Start of each row.
        device: Device to compute on.
        caches: Step caches, which the stack fills.
        claim: What is to be proven; see `Stack.unproven`.

    Returns:
        Whether the claim is proven. Members whose weights are not finite prove nothing.

    Raises:
        UsageError: The stack does something else; names the first tensor, loss or metric that
            differs.
        Exception: An error of the task.
    """
    segments = []
    states = [start.state for start in starts]
    for offset, steps in _segment_plan(task, starts, claim):
        begin = [
            _begin(task, start, state, offset, steps)
            for start, state in zip(starts, states, strict=True)
        ]
        stack = Stack(task, begin, device, caches)
        stack.train()
        states = stack.states()
        losses = [stack.losses(row) for row in range(len(starts))]
        segments.append(_Segment(begin, states, losses, stack.optimized_names))

    finite = [row for row, state in enumerate(states) if _finite(state)]
    rows = _witnesses(starts, finite, claim)
    metrics = [as_numbers(row) for row in stack.evaluate(rows)]
    for row, numbers in zip(rows, metrics, strict=True):
        for segment in segments:
            _check_segment(task, segment, row, first=rows[0])
        _check_evaluation(task, segments[-1], row, numbers)
    return bool(rows)


def prove_on_cpu(task: TorchTask, starts: Sequence[RowStart], claim: Claim) -> bool:
    """Do the same on the CPU, with the members that are compared alone; see `prove`.

    It is for members that draw on a GPU: what a stack draws there is as random as what a member
    draws alone, but made of larger pieces, and so not the same.

    Raises:
        UsageError: The stack does something else, or the task fails on the CPU.
    """
    cpu = torch.device("cpu")
    rows = _witnesses(starts, range(len(starts)), claim)
    own = [replace(starts[row], ctx=replace(starts[row].ctx, device=cpu)) for row in rows]
    try:
        return prove(task, own, cpu, {}, claim)
    except PopgradError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise refusal(
            "a step that draws can only be compared with the same alone on the CPU, where the task "
            f"fails ({type(error).__name__}: {reason})"
        ) from error


def _segment_plan(
    task: TorchTask, starts: Sequence[RowStart], claim: Claim
) -> list[tuple[int, int]]:
    """Return (position in the epoch, steps) of each segment of the proof."""
    samples = len(task.split("train", torch.device("cpu"))[0])
    full = min(samples, task.samples_a_step(starts[0].hparams))
    shorter = [(samples - size, 1) for size in sorted(claim.sizes) if size != full]
    return [(0, _STEPS), *(shorter or [(0, 1)])]


def _begin(task: TorchTask, start: RowStart, state: State, offset: int, steps: int) -> RowStart:
    """Return a start at another position of the member's own epoch."""
    samples = len(task.split("train", torch.device("cpu"))[0])
    epoch = start.state["position"] // samples
    assignment = replace(start.assignment, steps=steps)
    return RowStart(assignment, {**state, "position": epoch * samples + offset}, start.ctx)


def _finite(state: State) -> bool:
    """Whether all weights of a state are finite."""
    return all(bool(x.isfinite().all()) for x in state["model"].values())


def _witnesses(starts: Sequence[RowStart], finite: Sequence[int], claim: Claim) -> list[int]:
    """Return the rows to compare: one, and others until each claimed name has two values."""
    if not finite:
        return []
    rows = [finite[0]]
    first = starts[finite[0]].hparams
    missing = set(claim.names)

    while missing:
        others = {
            row: {name for name in missing if starts[row].hparams.get(name) != first.get(name)}
            for row in finite
        }
        row = max(finite, key=lambda own: len(others[own]))
        if not others[row]:
            break
        rows.append(row)
        missing -= others[row]
    return rows


# --- a member alone -------------------------------------------------------------------------------


def _train_alone(task: TorchTask, start: RowStart, state: State) -> tuple[State, list[float]]:
    """Train a segment of one member, and return its final state and its training losses."""
    losses: list[float] = []

    def log(_: int, **numbers: float) -> None:
        losses.extend(value for name, value in numbers.items() if name == "train_loss")

    ctx = replace(start.ctx, log=log)
    with seeded(ctx):
        end = task.train(state, start.hparams, start.assignment.steps, ctx)
    return end, losses


def _evaluate_alone(task: TorchTask, start: RowStart, state: State) -> Mapping[str, float]:
    with seeded(start.ctx):
        metrics = as_numbers(task.evaluate(state, start.hparams, "validation", start.ctx))
    return {str(name): float(value) for name, value in metrics.items()}


def _check_segment(task: TorchTask, segment: _Segment, row: int, first: int) -> None:
    """Refuse a stack if training a row differs from training its member alone."""
    start = segment.starts[row]
    other = moved(start.state)
    alone, losses = _train_alone(task, start, start.state)
    neighbour, other_losses = _train_alone(task, start, other)

    if row == first and not _repeats(task, start, alone):
        raise refusal(
            f"training member {start.assignment.member} alone twice gives different results: "
            "something outside of its state and its seeds changes, such as a global variable"
        )

    states = StepStates(start.state, alone, other, neighbour)
    difference = find_difference(segment.states[row], states, segment.names)
    if difference is None:
        tolerance = Tolerance.of_numbers(losses, other_losses)
        difference = tolerance.compare("the loss", segment.losses[row], losses)
    if difference is not None:
        steps = start.assignment.steps
        raise refusal(
            f"{difference}, comparing {steps} {'step' if steps == 1 else 'steps'} of member "
            f"{start.assignment.member} in a stack with the same alone; something acts otherwise in "
            "a stack, such as a hook, a draw, or Python state of the model or the loss"
        )


def _repeats(task: TorchTask, start: RowStart, alone: State) -> bool:
    """Whether a member alone ends with the same bits once more. Sums on a GPU need not."""
    if start.ctx.device.type != "cpu":
        return True
    again, _ = _train_alone(task, start, start.state)
    return digest(again) == digest(alone)


def _check_evaluation(
    task: TorchTask, segment: _Segment, row: int, metrics: Mapping[str, float]
) -> None:
    """Refuse a stack if evaluating a row differs from evaluating its member alone."""
    start = segment.starts[row]
    state = segment.states[row]
    alone = _evaluate_alone(task, start, state)
    neighbour = _evaluate_alone(task, start, moved(state))

    names = sorted({*metrics, *alone})
    for name in names:
        if name not in metrics or name not in alone:
            raise refusal(f"metric {name!r} is computed for a member in a stack, or alone, only")
        tolerance = Tolerance.of_numbers([alone[name]], [neighbour.get(name, alone[name])])
        difference = tolerance.compare(f"metric {name!r}", [metrics[name]], [alone[name]])
        if difference is not None:
            raise refusal(
                f"{difference}, comparing an evaluation of member {start.assignment.member} in a "
                "stack with the same alone"
            )
