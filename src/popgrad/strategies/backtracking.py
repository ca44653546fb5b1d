"""PBT with backtracking: Zhang et al. 2021 (AISTATS), as Orion's `BacktrackExploit` draws the elites."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from popgrad.core.exploit import check_fraction, replaced_count, truncation
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.generation import generation
from popgrad.core.plan import Plan
from popgrad.core.population import Population, SegmentId
from popgrad.core.seeding import Index, Rng
from popgrad.core.settings import check_option
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy

Scope = Literal["lineage", "best-ever"]


def backtracking(
    space: Space,
    *,
    scope: Scope = "lineage",
    fraction: float = 0.2,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
) -> Strategy:
    """Replace the worst members by the best, or by elites of the past if these are better.

    Training that goes wrong in many members at once, as in reinforcement learning, cannot be
    repaired by the last states alone. Truncation selection decides which members are replaced, and
    by which donor. An elite of the past takes the donor's place if its score is higher; if none is
    better, this is PBT. A member that is not replaced is never turned back.

    A score is compared with those of other times, so it has to mean the same throughout the run. If
    it is noisy, an elite may be a lucky one.

    Args:
        space: Space of the hyperparameters.
        scope: Elites that are kept. "lineage": the best segment of each member slot, whose states
            take as much disk as the population; a replaced member draws one of the best `fraction`
            of those that have trained no more intervals than itself, as in Orion. "best-ever": the
            best segment of the run, for all that are replaced, as in BG-PBT (Wan et al. 2022).
        fraction: Share replaced, and share that donates, in [0, 0.5].
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of them by name, as in
            `pbt`.
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        The best member is worse than one was before: source 2 is row 0 of the archive.

        >>> import popgrad
        >>> from popgrad.core.population import Archive
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.3, 0.2]),
        ...     intervals=np.array([2, 2]),
        ...     steps=np.array([200, 200]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ...     segments=[(0, 1), (1, 1)],
        ...     archive=Archive(((0, 0),), (0.9,), (100,), ({"lr": 0.01},)),
        ... )
        >>> strategy = backtracking(space, scope="best-ever", fraction=0.5, factors=[0.5])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(2), strategy.init())
        >>> plan.sources, plan.hparams, memory
        ((0, 2), ({'lr': 0.1}, {'lr': 0.005}), {'elites': [[0, 0]]})
    """
    check_option("scope", scope, get_args(Scope))
    fraction = check_fraction(fraction)
    explore = perturbation(space, factors, resample_probability)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        del memory
        scores = _scores(population)
        elites = _elites(scores, len(population), scope)

        def exploit(rng: Rng, population: Population, ready: Index) -> Index:
            donors = truncation(rng, population, ready, fraction=fraction)
            return _backtracked(rng, population, ready, donors, elites, scores, fraction)

        # An heir of an elite explores the elite's hyperparameters.
        rows = replace(population, hparams=[*population.hparams, *population.archive.hparams])
        plan = generation(rng, rows, ready, exploit=exploit, explore=explore)
        return replace(plan, keep=elites), {"elites": [list(elite) for elite in elites]}

    return Strategy(init=lambda: {"elites": []}, step=step)


def _scores(population: Population) -> dict[SegmentId, float]:
    """Return the finite scores of the segments that can be loaded, by segment, archived ones first."""
    archive = zip(population.archive.segments, population.archive.scores, strict=True)
    last = zip(population.segments, population.scores.tolist(), strict=False)
    return {segment: score for segment, score in [*archive, *last] if np.isfinite(score)}


def _elites(scores: Mapping[SegmentId, float], size: int, scope: Scope) -> tuple[SegmentId, ...]:
    """Return the best segment of each slot of the population, or the best of all.

    Among equal scores, the elite so far stays.
    """
    best: dict[int, SegmentId] = {}
    for segment, score in scores.items():
        # A slot that the population has lost has no lineage.
        slot = 0 if scope == "best-ever" else segment[0]
        if slot < size and (slot not in best or score > scores[best[slot]]):
            best[slot] = segment
    return tuple(best[slot] for slot in sorted(best))


def _backtracked(
    rng: Rng,
    population: Population,
    ready: Index,
    donors: Index,
    elites: Sequence[SegmentId],
    scores: Mapping[SegmentId, float],
    fraction: float,
) -> Index:
    """Return the sources: the donors, or an elite of the past that is drawn and better."""
    # An elite that is still a member's last segment is no past, but a donor like others.
    archive = population.archive.segments
    rows = {segment: len(population) + row for row, segment in enumerate(archive)}
    past = rows.keys() - {*population.segments}
    ranked = sorted((elite for elite in elites if elite in past), key=lambda elite: -scores[elite])
    sources = donors.copy()

    for position, (heir, donor) in enumerate(zip(ready.tolist(), donors.tolist(), strict=True)):
        completed = int(population.intervals[heir])
        # Elites that have trained longer are better for that alone, if members decide one by one.
        peers = [elite for elite in ranked if elite[1] < completed]
        if donor == heir or not peers:
            continue
        pool = peers[: max(1, replaced_count(len(peers), fraction))]
        drawn = rng.integers("elite", ready[[position]], np.array([completed]), len(pool))
        elite = pool[int(drawn[0])]
        if scores[elite] > population.scores[donor]:
            sources[position] = rows[elite]
    return sources
