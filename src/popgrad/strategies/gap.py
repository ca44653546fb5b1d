"""Truncation with gap tests: Sample Factory, Petrenko et al. 2020, arXiv 2006.11751."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from popgrad.core.evolution import evolve
from popgrad.core.exploit import check_fraction, check_survivors, replaced_count
from popgrad.core.explore import check_probability, mutate
from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.ranking import rank_members
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_between, check_count, check_factor_range
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Start, Strategy

REFERENCE = "reference"
"""Role of the member that never mutates."""


def gap(
    space: Space,
    *,
    fraction: float = 0.3,
    absolute_gap: float = 1e-6,
    relative_gap: float = 0.1,
    rate: float = 0.15,
    factor_range: Sequence[float] = (1.1, 1.5),
    burn_in: int = 0,
) -> Strategy:
    """Replace the worst by the best only across a gap in score; all but the best mutate.

    The rule of Sample Factory, after FTW (Jaderberg et al. 2019, arXiv 1807.01281). One of the worst
    draws one of the best, and continues from it if the gap between their scores is above both
    `absolute_gap` and `relative_gap` times the donor's score. The members outside of the best mutate
    their hyperparameters, whether they were replaced or not. Member 0 is the reference: it may be
    replaced, and takes the donor's hyperparameters, but never mutates. A failed member is replaced
    whatever the gap.

    A hyperparameter has no default value here, so there is no reset to one, which Sample Factory does
    in one of a hundred mutations.

    Args:
        space: Space of the hyperparameters.
        fraction: Share replaced, and share that donates, in [0, 0.5]; rounded up, at most half.
        absolute_gap: Least difference of the scores, 0 or more, that has to be exceeded.
        relative_gap: Least difference as a share of the donor's score, 0 or more, that has to be
            exceeded.
        rate: Probability in [0, 1] that a hyperparameter mutates.
        factor_range: Lowest and highest factor of a mutation, at least 1, inverted half of the time.
        burn_in: Completed intervals before a member is replaced or mutates; a failed one is replaced
            at any time. Sample Factory waits for 4 of its intervals.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.2, 0.9, 0.85]),
        ...     intervals=np.array([1, 1, 1]),
        ...     steps=np.array([100, 100, 100]),
        ...     hparams=[{"lr": 0.5}, {"lr": 0.1}, {"lr": 0.2}],
        ... )
        >>> strategy = gap(space)
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(3), strategy.init())
        >>> plan.sources, plan.roles
        ((1, 1, 2), ('reference', '', ''))
        >>> plan.hparams[0]
        {'lr': 0.1}
    """
    fraction = check_fraction(fraction)
    absolute_gap = check_between("absolute_gap", absolute_gap, 0, float("inf"))
    relative_gap = check_between("relative_gap", relative_gap, 0, float("inf"))
    burn_in = check_count("burn_in", burn_in, "intervals")
    low, high = check_factor_range(factor_range)
    rate = check_probability("rate", rate)
    explore = partial(mutate, space=space, rate=rate, low=low, high=high)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        alive = np.isfinite(population.scores)
        count = replaced_count(len(population), fraction)
        order = rank_members(rng, population)
        # At least one donor, for failed members.
        best = order[: min(max(count, 1), int(alive.sum()))]
        drawn = _draw(rng, population, ready, best)

        scores = np.where(alive, population.scores, -np.inf)[ready]
        donated = population.scores[drawn]
        ahead = np.where(alive[ready], donated - scores, 0.0)
        wide = (ahead > absolute_gap) & (ahead > relative_gap * np.abs(donated))
        worst = np.argsort(order)[ready] >= len(population) - count
        trained = population.intervals[ready] >= burn_in

        failed = ~alive[ready]
        sources = np.where(failed | (worst & wide & trained), drawn, ready)
        # A member that has failed among too few living ones has no donor, and keeps what it has.
        mutants = ~np.isin(ready, best) & (ready != 0) & (trained | (sources != ready))
        plan = evolve(rng, population, ready, sources, mutants=mutants, explore=explore)
        return replace(plan, roles=tuple(map(_role, plan.members))), memory

    return Strategy(init=dict, step=step, start=_start)


def _draw(rng: Rng, population: Population, ready: Index, donors: Index) -> Index:
    """Draw [R] donors; the members themselves if there is none."""
    if not len(donors):
        return ready
    return donors[rng.integers("donor", ready, population.intervals[ready], len(donors))]


def _role(member: int) -> str:
    return REFERENCE if member == 0 else ""


def _start(size: int) -> Start:
    """Return the first interval: the roles hold from there on."""
    return Start(size, roles=tuple(map(_role, range(size))))
