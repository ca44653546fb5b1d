"""Evolution: the plan of strategies in which members that keep their weights explore as well."""

import numpy as np
import numpy.typing as npt

from popgrad.core.generation import Explore
from popgrad.core.plan import Plan
from popgrad.core.population import Changes, Hparams, Population
from popgrad.core.seeding import Index, Rng


def evolve(
    rng: Rng,
    population: Population,
    ready: Index,
    sources: Index,
    *,
    mutants: npt.NDArray[np.bool_],
    explore: Explore,
) -> Plan:
    """Return a plan in which members may mutate whether they inherit or not.

    Args:
        rng: Random streams of the run; a mutant explores with its own, from (member, completed
            intervals).
        population: All N members, and the archive.
        ready: [R] members that decide.
        sources: [R] rows to continue from, weights and hyperparameters: members, or N + i for the
            i-th segment of the archive.
        mutants: [R] whether each explores the hyperparameters that it starts from.
        explore: Exploration rule.

    Example:
        >>> population = Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> plan = evolve(
        ...     Rng(seed=0),
        ...     population,
        ...     ready=np.array([0, 1]),
        ...     sources=np.array([0, 1]),
        ...     mutants=np.array([False, True]),
        ...     explore=lambda rng, hparams: ({"lr": hparams["lr"] / 2}, {"lr": 0.5}),
        ... )
        >>> plan.sources, plan.hparams
        ((0, 1), ({'lr': 0.1}, {'lr': 0.25}))
    """
    hparams: list[Hparams] = []
    changes: list[Changes] = []
    members = ready.tolist()
    intervals = population.intervals[ready].tolist()

    for i, (member, source) in enumerate(zip(members, sources.tolist(), strict=True)):
        values = row_hparams(population, source)
        origins: Changes = dict.fromkeys(values, "inherited")
        if mutants[i]:
            generator = rng.generator("explore", member, intervals[i])
            values, origins = explore(generator, values)
        # A member that keeps its weights inherits nothing.
        if source == member:
            origins = {k: "kept" if v == "inherited" else v for k, v in origins.items()}
        hparams.append(values)
        changes.append(origins)

    return Plan(tuple(members), tuple(sources.tolist()), tuple(hparams), tuple(changes))


def row_hparams(population: Population, row: int) -> Hparams:
    """Return the hyperparameters of a row: a member, or N + i for the i-th segment of the archive."""
    size = len(population)
    return population.hparams[row] if row < size else population.archive.hparams[row - size]
