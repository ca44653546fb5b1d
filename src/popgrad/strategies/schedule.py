"""A given schedule: no member copies another, and hyperparameters change at given steps."""

from collections.abc import Mapping, Sequence

from popgrad.core.errors import UsageError
from popgrad.core.exploit import check_survivors
from popgrad.core.plan import Plan
from popgrad.core.population import Changes, Hparams, Population, Value
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.core.spelling import did_you_mean
from popgrad.strategies.base import Memory, Strategy

_Phase = tuple[int, Hparams]
"""(step from which on the hyperparameters hold, hyperparameters)."""


def schedule(space: Space, *, phases: Sequence[Mapping[str, Value]] = ()) -> Strategy:
    """Keep every member's weights; from the step of each phase on, use the phase's hyperparameters.

    Args:
        space: Space that the values must lie in.
        phases: Phases, each with "step", the training steps after which it begins (at least 1), and
            hyperparameters by name. It begins with the first interval that starts at its step or
            later. In a configuration it may have "epoch" instead, the epochs after which it begins.

    Raises:
        UsageError: A phase has no step, or a name or value that is not in the space.

    Example:
        >>> import numpy as np
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> strategy = schedule(space, phases=[{"step": 100, "lr": 0.01}])
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9]),
        ...     intervals=np.array([1]),
        ...     steps=np.array([100]),
        ...     hparams=[{"lr": 0.1}],
        ... )
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.array([0]), strategy.init())
        >>> plan.hparams, plan.changes
        (({'lr': 0.01},), ({'lr': 'given'},))
    """
    unsorted = [_check(space, phase, i) for i, phase in enumerate(phases)]
    ordered = sorted(unsorted, key=lambda phase: phase[0])

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        del rng
        check_survivors(population, ready)
        members = tuple(ready.tolist())
        moved = [_at(ordered, population.hparams[m], int(population.steps[m])) for m in members]
        hparams = tuple(h for h, _ in moved)
        changes = tuple(c for _, c in moved)
        return Plan(members, members, hparams, changes), memory

    return Strategy(init=dict, step=step, copies=False)


def _check(space: Space, phase: Mapping[str, Value], number: int) -> _Phase:
    """Return a phase in the types of the space; `number` is its position, for messages."""
    step = phase.get("step")
    if isinstance(step, bool) or not isinstance(step, int) or step < 1:
        raise UsageError(
            f"phases[{number}].step: expected a number of steps, at least 1, got {step!r}; "
            'or give "epoch"'
        )

    values = {name: value for name, value in phase.items() if name != "step"}
    unknown = [name for name in values if name not in space]
    if unknown:
        similar = did_you_mean(unknown[0], space) or f"; has {', '.join(space)}"
        raise UsageError(f"phases[{number}]: unknown hyperparameter {', '.join(unknown)}{similar}")

    hparams: dict[str, Value] = {}
    for name, value in values.items():
        try:
            hparams[name] = space[name].check(value)
        except UsageError as error:
            raise UsageError(f"phases[{number}].{name}: {error}") from None
    return step, hparams


def _at(phases: Sequence[_Phase], before: Hparams, steps: int) -> tuple[Hparams, Changes]:
    """Return the hyperparameters after `steps` steps, and the origin of each.

    Args:
        phases: Phases in order of their steps.
        before: Hyperparameters until now.
        steps: Training steps so far.
    """
    now = dict(before)
    for step, values in phases:
        if step <= steps:
            now.update(values)
    return now, {name: "kept" if now[name] == before[name] else "given" for name in now}
