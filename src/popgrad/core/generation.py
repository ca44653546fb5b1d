"""Population Based Training on one screen: Jaderberg et al. 2017 (arXiv 1711.09846), Algorithm 1."""

from collections.abc import Callable

import numpy as np

from popgrad.core.population import Changes, Hparams, Plan, Population
from popgrad.core.seeding import Index, Rng

Exploit = Callable[[Rng, Population, Index], Index]
"""(rng, population, ready [R]) -> sources [R]: a selection rule."""
Explore = Callable[[np.random.Generator, Hparams], tuple[Hparams, Changes]]
"""(rng, the donor's hyperparameters) -> the heir's, and what made them."""


def generation(
    rng: Rng, population: Population, ready: Index, *, exploit: Exploit, explore: Explore
) -> Plan:
    """Scores in, plan out: the ready members keep, or inherit and explore.

    Training and scoring lie between two calls. Synchronous PBT is `ready` = everyone, asynchronous PBT is
    whoever just finished. The paper scores an heir right after it inherits; here its next interval does.

    Args:
        rng: The run's streams; an heir explores with its own, drawn from (member, completed intervals).
        population: All N members.
        ready: [R] distinct members whose interval has ended.
        exploit: Says whose weights each ready member carries on from.
        explore: Changes what was inherited; asked for heirs only.
    """
    hparams: list[Hparams] = []
    changes: list[Changes] = []
    members, sources = ready.tolist(), exploit(rng, population, ready).tolist()
    for member, source, interval in zip(
        members, sources, population.intervals[ready].tolist(), strict=True
    ):
        inherited = population.hparams[source]
        if source == member:
            hparams.append(inherited)
            changes.append(dict.fromkeys(inherited, "kept"))
        else:
            changed, how = explore(rng.generator("explore", member, interval), inherited)
            hparams.append(changed)
            changes.append(how)
    return Plan(tuple(members), tuple(sources), tuple(hparams), tuple(changes))
