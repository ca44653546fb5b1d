"""A population that changes its size: who stays, and what new members begin with."""

from typing import Literal

import numpy as np

from popgrad.core.population import FRESH, Changes, Hparams, Plan, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Space

Newcomers = Literal["cloned", "sampled"]


def resize(rng: Rng, population: Population, size: int, space: Space, newcomers: Newcomers) -> Plan:
    """The plan by which a population of N becomes one of `size` members.

    Shrinking keeps the best: those whose slot stays keep it, the others take the slots that are left over.
    Growing keeps everybody; a new member carries on from one of the best, in turn, with its hyperparameters,
    or begins afresh with its own.

    Args:
        rng: Asked for "sample", by new member and the intervals that the population has completed.
        population: Scores higher is better; not finite = failed, ranks last.
        size: Members afterwards, at least 1.
        space: What fresh hyperparameters are drawn from.
        newcomers: What new members begin with.
    """
    scores = np.where(np.isfinite(population.scores), population.scores, -np.inf)
    ranked = [int(member) for member in np.argsort(-scores, kind="stable")]
    alive = [member for member in ranked if np.isfinite(population.scores[member])] or ranked
    sources = _sources(ranked, alive, size, newcomers)
    now = int(population.intervals.max())
    hparams: list[Hparams] = []
    changes: list[Changes] = []
    for member, source in enumerate(sources):
        fresh = source == FRESH
        own = space.sample(rng.generator("sample", member, now)) if fresh else population.hparams[source]
        hparams.append(own)
        how = "sampled" if fresh else "kept" if source == member else "inherited"
        changes.append(dict.fromkeys(own, how))
    return Plan(tuple(range(size)), tuple(sources), tuple(hparams), tuple(changes))


def _sources(ranked: list[int], alive: list[int], size: int, newcomers: Newcomers) -> list[int]:
    stay = set(ranked[:size])
    moved = [member for member in ranked[:size] if member >= size]
    sources = []
    for member in range(size):
        if member in stay:
            sources.append(member)
        elif moved:
            sources.append(moved.pop(0))
        else:
            new = member - len(ranked)
            sources.append(FRESH if newcomers == "sampled" else alive[new % len(alive)])
    return sources
