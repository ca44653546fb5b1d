"""Check of a task that is no loop: a `TorchTask`, or one of the three methods."""

from dataclasses import replace

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.loops.check.finding import Finding, unequal
from popgrad.loops.check.process import compare_process, first_interval
from popgrad.loops.check.states import differing_parts
from popgrad.state import State, clone
from popgrad.tasks.base import Context, Task
from popgrad.tasks.calls import explained
from popgrad.tasks.continuation import check_continuation
from popgrad.tasks.copies import copy_task
from popgrad.tasks.torch_task import TorchTask


def check_plain(
    task: Task, hparams: tuple[Hparams, Hparams], ctx: Context, steps: int
) -> list[Finding]:
    """Return what differs between segments of a task that must give equal bits.

    Args:
        task: The task.
        hparams: Complete hyperparameters of a member, and of another one.
        ctx: Context of the member's first segment.
        steps: Length of a segment.

    Raises:
        UsageError: The task cannot be trained.
    """
    own, other = hparams
    first = _train(_copy(task), own, ctx, steps)
    again = _train(_copy(task), own, ctx, steps)
    parts = differing_parts(first, again, ctx.device)
    if parts:
        return [unequal("repeat", parts)]

    found = []
    used = _copy(task)
    _train(used, other, replace(ctx, member=ctx.member + 1), steps)
    parts = differing_parts(_train(used, own, ctx, steps), first, ctx.device)
    if parts:
        found.append(unequal("leak", parts))
    found += _continuation(task, own, ctx)
    return found + compare_process(task, own, ctx, steps, first)


def _copy(task: Task) -> Task:
    """Return a task that has trained nothing, or the task itself if it cannot be copied."""
    return copy_task(task) or task


def _train(task: Task, hparams: Hparams, ctx: Context, steps: int) -> State:
    with explained(type(task).__name__, "it"):
        state = first_interval(task, hparams, ctx, steps)
    # The task may change it later.
    return clone(state)  # type: ignore[no-any-return]


def _continuation(task: Task, hparams: Hparams, ctx: Context) -> list[Finding]:
    """Check that a `TorchTask` that is cut in two trains as it does uncut."""
    if not isinstance(task, TorchTask):
        return []
    try:
        check_continuation(task, hparams, ctx)
    except UsageError as error:
        return [Finding("lost", str(error), "see tasks.md")]
    return []
