"""Initiator-based evolution: Li et al. 2019, arXiv 1902.01894."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from popgrad.core.evolution import evolve
from popgrad.core.exploit import check_survivors
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.plan import Plan
from popgrad.core.population import Population, SegmentId
from popgrad.core.ranking import draw_other
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def initiator(
    space: Space,
    *,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
) -> Strategy:
    """Let each segment initiate one comparison, and continue from the better of the two.

    A finished segment draws one opponent from the last two generations: the last segment of every
    other member, and the one before last of every member, its own included. The better of the two is
    the parent of the member's next segment, which explores the parent's hyperparameters, whichever
    has won. Each segment initiates exactly once, so that each may have an heir, also in
    a small population. If the scores are equal, the initiator wins. A failed segment loses.

    The states of the segments before last stay loadable, so a run keeps twice as many states. The
    paper's crossover is not part of it.

    Args:
        space: Space of the hyperparameters.
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of factors by name,
            with those of all others under "default".
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        Member 1 has become worse than it was, and continues from its own former state.

        >>> import popgrad
        >>> from popgrad.core.population import Archive
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.2]),
        ...     intervals=np.array([2]),
        ...     steps=np.array([200]),
        ...     hparams=[{"lr": 0.5}],
        ...     segments=[(0, 1)],
        ...     archive=Archive(((0, 0),), (0.9,), (100,), ({"lr": 0.1},)),
        ... )
        >>> strategy = initiator(space, factors=[0.5])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(1), strategy.init())
        >>> plan.sources, plan.hparams, plan.keep
        ((1,), ({'lr': 0.05},), ((0, 1),))
    """
    explore = perturbation(space, factors, resample_probability)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        scores = np.concatenate([population.scores, population.archive.scores])
        candidates = np.flatnonzero(np.isfinite(scores))
        opponents = draw_other(rng, "opponent", population, ready, candidates)

        own = np.where(np.isfinite(scores[ready]), scores[ready], -np.inf)
        sources = np.where(scores[opponents] > own, opponents, ready)
        # A failed member without an opponent keeps what it has; all others have an heir.
        mutants = np.isfinite(scores[sources])
        plan = evolve(rng, population, ready, sources, mutants=mutants, explore=explore)
        return replace(plan, keep=_last_but_one(population, ready)), memory

    return Strategy(init=dict, step=step)


def _last_but_one(population: Population, ready: Index) -> tuple[SegmentId, ...]:
    """Return the segments that are the last but one of their members at the next decision.

    Those are the last ones of the ready members, which are about to train, and what the archive has of
    the others. Failed segments are left out, since nothing can continue from them.
    """
    deciding = set(ready.tolist())
    # A member that has just joined has no segment yet.
    trained = zip(population.segments, population.scores.tolist(), strict=False)
    last = {
        segment
        for member, (segment, score) in enumerate(trained)
        if member in deciding and np.isfinite(score)
    }
    archived = {segment for segment in population.archive.segments if segment[0] not in deciding}
    return tuple(sorted(last | archived))
