"""Population Based Training: Jaderberg et al. 2017, arXiv 1711.09846, with truncation selection."""

from collections.abc import Mapping, Sequence

import numpy as np

from popgrad.core.exploit import check_fraction, check_survivors, truncation
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.generation import generation
from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_count
from popgrad.core.space import Space
from popgrad.core.values import boolean
from popgrad.strategies.base import Memory, Strategy


def pbt(
    space: Space,
    *,
    fraction: float = 0.2,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
    burn_in: int = 0,
    same_age: bool = False,
    min_donor_steps: int = 0,
) -> Strategy:
    """Continue the worst members from the best, with hyperparameters moved a little.

    Args:
        space: Space of the hyperparameters.
        fraction: Share replaced, and share that donates, in [0, 0.5]. The paper's truncation is
            0.2.
        factors: Factors of a hyperparameter; one is drawn for each. The paper's 0.8 and 1.2 shrink
            values in the long run (their logarithms average -0.0204); 0.8 and 1.25 cancel, hence
            the default. Or a table of factors by name of the hyperparameter, with those of all
            others under "default".
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.
        burn_in: Completed intervals before a member can be replaced; a failed one is replaced at
            any time.
        same_age: Whether a member is ranked only among those that have completed as many intervals
            or more, and inherits from them. It matters if members decide one by one.
        min_donor_steps: Training steps that a donor's weights need to have behind them.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2, 0.5]),
        ...     intervals=np.array([1, 1, 1]),
        ...     steps=np.array([100, 100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}, {"lr": 0.01}],
        ... )
        >>> strategy = pbt(space, fraction=0.3, factors=[0.5])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(3), strategy.init())
        >>> plan.sources
        (0, 0, 2)
        >>> plan.hparams
        ({'lr': 0.1}, {'lr': 0.05}, {'lr': 0.01})

        Each hyperparameter may have its own factors.

        >>> strategy = pbt(space, factors={"lr": [0.5, 2.0], "default": [0.8, 1.25]})
    """
    fraction = check_fraction(fraction)
    explore = perturbation(space, factors, resample_probability)
    burn_in = check_count("burn_in", burn_in, "intervals")
    min_donor_steps = check_count("min_donor_steps", min_donor_steps, "steps")
    boolean("same_age", same_age)

    def exploit(rng: Rng, population: Population, ready: Index) -> Index:
        check_survivors(population, ready)
        grown = population.steps >= min_donor_steps
        ages = population.intervals[ready]
        sources = ready.copy()

        for age in np.unique(ages) if same_age else [0]:
            peers = ages == age if same_age else np.full(len(ready), True)
            among = np.flatnonzero(population.intervals >= age)
            if np.isfinite(population.scores[among]).any():
                sources[peers] = truncation(
                    rng, population, ready[peers], fraction=fraction, among=among, donors=grown
                )

        spared = (ages < burn_in) & np.isfinite(population.scores[ready])
        return np.where(spared, ready, sources)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        return generation(rng, population, ready, exploit=exploit, explore=explore), memory

    return Strategy(init=dict, step=step)
