"""IPBT: Iterated PBT, Chebykin et al. 2025, arXiv 2511.09190.

What the abstract leaves open follows the public code of its authors. No code of it is used: it has
no licence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from popgrad.core.exploit import check_fraction, check_survivors, truncation
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.generation import Explore
from popgrad.core.plan import Entry, Plan, Transform, plan_of
from popgrad.core.population import FRESH, Changes, Hparams, Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_count
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Start, Strategy
from popgrad.strategies.iterations import STARTERS, Iteration, after_round
from popgrad.strategies.restarts import Request, first_hparams
from popgrad.strategies.stagnation import rounds_without_gain

SHRINK_PERTURB = Transform("shrink-perturb", {"keep": 0.2, "noise": 0.1})
"""Change of the weights that a restart inherits."""


class _Rules(NamedTuple):
    """Settings of one round."""

    fraction: float
    stagnant_rounds: int
    slow_rounds: int
    explore: Explore


def ipbt(
    space: Space,
    *,
    fraction: float = 0.25,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
    stagnant_rounds: int = 3,
    slow_rounds: int = 15,
) -> Strategy:
    """Find the interval: run PBT, and if it stagnates restart it with an interval twice as long.

    An iteration starts with twice the members: after one interval the best half continues, and the
    others rest. A restart gives half of the slots fresh weights; the others inherit from the best
    of the iteration before, shrunk and perturbed (0.2 of the weights and 0.1 of fresh ones). Half
    of the slots get hyperparameters from the prior, the others from a model of what earlier starts
    have led to.

    All of it is charged to the budget, members times intervals: a run ends when that is spent, and
    a member may then have trained more or fewer intervals than configured. There is no restart if
    the next interval does not fit twice into what is left.

    Three things differ from the paper. Within an iteration members explore by perturbation, as in
    `pbt`, where the paper uses the trust region of BG-PBT. Its model and its smoothing are
    simplified (see `popgrad.strategies.restarts` and `popgrad.strategies.stagnation`). The paper's
    winner is the best of all iterations; here the winner of a run is the best of the last one, and
    the best of the others stays loadable, as the best ever if it is that.

    Args:
        space: Space of the hyperparameters.
        fraction: Share of the members replaced, and share that donates, in [0, 0.5]; rounded, at
            least one member unless it is 0.
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of factors by name,
            as in `pbt`.
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.
        stagnant_rounds: Rounds in a row without a gain in the smooth best score that make a stagnation,
            at least 1.
        slow_rounds: Rounds in which the best score has to gain a standard deviation, or the
            population stagnates at once; at least 2.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> strategy = ipbt(popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)}))
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2, 0.5, 0.6]),
        ...     intervals=np.array([1, 1, 1, 1]),
        ...     steps=np.array([100, 100, 100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}, {"lr": 0.01}, {"lr": 0.2}],
        ... )
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(4), strategy.init())
        >>> strategy.start(2).size, plan.sources, plan.rests
        (4, (0, 1, 2, 0), (False, True, True, False))
    """
    explore = perturbation(space, factors, resample_probability)
    stagnant_rounds = check_count("stagnant_rounds", stagnant_rounds, "rounds", low=1)
    slow_rounds = check_count("slow_rounds", slow_rounds, "rounds", low=2)
    rules = _Rules(check_fraction(fraction), stagnant_rounds, slow_rounds, explore)

    def start(size: int) -> Start:
        return Start(STARTERS * size)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        iteration = after_round(rng, Iteration.from_memory(memory), population, space)
        iteration = judged(iteration, population, rules)

        if iteration.without_gain >= rules.stagnant_rounds:
            entries, iteration = restart(rng, population, space, iteration, rules)
        else:
            entries, iteration = proceed(rng, population, iteration, rules)
        plan = plan_of({member: entries[member] for member in ready.tolist()}, iteration.keep)
        return plan, iteration.memory()

    return Strategy(init=dict, step=step, start=start, shares_budget=True, together=True)


def judged(iteration: Iteration, population: Population, rules: _Rules) -> Iteration:
    """Return the iteration with its rounds without a gain; 0 if no other iteration fits.

    The budget of a run only grows if it is extended, so a restart that does not fit once does not fit
    later: the interval stays.
    """
    # The next interval is twice as long, and a round of twice the members counts twice.
    left = _left(population, iteration)
    if left is not None and left < 2 * (2 * iteration.length):
        return replace(iteration, series=(), without_gain=0)

    rounds = rounds_without_gain(
        iteration.series,
        iteration.without_gain,
        stagnant_rounds=rules.stagnant_rounds,
        slow_rounds=rules.slow_rounds,
    )
    return replace(iteration, without_gain=rounds)


def _left(population: Population, iteration: Iteration) -> int | None:
    """Return the intervals that the budget leaves for each member; None = it is not known."""
    budget = population.budget
    return budget.left // len(iteration.active) if budget.total else None


def proceed(
    rng: Rng, population: Population, iteration: Iteration, rules: _Rules
) -> tuple[dict[int, Entry], Iteration]:
    """Return the entries of all members for a round of PBT, and the iteration after it."""
    length, rest = round_length(iteration.length, _left(population, iteration), iteration.rest)
    active = np.array(iteration.active)
    share = donors_count(len(active), rules.fraction) / len(active)
    sources = np.arange(len(population))
    sources[active] = truncation(rng, population, active, fraction=share, among=active)

    # If all of them have failed, members that rest are what is left.
    living = np.flatnonzero(np.isfinite(population.scores))
    lost = active[~np.isfinite(population.scores[sources[active]])]
    drawn = rng.integers("rescue", lost, population.intervals[lost], len(living))
    sources[lost] = living[drawn]

    entries = {}
    for member, source in enumerate(sources.tolist()):
        inherited = population.hparams[source]
        hparams: Hparams = inherited
        changes: Changes = dict.fromkeys(inherited, "kept")
        if source != member:
            stream = rng.generator("explore", member, int(population.intervals[member]))
            hparams, changes = rules.explore(stream, inherited)
        rests = member not in iteration.active
        entries[member] = Entry(
            source, hparams, changes, rests=rests, length=1 if rests else length
        )
    return entries, replace(iteration.inherited(sources), rest=rest)


def round_length(length: int, left: int | None, rest: int) -> tuple[int, int]:
    """Return the intervals of the next round, and what the round after it has to use up.

    If less than two intervals are left, and not one, what is left is split in two: first the half
    of it, rounded down, then the rest.

    Args:
        length: Interval of the iteration.
        left: Intervals that the budget leaves for each member; None = it is not known.
        rest: What the round before has left to use up; 0 = nothing.

    Example:
        >>> round_length(4, 7, 0), round_length(4, 4, 4), round_length(4, 8, 0)
        ((3, 4), (4, 0), (4, 0))
    """
    if left is None or left >= 2 * length:
        return length, 0
    if left in (length, rest) or left <= 1:
        return max(1, left), 0
    return left // 2, left - left // 2


def restart(
    rng: Rng, population: Population, space: Space, iteration: Iteration, rules: _Rules
) -> tuple[dict[int, Entry], Iteration]:
    """Return the entries of all slots for the start of an iteration, and that iteration."""
    size = len(population)
    slots = np.arange(size)
    count = max(1, donors_count(len(iteration.active), rules.fraction))
    top = iteration.ranked(rng, population)[:count]

    # The halves with fresh weights and with hyperparameters from the prior are independent.
    draw = rng.generator("restart", 0, int(population.intervals.max()))
    fresh = set(draw.permutation(size)[: round(size / 2)].tolist())
    modelled = set(draw.permutation(size)[: size // 2].tolist())

    picked = top[rng.integers("donor", slots, population.intervals, len(top))]
    donors = np.where(np.isin(slots, top), slots, picked).tolist()
    requests = {}
    for slot in slots.tolist():
        donor = None if slot in fresh else population.hparams[donors[slot]]
        stream = rng.generator("start", slot, int(population.intervals[slot]))
        requests[slot] = Request(stream, donor, modelled=slot in modelled)

    starts = first_hparams(space, iteration.origins, population.budget.spent, requests)
    iteration = iteration.doubled(population)
    entries = {}
    for slot, (hparams, changes) in starts.items():
        source, transform = (FRESH, None) if slot in fresh else (donors[slot], SHRINK_PERTURB)
        entries[slot] = Entry(
            source, hparams, changes, length=iteration.length, transform=transform
        )
    return entries, iteration


def donors_count(size: int, fraction: float) -> int:
    """Return the members to replace, and those that donate: rounded, at least 1 unless it is 0."""
    return max(1, round(fraction * size)) if fraction else 0
