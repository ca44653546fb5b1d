"""Random search: the baseline that PBT has to beat. N members train to the end with what they were given."""

from popgrad.core.exploit import keep
from popgrad.core.generation import generation
from popgrad.core.population import Plan, Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def random_search(space: Space) -> Strategy:  # noqa: ARG001  # every factory is given the space
    """Everyone keeps its weights and hyperparameters; a failed member stays failed.

    Args:
        space: What the members were sampled from; nothing more is drawn from it.
    """

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        return generation(
            rng, population, ready, exploit=keep, explore=lambda _, h: (h, {})
        ), memory

    return Strategy(init=dict, step=step, copies=False)
