"""Multi-objective PBT: MO-PBT, Dushatskiy et al. 2023, arXiv 2306.01436."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from popgrad.core.exploit import check_fraction, check_survivors, truncation
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.front import non_dominated_ranks, objective_values, scattered_order
from popgrad.core.generation import generation
from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.score import Score, parse_objectives
from popgrad.core.seeding import Floats, Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def mo_pbt(
    space: Space,
    *,
    objectives: Sequence[str] = (),
    fraction: float = 0.25,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.2,
) -> Strategy:
    """Continue the worst members from the best, by several metrics at once.

    PBT by truncation with another ranking: the front that no other member dominates comes first,
    then what no other one dominates without it, and so on. On one front, members that are far from
    those ahead of them come first (`scattered_order`), so that donors are spread over the front. The
    members of the last decision that none dominates are `result.front`; the winner of the run is the one
    with the best score, as always.

    The paper's augmentation policies are lists of options, which move by 0 to 3 places; here an
    ordinal moves by one, and a number by a factor.

    Args:
        space: Space of the hyperparameters.
        objectives: Metrics that the task evaluates; "-" before a name if lower is better: ["accuracy",
            "-params"]. Without any, the score ranks, as in PBT.
        fraction: Share replaced, and share that donates, in [0, 0.5].
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of factors by name,
            with those of all others under "default".
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.

    Raises:
        UsageError: An argument is not in its range; or, at a decision, an objective is none of the
            metrics.

    Example:
        Member 2 is no better than member 1 in either objective, and is replaced.

        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.8, 0.8]),
        ...     intervals=np.array([1, 1, 1]),
        ...     steps=np.array([100, 100, 100]),
        ...     hparams=[{"lr": 0.5}, {"lr": 0.1}, {"lr": 0.2}],
        ...     metrics=[
        ...         {"accuracy": 0.9, "params": 500.0},
        ...         {"accuracy": 0.8, "params": 100.0},
        ...         {"accuracy": 0.8, "params": 200.0},
        ...     ],
        ... )
        >>> strategy = mo_pbt(space, objectives=["accuracy", "-params"])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(3), strategy.init())
        >>> plan.sources
        (0, 1, 0)
    """
    parsed = parse_objectives(objectives)
    fraction = check_fraction(fraction)
    explore = perturbation(space, factors, resample_probability)

    def exploit(rng: Rng, population: Population, ready: Index) -> Index:
        check_survivors(population, ready)
        members = np.flatnonzero(np.isfinite(population.scores))
        values = _values(population, members, parsed)
        # A member that lacks a finite value of an objective is ranked as if it had failed.
        complete = np.isfinite(values).all(axis=1)
        members, values = members[complete], values[complete]

        merits = np.full(len(population), np.nan)
        order = members[scattered_order(values, non_dominated_ranks(values))]
        merits[order] = -np.arange(len(order), dtype=np.float64)
        return truncation(rng, replace(population, scores=merits), ready, fraction=fraction)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        return generation(rng, population, ready, exploit=exploit, explore=explore), memory

    return Strategy(init=dict, step=step)


def _values(population: Population, members: Index, objectives: Sequence[Score]) -> Floats:
    """Return [members, M] values of the objectives, or [members, 1] scores if there are none."""
    if not objectives:
        return population.scores[members][:, np.newaxis]
    metrics = population.metrics or ({},) * len(population)
    return objective_values(objectives, [metrics[member] for member in members.tolist()])
