"""Rankings and opponents: what selection rules other than truncation are made of.

N is the size of the population, R the number of ready members.
"""

import numpy as np

from popgrad.core.population import Population
from popgrad.core.seeding import Index, Rng


def rank_members(rng: Rng, population: Population) -> Index:
    """Return [N] members from the best score to the worst.

    Failed members come last. Equal scores are in random order.

    Args:
        rng: Random streams of the run; "ties" are drawn from, by (member, completed intervals).
        population: All N members.

    Example:
        >>> population = Population(
        ...     scores=np.array([0.2, np.nan, 0.9]),
        ...     intervals=np.array([1, 1, 1]),
        ...     steps=np.array([100, 100, 100]),
        ...     hparams=[{}, {}, {}],
        ... )
        >>> rank_members(Rng(seed=0), population)
        array([2, 0, 1])
    """
    ties = rng.uniform("ties", np.arange(len(population)), population.intervals)
    scores = np.where(np.isfinite(population.scores), population.scores, -np.inf)
    return np.lexsort((ties, -scores))


def draw_other(rng: Rng, purpose: str, population: Population, ready: Index, among: Index) -> Index:
    """Draw another member for each ready one, uniformly; itself if there is no other.

    Args:
        rng: Random streams of the run.
        purpose: Purpose of the draw; one number is drawn by (member, completed intervals).
        population: All N members.
        ready: [R] members to draw for.
        among: Members to draw from, in ascending order.

    Returns:
        [R] members.

    Example:
        >>> population = Population(
        ...     scores=np.array([0.9, 0.2, 0.5]),
        ...     intervals=np.array([1, 1, 1]),
        ...     steps=np.array([100, 100, 100]),
        ...     hparams=[{}, {}, {}],
        ... )
        >>> draw_other(Rng(0), "opponent", population, np.array([0, 1]), among=np.array([0, 2]))
        array([2, 2])
    """
    if not len(among):
        return ready.copy()

    # Draw from one fewer if the member is among them, and skip its own place.
    present = np.isin(ready, among)
    count = len(among) - present
    drawn = (rng.uniform(purpose, ready, population.intervals[ready]) * count).astype(np.int64)
    drawn += present & (drawn >= np.searchsorted(among, ready))
    others = among[np.minimum(drawn, len(among) - 1)]
    return np.where(count > 0, others, ready)
