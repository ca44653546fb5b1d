"""Multiple-Frequencies PBT: Doulazmi et al. 2025 (RLC), arXiv 2506.03225."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.exploit import check_survivors, replaced_count
from popgrad.core.explore import FACTORS, explored, perturbation
from popgrad.core.generation import Explore
from popgrad.core.plan import Entry, Plan, plan_of
from popgrad.core.population import Changes, Hparams, Population, Value
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_option
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Start, Strategy

Brackets = Literal["paper", "agilerl"]

QUARTER = 0.25
"""Share of a sub-population in a bracket; both the paper and AgileRL have quarters."""


class BracketSizes(NamedTuple):
    """Members of a sub-population by rank, from the best on; those that are left keep.

    Attributes:
        winners: Best members, which donate.
        open: Members above the losers, which a better member of another sub-population replaces.
        losers: Worst members, which inherit from the winners.
    """

    winners: int
    open: int
    losers: int


class Inheritance(NamedTuple):
    """Origin of what an heir starts with.

    Attributes:
        weights: Member whose weights it inherits.
        hparams: Member whose hyperparameters it inherits.
        explores: Whether it explores them.
    """

    weights: int
    hparams: int
    explores: bool


def mf_pbt(
    space: Space,
    *,
    frequencies: Sequence[int] = (1, 10, 25, 50),
    brackets: Brackets = "paper",
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
) -> Strategy:
    """Evolve sub-populations at different frequencies, with asymmetric migration between them.

    PBT prefers whatever helps within an interval. A sub-population that evolves every 25 intervals
    sees further. Its members accept weights of faster sub-populations, never their
    hyperparameters.

    Member m belongs to sub-population m modulo their number, so each keeps its own if the
    population grows; sizes differ by at most one. When a sub-population evolves, it ranks its
    members. The losers inherit weights and hyperparameters of the winners, and explore. Each open
    member is compared with the best member of the other sub-populations that has not migrated into
    this one in this round; if that one has a higher score, the open member inherits its weights.
    It gets the hyperparameters of this migrant if its own sub-population evolves more often, those
    of the best of its own if that evolves less often, and keeps its own if both evolve as often.
    Initialisation-only hyperparameters always travel with the weights. A failed member is replaced
    at any decision, from the winners of its sub-population, or of all if none of its own is left.

    Args:
        space: Space of the hyperparameters.
        frequencies: Intervals between two evolutions of each sub-population, at least 1. The
            paper's 1, 10, 25, 50 are for a run of 1,000 intervals; one above the intervals of the
            run never evolves.
        brackets: Sizes of the brackets. "paper": quarters, and each loser inherits from the winner of
            its rank. "agilerl": as AgileRL 2.58, a quarter of winners, a quarter open, half losers,
            and each loser inherits from a winner drawn uniformly.
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of them by name, as in
            `pbt`.
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        Members 0 and 2 are in the fast sub-population, 1 and 3 in the slow one, which is not due.

        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2, 0.5, 0.6]),
        ...     intervals=np.array([1, 1, 1, 1]),
        ...     steps=np.array([100, 100, 100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}, {"lr": 0.01}, {"lr": 0.2}],
        ... )
        >>> strategy = mf_pbt(space, frequencies=[1, 10], factors=[0.5])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(4), strategy.init())
        >>> plan.sources, plan.roles
        ((0, 1, 0, 3), ('every 1', 'every 10', 'every 1', 'every 10'))
    """
    checked = _check_frequencies(frequencies)
    check_option("brackets", brackets, get_args(Brackets))
    explore = perturbation(space, factors, resample_probability)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        inheritances = _evolve(rng, population, ready, checked, brackets)
        return _plan(rng, population, ready, inheritances, space, explore, checked), memory

    def start(size: int) -> Start:
        return Start(size, roles=tuple(_role(checked, member) for member in range(size)))

    return Strategy(init=dict, step=step, start=start)


def bracket_sizes(size: int, brackets: Brackets) -> BracketSizes:
    """Return the sizes of the brackets of a sub-population.

    The paper asks for a multiple of 4. Other sizes round as truncation does, a quarter up to at most
    half; then fewer members are open. AgileRL rounds to the nearest, and its losers are the rest.

    Args:
        size: Members of the sub-population, at least 1.
        brackets: "paper" or "agilerl".

    Example:
        >>> bracket_sizes(8, "paper")
        BracketSizes(winners=2, open=2, losers=2)
        >>> bracket_sizes(8, "agilerl")
        BracketSizes(winners=2, open=2, losers=4)
    """
    if brackets == "paper":
        quarter = replaced_count(size, QUARTER)
        return BracketSizes(quarter, min(quarter, size - 2 * quarter), quarter)

    quarter = max(1, round(QUARTER * size))
    room = max(0, min(quarter, size - 2 * quarter))
    return BracketSizes(quarter, room, size - quarter - room)


def _evolve(
    rng: Rng,
    population: Population,
    ready: Index,
    frequencies: Sequence[int],
    brackets: Brackets,
) -> dict[int, Inheritance]:
    """Return what each heir among the ready members inherits."""
    # A failed member cannot wait for its sub-population.
    due = population.intervals[ready] % np.array(frequencies)[ready % len(frequencies)] == 0
    evolving = ready[due | ~np.isfinite(population.scores[ready])].tolist()
    # Leave early: ranking takes the most time if one member decides at a time.
    if not evolving:
        return {}

    ranking = _ranking(rng, population)
    inheritances: dict[int, Inheritance] = {}
    for number in {member % len(frequencies) for member in evolving}:
        own = [member for member in ranking if member % len(frequencies) == number]
        others = [member for member in ranking if member % len(frequencies) != number]
        sizes = bracket_sizes(len(own), brackets)
        alive = int(np.isfinite(population.scores[own]).sum())
        last = min(alive, len(own) - sizes.losers)

        # A sub-population that has died out starts again from the best of all.
        winners = own[: min(last, max(1, sizes.winners))] or others[: max(1, sizes.winners)]
        inheritances |= _losses(rng, population, winners, own[last:], brackets)
        inheritances |= _migrations(
            population,
            own[len(own) - sizes.losers - sizes.open : last],
            others,
            own[0],
            frequencies,
        )
    return {member: inheritances[member] for member in evolving if member in inheritances}


def _ranking(rng: Rng, population: Population) -> list[int]:
    """Return all members from the best to the worst, failed ones last; equal scores in random order."""
    members = np.arange(len(population))
    finite = np.isfinite(population.scores)
    scores = np.where(finite, population.scores, -np.inf)
    ties = rng.uniform("ties", members, population.intervals)
    ascending: list[int] = np.lexsort((members, ties, scores)).tolist()
    return ascending[::-1]


def _losses(
    rng: Rng,
    population: Population,
    winners: Sequence[int],
    losers: Sequence[int],
    brackets: Brackets,
) -> dict[int, Inheritance]:
    """Return what the losers of a sub-population inherit, from the winner of their rank or a random one."""
    donors = [member for member in winners if np.isfinite(population.scores[member])]
    # The first members to finish have failed, and the others have no score yet.
    if not donors:
        return {}

    heirs = np.array(losers, np.int64)
    drawn = np.arange(len(heirs)) % len(donors)
    if brackets == "agilerl":
        drawn = rng.integers("donor", heirs, population.intervals[heirs], len(donors))
    return {
        heir: Inheritance(donors[position], donors[position], explores=True)
        for heir, position in zip(losers, drawn.tolist(), strict=True)
    }


def _migrations(
    population: Population,
    receivers: Sequence[int],
    others: Sequence[int],
    best: int,
    frequencies: Sequence[int],
) -> dict[int, Inheritance]:
    """Return what the open members of a sub-population inherit from others.

    Args:
        population: All members.
        receivers: Open members, from the best on.
        others: Members of the other sub-populations, from the best on.
        best: Best member of the sub-population.
        frequencies: Frequencies of the sub-populations.
    """
    candidates = iter([other for other in others if np.isfinite(population.scores[other])])
    migrant = next(candidates, None)
    inheritances: dict[int, Inheritance] = {}

    for member in receivers:
        if migrant is None or population.scores[migrant] <= population.scores[member]:
            continue
        here = frequencies[member % len(frequencies)]
        there = frequencies[migrant % len(frequencies)]
        donor = member
        if here != there:
            donor = migrant if here < there else best
        inheritances[member] = Inheritance(migrant, donor, explores=False)
        # Only a candidate that has migrated makes way for the next.
        migrant = next(candidates, None)
    return inheritances


def _plan(
    rng: Rng,
    population: Population,
    ready: Index,
    inheritances: dict[int, Inheritance],
    space: Space,
    explore: Explore,
    frequencies: Sequence[int],
) -> Plan:
    """Return the plan in which heirs inherit, and all others keep."""
    planned: dict[int, Entry] = {}
    for member in ready.tolist():
        inheritance = inheritances.get(member, Inheritance(member, member, explores=False))
        hparams, changes = _inherited(population, member, inheritance, space)
        if inheritance.explores:
            stream = rng.generator("explore", member, int(population.intervals[member]))
            hparams, changes = explore(stream, hparams)
        role = _role(frequencies, member)
        planned[member] = Entry(inheritance.weights, hparams, changes, role=role)
    return plan_of(planned)


def _inherited(
    population: Population, member: int, inheritance: Inheritance, space: Space
) -> tuple[Hparams, Changes]:
    """Return the hyperparameters of an heir before it explores, and the origin of each."""
    if inheritance.hparams == inheritance.weights:
        origin = "kept" if inheritance.weights == member else "inherited"
        given = population.hparams[inheritance.hparams]
        return given, dict.fromkeys(given, origin)

    # A width fits the weights, whatever else is kept or taken from a third member.
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for name, dimension in space.items():
        live = explored(dimension)
        origin_member = inheritance.hparams if live else inheritance.weights
        values[name] = population.hparams[origin_member][name]
        origins[name] = "kept" if live and origin_member == member else "inherited"
    return values, origins


def _role(frequencies: Sequence[int], member: int) -> str:
    """Return the name of a member's sub-population."""
    return f"every {frequencies[member % len(frequencies)]}"


def _check_frequencies(frequencies: object) -> tuple[int, ...]:
    """Return the frequencies of the sub-populations.

    Raises:
        UsageError: There is none, or one is no integer above 0.
    """
    whole = isinstance(frequencies, Sequence) and not isinstance(frequencies, str) and frequencies
    if not whole or any(isinstance(f, bool) or not isinstance(f, int) or f < 1 for f in whole):
        raise UsageError(
            "frequencies: expected the number of intervals, at least 1, between two evolutions of each "
            f"sub-population, for example [1, 10], got {frequencies!r}"
        )
    return tuple(whole)
