"""Random search: the baseline that PBT has to beat. N members train to the end unchanged."""

from popgrad.core.exploit import keep
from popgrad.core.generation import generation
from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def random_search(space: Space) -> Strategy:  # noqa: ARG001  # every factory is given the space
    """Keep every member's weights and hyperparameters; a failed member stays failed.

    Args:
        space: Space that the members were sampled from; nothing more is drawn from it.

    Example:
        >>> import numpy as np
        >>> import popgrad
        >>> strategy = random_search(popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)}))
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.array([0, 1]), strategy.init())
        >>> plan.sources, plan.hparams
        ((0, 1), ({'lr': 0.1}, {'lr': 0.5}))
    """

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        plan = generation(rng, population, ready, exploit=keep, explore=lambda _, h: (h, {}))
        return plan, memory

    return Strategy(init=dict, step=step, copies=False)
