"""Leaks: what a loop keeps from one member to the next."""

from dataclasses import replace

from popgrad.core.population import Hparams
from popgrad.loops.check.finding import Finding, unequal
from popgrad.loops.check.snapshot import differing_values
from popgrad.loops.check.states import differing_parts
from popgrad.loops.check.trial import Boundary, Trial, fresh_state, trial_settings
from popgrad.loops.live import LiveLoop
from popgrad.loops.loop import Loop
from popgrad.loops.turn import Turn
from popgrad.state import State
from popgrad.tasks.base import Context


def leaks(
    loop: Loop, hparams: tuple[Hparams, Hparams], ctx: Context, steps: int = 1
) -> list[Finding]:
    """Return what a loop keeps from one member to the next; none = it can serve several members.

    An interval is trained in a new loop, and in one that has served another member since. It costs five
    segments and three setups. Global generators and settings are restored.

    Args:
        loop: The loop.
        hparams: Complete hyperparameters of a member, and of another one.
        ctx: Context of the first segment of the member.
        steps: Length of a segment, in the loop's unit.

    Raises:
        UsageError: The loop fails, or misuses the member.

    Example:
        >>> import popgrad
        >>> @popgrad.loop(space={"lr": popgrad.LogUniform(1e-3, 1.0)}, score="x")
        ... def train(m):
        ...     seen = []
        ...     for _ in m:
        ...         seen.append(m["lr"])
        ...         m.report(x=sum(seen))
        >>> [finding.variables for finding in leaks(train, ({"lr": 0.1}, {"lr": 0.2}), Context())]
        [('len(seen): 2 / 0',)]
    """
    with trial_settings(ctx):
        fresh = fresh_state(loop, hparams[0], ctx)
        first = Trial(loop, [loop.turn(hparams[0], ctx, steps, fresh)]).run()
        state = first.boundaries[0].state
        new = new_loop(loop, hparams[0], ctx, steps, state)
        found = compare_used(loop, hparams, ctx, steps, fresh, new, first.live)
    return [] if found is None else [found]


def new_loop(
    loop: Loop, hparams: Hparams, ctx: Context, steps: int, state: State
) -> list[Boundary]:
    """Train interval 1 in a new loop: when its state is loaded, and at its end.

    Args:
        loop: The loop.
        hparams: Complete hyperparameters of the member.
        ctx: Context of its first segment.
        steps: Length of a segment.
        state: State at the end of interval 0.
    """
    return Trial(loop, _interval_1(loop, hparams, ctx, steps, state)).run().boundaries


def compare_used(
    loop: Loop,
    hparams: tuple[Hparams, Hparams],
    ctx: Context,
    steps: int,
    fresh: State,
    new: list[Boundary],
    live: LiveLoop,
) -> Finding | None:
    """Train interval 1 in a loop that has served another member, and compare it with a new loop.

    Args:
        loop: The loop.
        hparams: Complete hyperparameters of the member, and of the other one.
        ctx: Context of the member's first segment.
        steps: Length of a segment.
        fresh: Fresh state of the member.
        new: Interval 1 in a new loop, from `new_loop`.
        live: Objects of a loop that has trained.

    Returns:
        None if they are equal, or if the loop can train no further segment.
    """
    own = hparams[0]
    state = new[0].state
    another = replace(ctx, member=ctx.member + 1, interval=1, first_step=steps)
    other = served_turn(live, loop.turn(hparams[1], another, steps, state), own)
    if other is None:
        return None

    turns = [
        loop.turn(own, ctx, steps, fresh),
        other,
        *_interval_1(loop, own, ctx, steps, state),
    ]
    used = Trial(loop, turns).run().boundaries
    if len(used) < len(turns):
        return None

    parts = differing_parts(used[-1].state, new[-1].state, ctx.device)
    if not parts:
        return None
    return unequal("leak", parts, differing_values(used[-2].seen, new[-2].seen))


def _interval_1(loop: Loop, hparams: Hparams, ctx: Context, steps: int, state: State) -> list[Turn]:
    """Return the segments that load the state, show the loop, and train."""
    following = replace(ctx, interval=1, first_step=steps)
    return [
        loop.turn(hparams, following, 0, state),
        loop.turn(hparams, following, steps, state),
    ]


def served_turn(live: LiveLoop, turn: Turn, own: Hparams) -> Turn | None:
    """Return a segment of another member, with as many of its hyperparameters as a loop takes.

    Args:
        live: Objects of the loop, which has trained a segment.
        turn: Segment of the other member.
        own: Hyperparameters that the loop was set up with; they stay if only a new setup would change them.

    Returns:
        None if the loop cannot serve another member at all.
    """
    hparams = dict(own)
    for name, value in turn.hparams.items():
        if live.serves(replace(turn, hparams={**hparams, name: value})):
            hparams[name] = value
    served = replace(turn, hparams=hparams)
    return served if live.serves(served) else None
