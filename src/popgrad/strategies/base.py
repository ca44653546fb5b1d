"""What a strategy is: two pure functions. A file beside this one is a factory of one of these."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from popgrad.core.population import Plan, Population
from popgrad.core.seeding import Index, Rng

Memory = Mapping[str, object]
"""A strategy's own small JSON-able data, stored with each decision."""


Growth = Literal["clone", "sample"]
"""How new members begin: "clone", with a donor that the strategy gives them; "sample", fresh."""


class Strategy(NamedTuple):
    """Population and memory in, plan and memory out.

    Attributes:
        init: () -> the memory before the first decision.
        step: (rng, population, ready [R], memory) -> (plan, memory). Pure: equal arguments, equal results.
            Raises `NobodyLeftError` where it cannot go on.
        copies: Whether it gives members donors, so that new ones can inherit; else they start fresh.
    """

    init: Callable[[], Memory]
    step: Callable[[Rng, Population, Index, Memory], tuple[Plan, Memory]]
    copies: bool = True

    def growth(self, wanted: Growth | None) -> Growth:
        """How new members begin; where nobody said, with donors if the strategy has any to give."""
        return wanted or ("clone" if self.copies else "sample")
