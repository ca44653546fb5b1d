"""The check of a task: repeat, lost, leak, and another process."""

import itertools
from collections.abc import Callable
from dataclasses import replace

from popgrad.core.errors import UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.interval import parse_interval
from popgrad.core.population import Hparams
from popgrad.core.seeding import Rng
from popgrad.hardware import resolve_devices
from popgrad.loops.check.finding import Finding, unequal
from popgrad.loops.check.leak import compare_used, new_loop
from popgrad.loops.check.plain_task import check_plain
from popgrad.loops.check.process import compare_process
from popgrad.loops.check.snapshot import (
    Snapshot,
    differing_objects,
    differing_values,
    kept_iterators,
)
from popgrad.loops.check.states import differing_parts
from popgrad.loops.check.trial import Boundary, Trial, fresh_state, trial_settings
from popgrad.loops.loop import Loop
from popgrad.loops.scan import Untracked
from popgrad.loops.turn import Turn
from popgrad.state import State
from popgrad.tasks.base import Context, Epochal, Task, epoch_steps
from popgrad.tasks.reference import full_reference, resolve_task, task_instance

Progress = Callable[[str], None]
"""Called with the comparison that is made next."""


def check(
    task: str | Task,
    *,
    steps: int | None = None,
    interval: int | str | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Finding]:
    """Train short segments of a task in ways that must give equal bits, and return what differs.

    For a training loop: *repeat*, the same interval twice; *lost*, an interval in a new loop against the
    same one in a loop that continues; *leak*, an interval in a new loop against one in a loop that has served
    another member; *process*, an interval in another process with another hash seed. Untracked objects and
    iterators that are kept over a boundary are found too. It trains eight segments. A task that is no loop is
    checked for repeat, leak and process, a `TorchTask` for what its state loses too.

    Global generators and settings are restored.

    Args:
        task: A task, or the name of one, as in `run`.
        steps: Length of a segment: reports of a loop, steps of another task; 1 by default.
        interval: Length as in `run`, in place of `steps`: 50 batches of `m.batches`, or "2 reports".
        seed: Seed of the run that is tried; hyperparameters are sampled as that run would.
        device: Device to compute on.
        progress: Called with the comparison that is made next, in words.

    Returns:
        The findings; none = popgrad's promises hold for this task, as far as these segments show.

    Raises:
        UsageError: The task cannot be trained; the message names the cure.
        RunError: The loop overwrites a hyperparameter.

    Example:
        >>> import popgrad, torch
        >>> @popgrad.loop(space={"lr": popgrad.LogUniform(1e-3, 1.0)}, minimize="loss")
        ... def train(m):
        ...     x = torch.ones(1)
        ...     count = 0
        ...     m.track(x=x)
        ...     for _ in m:
        ...         count += 1
        ...         x -= m["lr"] * x / count
        ...         m.report(loss=x.item())
        >>> for finding in popgrad.check(train):
        ...     print(finding.kind, finding.variables)
        lost ('count: 1 / 0',)
        leak ('count: 2 / 0',)
    """
    if isinstance(task, str):
        task = resolve_task(full_reference(task), {})
    task = task_instance(task)
    if steps is not None and interval is not None:
        raise UsageError("steps, interval: both set the length of a segment; give one")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise UsageError(f"steps: expected an integer, at least 1, got {steps!r:.80}")
    hparams, _ = first_hparams(task.space, Rng(seed), 2, ())
    task, length = _sized(task, steps, interval, hparams[0])

    ctx = Context(device=resolve_devices(str(device))[0], run_seed=seed)
    members = (hparams[0], hparams[1])
    if isinstance(task, Loop):
        return _check_loop(task, members, ctx, length, progress or _ignore)
    with trial_settings(ctx):
        return check_plain(task, members, ctx, length)


def _ignore(comparison: str) -> None:
    """Drop the name of a comparison."""


def _sized(
    task: Task, steps: int | None, interval: int | str | None, hparams: Hparams
) -> tuple[Task, int]:
    """Return the task with intervals in their unit, and their length."""
    if interval is None:
        return task, steps or 1
    try:
        length = parse_interval(str(interval))
    except ValueError as error:
        raise UsageError(f"interval: {error}") from None
    if isinstance(task, Loop):
        if length.epochs:
            epoch_steps(task, hparams)  # refuses epochs
        return task.in_unit("reports" if length.reports else "batches"), length.count
    needs_epochs = length.epochs or length.within_epochs
    counted = needs_epochs or isinstance(task, Epochal)
    return task, length.steps(0, epoch_steps(task, hparams) if counted else 1)


