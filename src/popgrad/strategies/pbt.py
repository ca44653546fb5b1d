"""Population Based Training: Jaderberg et al. 2017, arXiv 1711.09846, with truncation selection."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from popgrad.core import explore as exploring
from popgrad.core.errors import UsageError
from popgrad.core.exploit import check_fraction, check_somebody_left, truncation
from popgrad.core.generation import generation
from popgrad.core.population import Plan, Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def pbt(
    space: Space,
    *,
    fraction: float = 0.2,
    factors: Sequence[float] = (0.8, 1.25),
    resample_probability: float = 0.0,
    burn_in: int = 0,
    same_age: bool = False,
    min_donor_steps: int = 0,
) -> Strategy:
    """The worst carry on from the best, with hyperparameters that were moved a little.

    Args:
        space: What is searched.
        fraction: Share replaced, and share that donates, in [0, 0.5]. The paper's truncation is 0.2.
        factors: What a hyperparameter is multiplied by, one drawn for each. The paper's 0.8 and 1.2 shrink
            values in the long run (their logarithms average -0.0204); 0.8 and 1.25 cancel, hence the default.
        resample_probability: Chance in [0, 1] that a hyperparameter is drawn afresh instead.
        burn_in: Completed intervals before a member can be replaced; a failed one is replaced at any time.
        same_age: Whether a member is ranked only among those that have completed as many intervals or more,
            and inherits from them. It matters where members decide one by one.
        min_donor_steps: Training steps that have to be behind a donor's weights.

    Raises:
        UsageError: An argument is not in its range; names it.
    """
    fraction = check_fraction(fraction)
    explore = partial(
        exploring.perturb,
        space=space,
        factors=exploring.check_factors(factors),
        resample_probability=exploring.check_probability(
            "resample_probability", resample_probability
        ),
    )
    _check_count("burn_in", burn_in, "intervals")
    _check_count("min_donor_steps", min_donor_steps, "steps")
    if not isinstance(same_age, bool):
        raise UsageError(f"same_age = {same_age!r}: true or false")

    def exploit(rng: Rng, population: Population, ready: Index) -> Index:
        check_somebody_left(population, ready)
        grown, sources, ages = (
            population.steps >= min_donor_steps,
            ready.copy(),
            population.intervals[ready],
        )
        for age in np.unique(ages) if same_age else [0]:
            own = ages == age if same_age else np.full(len(ready), True)
            among = np.flatnonzero(population.intervals >= age)
            if np.isfinite(population.scores[among]).any():
                asked = ready[own]
                sources[own] = truncation(
                    rng, population, asked, fraction=fraction, among=among, donors=grown
                )
        spared = (ages < burn_in) & np.isfinite(population.scores[ready])
        return np.where(spared, ready, sources)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        return generation(rng, population, ready, exploit=exploit, explore=explore), memory

    return Strategy(init=dict, step=step)


def _check_count(name: str, given: object, what: str) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise UsageError(f"{name} = {given!r}: a number of {what}, 0 or more")
