"""Population Based Training on one screen: Jaderberg et al. 2017 (arXiv 1711.09846), Algorithm 1."""

from collections.abc import Callable

import numpy as np

from popgrad.core.plan import Plan
from popgrad.core.population import Changes, Hparams, Population
from popgrad.core.seeding import Index, Rng

Exploit = Callable[[Rng, Population, Index], Index]
"""Selection rule: (rng, population, ready [R]) -> sources [R]."""
Explore = Callable[[np.random.Generator, Hparams], tuple[Hparams, Changes]]
"""Exploration rule: (rng, hparams of the donor) -> (hparams of the heir, origin of each)."""


def generation(
    rng: Rng, population: Population, ready: Index, *, exploit: Exploit, explore: Explore
) -> Plan:
    """Turn scores into a plan: the ready members keep, or inherit and explore.

    Training and evaluation lie between two calls. In synchronous PBT all members are ready, in
    asynchronous PBT the one that just finished. The paper evaluates an heir right after it
    inherits; here its next interval does.

    Args:
        rng: Random streams of the run; an heir explores with its own, from (member, completed
            intervals).
        population: All N members.
        ready: [R] distinct members that have finished an interval.
        exploit: Selection rule; its sources are the members to continue from.
        explore: Exploration rule; called for heirs only.

    Example:
        >>> from functools import partial
        >>> import popgrad
        >>> from popgrad.strategies import perturb, truncation
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ... )
        >>> plan = generation(
        ...     Rng(seed=0),
        ...     population,
        ...     ready=np.array([0, 1]),
        ...     exploit=partial(truncation, fraction=0.5),
        ...     explore=partial(perturb, space=space, factors=[0.5], resample_probability=0.0),
        ... )
        >>> plan.sources
        (0, 0)
        >>> plan.hparams
        ({'lr': 0.1}, {'lr': 0.05})
    """
    hparams: list[Hparams] = []
    changes: list[Changes] = []
    members = ready.tolist()
    sources = exploit(rng, population, ready).tolist()
    intervals = population.intervals[ready].tolist()

    for member, source, interval in zip(members, sources, intervals, strict=True):
        inherited = population.hparams[source]
        if source == member:
            hparams.append(inherited)
            changes.append(dict.fromkeys(inherited, "kept"))
        else:
            explored, origins = explore(rng.generator("explore", member, interval), inherited)
            hparams.append(explored)
            changes.append(origins)

    return Plan(tuple(members), tuple(sources), tuple(hparams), tuple(changes))