def _check_loop(
    loop: Loop,
    hparams: tuple[Hparams, Hparams],
    ctx: Context,
    steps: int,
    progress: Progress,
) -> list[Finding]:
    """Return the findings of a loop."""
    with trial_settings(ctx):
        progress("an interval, and the next one in the same loop")
        fresh = fresh_state(loop, hparams[0], ctx)
        first = Trial(loop, _two_intervals(loop, hparams[0], ctx, steps, fresh)).run()
        _, end, *continued = first.boundaries

        progress("the same interval once more")
        found = _repeat(loop, hparams[0], ctx, steps, fresh, first.boundaries)
        repeats = not found
        new: list[Boundary] = []
        if repeats and continued:
            progress("the next interval in a new loop, and in one that has served another member")
            new = new_loop(loop, hparams[0], ctx, steps, end.state)
            found += _lost(end, continued[0], new, ctx)
            leak = compare_used(loop, hparams, ctx, steps, fresh, new, first.live)
            found += [] if leak is None else [leak]
        if repeats:
            progress("the first interval in another process")
            found += compare_process(loop, hparams[0], ctx, steps, end.state)
    return [*found, *_untracked(first.boundaries, new)]


def _two_intervals(
    loop: Loop, hparams: Hparams, ctx: Context, steps: int, fresh: State
) -> list[Turn]:
    """Return the segments of a loop that shows itself, and trains two intervals without a load between."""
    following = replace(ctx, interval=1, first_step=steps)
    return [
        loop.turn(hparams, ctx, 0, fresh),
        loop.turn(hparams, ctx, steps, fresh),
        loop.turn(hparams, following, steps, None),
    ]


def _repeat(
    loop: Loop,
    hparams: Hparams,
    ctx: Context,
    steps: int,
    fresh: State,
    first: list[Boundary],
) -> list[Finding]:
    """Compare an interval with the same one in another loop."""
    start, end, *_ = first
    again = fresh_state(loop, hparams, ctx)
    turns = _two_intervals(loop, hparams, ctx, steps, again)[:2]
    second = Trial(loop, turns).run().boundaries
    parts = differing_parts(fresh, again, ctx.device)
    parts = parts or differing_parts(end.state, second[-1].state, ctx.device)
    if not parts:
        return []
    return [unequal("repeat", parts, differing_values(start.seen, second[0].seen))]


def _lost(end: Boundary, continued: Boundary, new: list[Boundary], ctx: Context) -> list[Finding]:
    """Compare interval 1 in the loop that continues with one in a new loop."""
    parts = differing_parts(continued.state, new[-1].state, ctx.device)
    if not parts:
        return []
    return [unequal("lost", parts, differing_values(end.seen, new[0].seen))]


def _untracked(first: list[Boundary], new: list[Boundary]) -> list[Finding]:
    """Return untracked objects, and iterators that are kept over a boundary."""
    start: Snapshot = first[0].seen
    objects = [each for each in start.untracked if each.kind == "object"]
    iterators = {each.name: each for each in start.untracked if each.kind == "iterator"}
    kinds = {each.name: each.kind for each in start.untracked}

    if len(first) > 2 and new:
        pairs = [(first[1].seen, new[0].seen), (first[2].seen, new[-1].seen)]
        for name, kind in differing_objects(pairs).items():
            if kinds.get(name, "generator") == "generator":
                objects.append(Untracked(name, kind, kinds.get(name, "object")))
    for earlier, later in itertools.pairwise(first):
        for name, kind in kept_iterators(earlier.seen, later.seen).items():
            iterators.setdefault(name, Untracked(name, kind, "iterator"))
    return [
        *(Finding("untracked", f"{e.name} ({e.type}) {e.loss}", e.cure) for e in objects),
        *(Finding("iterator", f"{e.name} ({e.type}) {e.loss}", e.cure) for e in iterators.values()),
    ]
