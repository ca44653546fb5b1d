"""The two pure functions that make a strategy. Each file beside this one is a factory of one."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from popgrad.core.population import Plan, Population
from popgrad.core.seeding import Index, Rng

Memory = Mapping[str, object]
"""Memory of a strategy: small plain JSON, stored with each decision."""


Growth = Literal["clone", "sample"]
"""Start of new members: "clone", from a donor that the strategy gives them; "sample", fresh."""


class Strategy(NamedTuple):
    """Decisions: population and memory in, plan and memory out.

    Attributes:
        init: () -> memory before the first decision.
        step: (rng, population, ready [R], memory) -> (plan, memory). Pure: equal arguments, equal
            results. Raises `AllMembersFailedError` if it cannot continue.
        copies: Whether it gives members donors, so that new members can inherit; else they start
            fresh.

    Example:
        >>> import numpy as np
        >>> from popgrad import Population, Space, Uniform, random_search
        >>> strategy = random_search(Space({"lr": Uniform(0.0, 1.0)}))
        >>> population = Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.array([0, 1]), strategy.init())
        >>> plan.sources, memory
        ((0, 1), {})
    """

    init: Callable[[], Memory]
    step: Callable[[Rng, Population, Index, Memory], tuple[Plan, Memory]]
    copies: bool = True

    def growth(self, requested: Growth | None) -> Growth:
        """Return the start of new members: as requested, else from donors if the strategy has any."""
        return requested or ("clone" if self.copies else "sample")
