"""Tournament selection: Jaderberg et al. 2017, arXiv 1711.09846, section 4.3.1, with two members."""

from collections.abc import Mapping, Sequence

import numpy as np

from popgrad.core.exploit import check_survivors
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.generation import generation
from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.ranking import draw_other, rank_members
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_count
from popgrad.core.space import Space
from popgrad.core.values import boolean
from popgrad.strategies.base import Memory, Strategy


def tournament(
    space: Space,
    *,
    k: int = 2,
    elitism: int = 1,
    generational: bool = False,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
) -> Strategy:
    """Let each member meet others drawn at random, and continue from the best of them.

    With the defaults it is the binary tournament of the paper's experiments with GANs: a member
    draws another one, and continues from it if its score is better. Of two members with equal scores
    both keep what they have. If the scores are noise, half of the members are replaced at each
    decision: average over more, or use "t-test".

    Args:
        space: Space of the hyperparameters.
        k: Members in a tournament, at least 2: the member itself and k - 1 others, drawn with
            replacement.
        elitism: Best members that are never replaced. Nothing beats the best one anyway, unless
            `generational`.
        generational: Whether all members outside of the elite are replaced, each by the best of k
            drawn ones, as in genetic algorithms; a member then survives only if it is drawn. Without
            it, only members that lose are replaced, as in the paper.
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of factors by name,
            with those of all others under "default".
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> strategy = tournament(space, factors=[0.5])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(2), strategy.init())
        >>> plan.sources, plan.hparams
        ((0, 0), ({'lr': 0.1}, {'lr': 0.05}))
    """
    k = check_count("k", k, "members", low=2)
    elitism = check_count("elitism", elitism, "members")
    boolean("generational", generational)
    explore = perturbation(space, factors, resample_probability)

    def exploit(rng: Rng, population: Population, ready: Index) -> Index:
        check_survivors(population, ready)
        living = np.flatnonzero(np.isfinite(population.scores))
        if not len(living):
            return ready.copy()

        def draw(i: int) -> Index:
            purpose = f"opponent {i}"
            if not generational:
                return draw_other(rng, purpose, population, ready, living)
            return living[rng.integers(purpose, ready, population.intervals[ready], len(living))]

        # A failed member loses against any other.
        scores = np.where(np.isfinite(population.scores), population.scores, -np.inf)
        best = draw(0) if generational else ready
        for i in range(1, k):
            drawn = draw(i)
            best = np.where(scores[drawn] > scores[best], drawn, best)

        if not elitism:
            return best
        elite = rank_members(rng, population)[: min(elitism, len(living))]
        return np.where(np.isin(ready, elite), ready, best)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        return generation(rng, population, ready, exploit=exploit, explore=explore), memory

    return Strategy(init=dict, step=step)
