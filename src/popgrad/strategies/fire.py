"""FIRE PBT: Faster Improvement Rate PBT, Dalibard and Jaderberg 2021, arXiv 2109.13800.

There is no official code. What the abstract and public summaries of the paper leave open follows
PBT-Zoo, the re-implementation of Chebykin et al. 2025 (no code of it is used); the factors, the
shares of the sub-populations and the bounds of the tests are its. Two sub-populations are
supported: P1 and P2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.exploit import check_fraction, check_survivors, truncation
from popgrad.core.explore import check_probability, explored, perturbation
from popgrad.core.plan import Entry, Plan, plan_of
from popgrad.core.population import Changes, Hparams, Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_count
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Start, Strategy
from popgrad.strategies.evaluators import (
    EVALUATOR,
    P1,
    P2,
    Evaluators,
    after_interval,
    assign,
    judge,
)

EVALUATIONS = 10
"""Evaluations within an interval, the points of a curve: PBT-Zoo."""


def fire(
    space: Space,
    *,
    fraction: float = 0.25,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = (0.5, 2.0),
    resample_probability: float = 0.0,
    max_rounds: int = 3,
    significance: float = 0.01,
) -> Strategy:
    """Let one sub-population improve fast in place of scoring high, and hand its weights over.

    P1 is PBT on the score. P2 is PBT on the rate of improvement, which evaluators measure: each
    trains a copy of a P2 member's weights with a P1 member's hyperparameters and compares the
    curves from the same score on. An evaluator whose curve is above the P1 member's gives that
    member its weights. About 3 members in 11 are evaluators: they are part of the budget. Fewer
    than 4 members are all in P1.

    Two things differ from the paper. The winner of a run is the best last score of any member; the
    paper takes it from P1. Before their first evaluation, which starts after one interval,
    evaluators train as they were sampled.

    Args:
        space: Space of the hyperparameters.
        fraction: Share of a sub-population replaced, and share that donates, in [0, 0.5]. In P2 it
            is a share of the members with an evaluator.
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of factors by name,
            as in `pbt`.
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.
        max_rounds: Intervals after which an evaluator stops if its curve does not overlap with the
            child's, at least 1. Its sign test gets stricter up to then.
        significance: Bound in (0, 1) on the p-value of the sign test for a success.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> strategy = fire(popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)}))
        >>> strategy.start(8).roles
        ('p1', 'p1', 'p1', 'p2', 'p2', 'p2', 'evaluator', 'evaluator')
    """
    fraction = check_fraction(fraction)
    explore = perturbation(space, factors, resample_probability)
    max_rounds = check_count("max_rounds", max_rounds, "intervals", low=1)
    if not 0 < check_probability("significance", significance) < 1:
        raise UsageError(f"significance: expected a probability in (0, 1), got {significance!r}")

    def start(size: int) -> Start:
        return Start(size, roles=divide(size), evaluations=EVALUATIONS)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        roles = divide(len(population))
        evaluators = after_interval(Evaluators.from_memory(memory), population, roles)

        # Exploit within P1 and P2, then judge the evaluators, then start the idle ones.
        sources = select(rng, population, roles, evaluators.fitness(), fraction=fraction)
        replaced = frozenset(np.flatnonzero(sources != np.arange(len(population))).tolist())
        evaluators, donors = judge(
            evaluators, replaced, max_rounds=max_rounds, significance=significance
        )
        evaluators, started = assign(evaluators, population, roles, replaced)

        entries = {}
        for member in ready.tolist():
            source = int(sources[member])
            if member in started:
                source = int(sources[started[member].parent])
                child = population.hparams[started[member].child]
                hparams, changes = _combined(space, population.hparams[source], child)
            elif member in replaced:
                stream = rng.generator("explore", member, int(population.intervals[member]))
                hparams, changes = explore(stream, population.hparams[source])
            else:
                source = donors.get(member, member)
                hparams = population.hparams[source]
                changes = dict.fromkeys(hparams, "kept" if source == member else "inherited")
            entries[member] = Entry(source, hparams, changes, role=roles[member])
        return plan_of(entries), evaluators.memory()

    return Strategy(init=dict, step=step, start=start, together=True)


def _combined(space: Space, own: Hparams, child: Hparams) -> tuple[Hparams, Changes]:
    """Return the child's live hyperparameters, and those that travel with the weights."""
    hparams = {
        name: child[name] if explored(dimension) else own[name] for name, dimension in space.items()
    }
    return hparams, dict.fromkeys(hparams, "inherited")


def divide(size: int) -> tuple[str, ...]:
    """Return the role of each member: P1 first, then P2, then the evaluators.

    The shares are those of PBT-Zoo: 8, 8 and 6 of 22; 18, 18 and 14 of 50; 3, 3 and 2 of 8.

    Args:
        size: Members, at least 1.

    Example:
        >>> [divide(22).count(role) for role in ("p1", "p2", "evaluator")]
        [8, 8, 6]
    """
    evaluators = round(size * 3 / 11) if size >= 4 else 0
    second = (size - evaluators) // 2 if size >= 4 else 0
    first = size - evaluators - second
    return (P1,) * first + (P2,) * second + (EVALUATOR,) * evaluators


def select(
    rng: Rng,
    population: Population,
    roles: Sequence[str],
    measured: Mapping[int, float],
    *,
    fraction: float,
) -> Index:
    """Return [N] sources: truncation by score in P1 and by fitness in P2; evaluators keep theirs.

    A failed member gets a living donor: of its own role if there is one, else of P1, else any.

    Args:
        rng: Random streams of the run.
        population: All N members, at least one with a finite score.
        roles: [N] role of each member.
        measured: Fitness of the members of P2 that are evaluated. PBT-Zoo records -1 for the
            others and ranks them no more than here: they neither donate nor are replaced.
        fraction: Share of the ranked members to replace, in [0, 0.5].
    """
    groups = {role: _members(roles, role) for role in (P1, P2, EVALUATOR)}
    sources = np.arange(len(population))
    first, second = groups[P1], groups[P2]
    sources[first] = truncation(rng, population, first, fraction=fraction, among=first)

    fitness = np.where(np.isfinite(population.scores), 0.0, np.nan)
    for member, value in measured.items():
        fitness[member] += value
    evaluated = np.array(sorted(measured), dtype=np.int64)
    if np.isfinite(fitness[evaluated]).any():
        ranked = replace(population, scores=fitness)
        sources[second] = truncation(rng, ranked, second, fraction=fraction, among=evaluated)

    living = np.isfinite(population.scores)
    for member in np.flatnonzero(~living & (sources == np.arange(len(sources)))).tolist():
        pools = [groups[roles[member]], first, np.arange(len(population))]
        pool = next(alive for alive in (pool[living[pool]] for pool in pools) if len(alive))
        one = np.array([member])
        sources[member] = pool[rng.integers("rescue", one, population.intervals[one], len(pool))][0]
    return sources


def _members(roles: Sequence[str], role: str) -> Index:
    return np.flatnonzero(np.array(roles) == role)
