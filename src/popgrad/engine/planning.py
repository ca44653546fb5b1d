"""The next plan of a population, also if the population changes its size."""

from collections.abc import Mapping, Sequence

import numpy as np

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import Plan
from popgrad.core.resize import extended, grown, sampled, shrunk
from popgrad.core.seeding import Rng
from popgrad.core.space import Space
from popgrad.engine.members import MemberTable
from popgrad.strategies.base import Growth, Memory, Strategy


def make_plan(
    strategy: Strategy,
    memory: Memory,
    rng: Rng,
    table: MemberTable,
    space: Space,
    ready: Sequence[int],
    *,
    size: int,
    joining: Mapping[int, int],
    growth: Growth,
) -> tuple[Plan, Memory]:
    """Ask the strategy for a plan, and extend or cut it if the population changes its size.

    Args:
        strategy: Makes the plan.
        memory: Memory of the strategy after the last decision.
        rng: Random streams of the run.
        table: The present members.
        space: Dimensions of the hyperparameters.
        ready: Members that take part, in ascending order; all of them if the size changes.
        size: Members of the population after this plan.
        joining: First interval of each new member, by member.
        growth: Whether new members inherit from donors ("clone") or start fresh ("sample").

    Returns:
        A plan that can be obeyed, and the strategy's memory after it.

    Raises:
        AllMembersFailedError: The strategy has no member to continue from.
        RunError: The strategy's plan cannot be obeyed.
    """
    population = table.population()
    before = len(population)
    members = np.array(ready)
    hparams = sampled(space, rng, joining)
    # To the strategy, a new member that is to inherit is like a failed one: it gets a donor.
    if joining and growth == "clone":
        population = extended(population, hparams, joining.values())
        members = np.arange(size)

    try:
        plan, memory = strategy.step(rng, population, members, memory)
    except AllMembersFailedError as error:
        raise table.all_failed(str(error)) from None
    plan = table.check(plan, members, space)

    if size > before:
        plan = grown(plan, before, hparams)
    elif size < before:
        plan = shrunk(plan, population.scores, size)
    return plan, memory
