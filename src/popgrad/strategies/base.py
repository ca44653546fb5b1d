"""The two pure functions that make a strategy. Each file beside this one is a factory of one."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from popgrad.core.errors import UsageError
from popgrad.core.plan import LONGEST_ROLE, Plan
from popgrad.core.population import Population
from popgrad.core.seeding import Index, Rng

Memory = Mapping[str, object]
"""Memory of a strategy: small plain JSON, stored with each decision."""


MOST_MEMBERS = 100_000
"""Most members of a population, as the configuration allows."""

Growth = Literal["clone", "sample"]
"""Start of new members: "clone", from a donor that the strategy gives them; "sample", fresh."""


class Start(NamedTuple):
    """The first interval as a strategy wants it.

    Attributes:
        size: Members that start, at least those of the population. The extra ones are charged to
            the budget; the strategy lets them rest.
        roles: [size] role of each member; () = none has a role.
        evaluated: Whether a fresh member is evaluated before its first step, too.
        evaluations: Evaluations within each segment, at least 1; the configuration may ask for more.
    """

    size: int
    roles: tuple[str, ...] = ()
    evaluated: bool = False
    evaluations: int = 1


def _wrong_start(expected: str, given: object) -> UsageError:
    return UsageError(f"the strategy's start: expected {expected}, got {given!r:.80}")


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
    start: Callable[[int], Start] = Start
    shares_budget: bool = False
    together: bool = False

    def started(self, population: int) -> int:
        """Return the members that start, those included that the strategy adds to the population."""
        return self.first(population).size

    def first(self, population: int) -> Start:
        """Return the first interval of a population, checked: strategies are users' code.

        Raises:
            UsageError: It cannot be: names the field.
        """
        start = self.start(population)
        if not isinstance(start, Start):
            raise _wrong_start("a Start", start)
        most = MOST_MEMBERS if self.shares_budget else population
        if type(start.size) is not int or not population <= start.size <= most:
            allowed = f"an integer from {population} to {most}"
            if most == population:
                allowed = f"{population}, as configured (extra members need shares_budget=True)"
            raise _wrong_start(f"size: {allowed}", start.size)

        if len(start.roles) not in (0, start.size):
            raise _wrong_start(f"roles: none, or {start.size}", start.roles)
        for role in start.roles:
            if not isinstance(role, str) or len(role) > LONGEST_ROLE:
                raise _wrong_start(f"roles: strings of at most {LONGEST_ROLE} characters", role)
        if type(start.evaluations) is not int or start.evaluations < 1:
            raise _wrong_start("evaluations: an integer of at least 1", start.evaluations)
        return start

    def growth(self, requested: Growth | None) -> Growth:
        """Return the start of new members: as requested, else from donors if the strategy has any."""
        return requested or ("clone" if self.copies else "sample")
