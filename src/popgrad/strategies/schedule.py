"""A given schedule: nobody copies, and hyperparameters change where they are told to."""

from collections.abc import Mapping, Sequence

from popgrad.core.errors import UsageError
from popgrad.core.exploit import check_somebody_left
from popgrad.core.population import Changes, Hparams, Plan, Population, Value
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def schedule(space: Space, *, phases: Sequence[Mapping[str, Value]] = ()) -> Strategy:
    """Everybody keeps its weights; from each phase's step on, its hyperparameters are these.

    Args:
        space: What the values must lie in.
        phases: Each has "step", the training steps after which it begins (at least 1), and hyperparameters by
            name. It begins with the first interval that starts at its step or later. In a configuration it
            may have "epoch" instead, the epochs after which it begins.

    Raises:
        UsageError: A phase has no step, or a name or value that is not in the space.
    """
    given = sorted(
        (_check(space, phase, i) for i, phase in enumerate(phases)), key=lambda each: each[0]
    )

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        del rng
        check_somebody_left(population, ready)
        members = tuple(ready.tolist())
        moved = [_at(given, population.hparams[m], int(population.steps[m])) for m in members]
        return Plan(
            members, members, tuple(h for h, _ in moved), tuple(c for _, c in moved)
        ), memory

    return Strategy(init=dict, step=step, copies=False)


def _check(space: Space, phase: Mapping[str, Value], number: int) -> tuple[int, Hparams]:
    step = phase.get("step")
    if isinstance(step, bool) or not isinstance(step, int) or step < 1:
        raise UsageError(
            f'phases[{number}].step: given {step!r}; a number of steps, at least 1 (or give "epoch")'
        )
    values = {name: value for name, value in phase.items() if name != "step"}
    if unknown := [name for name in values if name not in space]:
        raise UsageError(
            f"phases[{number}]: unknown hyperparameter {', '.join(unknown)}; has {', '.join(space)}"
        )
    return step, {
        name: _value(space, name, value, f"phases[{number}].{name}")
        for name, value in values.items()
    }


def _value(space: Space, name: str, value: Value, where: str) -> Value:
    try:
        return space[name].check(value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _at(
    phases: Sequence[tuple[int, Hparams]], before: Hparams, steps: int
) -> tuple[Hparams, Changes]:
    """The hyperparameters after `steps` steps, and which of them are other than before."""
    now = dict(before)
    for step, values in phases:
        if step <= steps:
            now.update(values)
    return now, {name: "kept" if now[name] == before[name] else "given" for name in now}
