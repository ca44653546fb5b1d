"""The next plan of a population, also if the population changes its size."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from popgrad.core.errors import AllMembersFailedError, RunError
from popgrad.core.history import NO_HISTORY, History
from popgrad.core.plan import Plan, cut
from popgrad.core.population import Budget
from popgrad.core.resize import extended, grown, sampled, shrunk
from popgrad.core.seeding import Rng
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.engine.members import MemberTable
from popgrad.strategies.base import Growth, Memory, Strategy
from popgrad.tasks.transforms import check_transform


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
    archive: Sequence[Segment] = (),
    budget: Budget | None = None,
    past: Callable[[], History] = NO_HISTORY,
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
        archive: Segments that the strategy asked to keep.
        budget: Training that the run may spend; None = it is not known.
        past: Returns the history.

    Returns:
        A plan that can be obeyed, and the strategy's memory after it.

    Raises:
        AllMembersFailedError: The strategy has no member to continue from.
        RunError: The strategy's plan cannot be obeyed.
        UsageError: Its hyperparameters are not in the space, or there is no such transform.
    """
    population = table.population(archive, budget, past)
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
    plan = table.check(plan, members, space, population.archive)
    for transform in filter(None, plan.transforms):
        check_transform(transform)

    if size > before:
        plan = grown(plan, before, hparams)
    elif size < before:
        plan = shrunk(plan, population.scores, size)
    if not strategy.shares_budget and plan.lengths:
        raise RunError(
            "the strategy's plan has intervals of other lengths, so the strategy needs shares_budget=True: "
            "then the run ends when its budget is spent"
        )
    if strategy.shares_budget and budget is not None:
        plan = cut(plan, budget.left)
    return plan, memory
