"""Successive halving, a baseline: Jamieson and Talwalkar 2016 (AISTATS), arXiv 1502.07943."""

from collections.abc import Sequence

import numpy as np

from popgrad.core.exploit import check_survivors
from popgrad.core.plan import Plan
from popgrad.core.population import Budget, Population
from popgrad.core.ranking import rank_members
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_count
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def successive_halving(space: Space, *, eta: int = 3) -> Strategy:
    """Train all members a little, then ever fewer of the best ever longer. Nothing is inherited.

    Members are halted in rungs: 1/eta of each rung survives into the next one, down to one member.
    Rungs share the budget of the run equally, in whole intervals: N members times K intervals, all
    of which are spent. Survivors continue with their own weights and hyperparameters; the others
    rest, and keep their last score. If all members of a rung fail, the best that rest continue.

    The first segments last one interval, as in every run, and count towards the first rung. Give an
    interval that is short enough: with K below the number of rungs, the first rung takes more than
    its share, and with K = 1 it takes all.

    Args:
        space: Space that the members were sampled from; nothing more is drawn from it.
        eta: Factor by which each rung is smaller than the one before, at least 2. The theory's
            optimum is e = 2.72; Li et al. 2018 (Hyperband, JMLR 18) recommend 3 or 4, and find little
            difference. Of the two, 3 leaves more rungs to small populations.

    Raises:
        UsageError: `eta` is not in its range.

    Example:
        Nine members have trained the first of four intervals: a third of the budget is 12 intervals.

        >>> import popgrad
        >>> strategy = successive_halving(popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)}))
        >>> population = popgrad.Population(
        ...     scores=np.arange(9.0),
        ...     intervals=np.full(9, 1),
        ...     steps=np.full(9, 100),
        ...     hparams=[{"lr": 0.1}] * 9,
        ...     budget=Budget(total=36, spent=9),
        ... )
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(9), strategy.init())
        >>> [(m, plan.lengths[m]) for m in plan.members if not plan.rests[m]]
        [(6, 4), (7, 4), (8, 4)]
        >>> memory
        {'rung': 1}
    """
    del space
    eta = check_count("eta", eta, "members for each survivor", low=2)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        candidates = _candidates(rng, population)
        sizes = [min(size, len(candidates)) for size in rung_sizes(len(population), eta)]
        rung, length = next_rung(sizes, int(str(memory["rung"])), population.budget)
        survivors = set(candidates[: sizes[rung]])

        members = tuple(ready.tolist())
        hparams = tuple(population.hparams[member] for member in members)
        plan = Plan(
            members,
            members,
            hparams,
            tuple(dict.fromkeys(each, "kept") for each in hparams),
            rests=tuple(member not in survivors for member in members),
            lengths=tuple(length if member in survivors else 1 for member in members),
        )
        return plan, {"rung": rung}

    return Strategy(
        init=lambda: {"rung": -1}, step=step, copies=False, shares_budget=True, together=True
    )


def rung_sizes(size: int, eta: int) -> list[int]:
    """Return the members of each rung, down to one.

    Args:
        size: Members of the population.
        eta: Factor between two rungs.

    Example:
        >>> rung_sizes(20, eta=3)
        [20, 6, 2, 1]
    """
    sizes = [size]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] // eta))
    return sizes


def next_rung(sizes: Sequence[int], rung: int, budget: Budget) -> tuple[int, int]:
    """Return the next rung to train, and the intervals that its segments last, at least 1.

    Each rung gets an equal part of what is left, in whole intervals; the last one, with one member,
    all of it. A rung whose part is not an interval for each of its members is skipped.

    Args:
        sizes: Members of each rung.
        rung: Rung of the last segments; -1 = they are the first ones of the run.
        budget: Budget of the run.

    Example:
        >>> next_rung([9, 3, 1], -1, Budget(total=90, spent=9))
        (0, 2)
        >>> next_rung([9, 3, 1], 0, Budget(total=90, spent=27))
        (1, 10)
        >>> next_rung([9, 3, 1], 1, Budget(total=90, spent=57))
        (2, 33)
    """
    for following in range(rung + 1, len(sizes)):
        share = budget.left // (len(sizes) - following)
        if following == 0:
            # The first segments are part of the first rung.
            share = budget.total // len(sizes) - budget.spent
        length = share // sizes[following]
        if length >= 1:
            return following, length
    # A run that is continued with more intervals: its last rung has them.
    last = len(sizes) - 1
    return last, max(1, budget.left // sizes[last])


def _candidates(rng: Rng, population: Population) -> list[int]:
    """Return the members that may survive, from the best on; equal scores in random order."""
    ranked: list[int] = rank_members(rng, population).tolist()
    finite = [member for member in ranked if np.isfinite(population.scores[member])]
    active = [member for member in finite if member not in population.resting]
    # If all of a rung have failed, the best of those that rest take its place.
    return active or finite
