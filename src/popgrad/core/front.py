"""Pareto fronts: which rows of several objectives no other row dominates.

A row dominates another if it is at least as good in every objective, and better in one. In the
shape descriptions N is the number of rows and M the number of objectives; higher is better.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.core.seeding import Floats, Index
from popgrad.core.spelling import did_you_mean


def non_dominated_ranks(values: Floats) -> Index:
    """Return the front that each row is on, 0 = no row dominates it.

    Front 1 is what no row dominates once front 0 is left out, and so on: non-dominated sorting
    (Goldberg 1989; Deb et al. 2002, NSGA-II). Takes time and memory of N^2.

    Args:
        values: [N, M] objectives, higher is better. A row with a value that is not finite ranks
            behind all others.

    Returns:
        [N] ranks.

    Example:
        >>> non_dominated_ranks(np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 1.0], [2.0, 2.0]]))
        array([0, 0, 1, 0])
    """
    finite = np.isfinite(values).all(axis=1)
    dominated_by = _dominance(values)
    remaining = finite.copy()
    ranks = np.zeros(len(values), np.int64)

    rank = 0
    while remaining.any():
        best = remaining & ~dominated_by[:, remaining].any(axis=1)
        ranks[best] = rank
        remaining &= ~best
        rank += 1
    ranks[~finite] = rank
    return ranks


def front(values: Floats) -> Index:
    """Return the rows that no other row dominates, in ascending order.

    Args:
        values: [N, M] objectives, higher is better. A row with a value that is not finite is never on
            the front.

    Example:
        >>> front(np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 1.0], [2.0, 2.0]]))
        array([0, 1, 3])
    """
    finite = np.isfinite(values).all(axis=1)
    return np.flatnonzero(finite & ~_dominance(values)[:, finite].any(axis=1))


def scattered_order(values: Floats, ranks: Index) -> Index:
    """Return the rows from the best to the worst: by front, and within a front the most distant first.

    Greedy scattering as in MO-PBT (Dushatskiy et al. 2023, arXiv 2306.01436): the row that is best in
    the first objective comes first; of each front, the next is the row farthest from the nearest one
    that is in the order already. There distances are those of the objectives as they are. Here each
    objective is scaled to [0, 1] first, since one in millions would leave the others without weight.

    Args:
        values: [N, M] finite objectives, higher is better.
        ranks: [N] fronts, as `non_dominated_ranks`.

    Returns:
        [N] rows. Of equal distances, the row that comes first in `values` comes first.

    Example:
        >>> values = np.array([[3.0, 1.0], [2.9, 1.1], [1.0, 3.0], [0.0, 0.0]])
        >>> scattered_order(values, non_dominated_ranks(values))
        array([0, 2, 1, 3])
    """
    low = values.min(axis=0, initial=np.inf)
    width = values.max(axis=0, initial=-np.inf) - low
    points = (values - low) / np.where(width > 0, width, 1.0)
    nearest = np.full(len(values), np.inf)
    order: list[int] = []

    for rank in np.unique(ranks):
        members = np.flatnonzero(ranks == rank)
        while len(members):
            # Nothing is in the order yet: start with the best of the first objective.
            choice = int(np.argmax(nearest[members] if order else points[members, 0]))
            row = int(members[choice])
            order.append(row)
            nearest = np.minimum(nearest, np.linalg.norm(points - points[row], axis=1))
            members = np.delete(members, choice)
    return np.array(order, np.int64)


def objective_values(objectives: Sequence[Score], metrics: Sequence[Mapping[str, float]]) -> Floats:
    """Return [N, M] values of the objectives, higher is better.

    Args:
        objectives: [M] metrics with their directions.
        metrics: [N] metrics by name.

    Raises:
        UsageError: A row lacks an objective.

    Example:
        >>> objectives = [Score.parse("accuracy"), Score.parse("-params")]
        >>> objective_values(objectives, [{"accuracy": 0.9, "params": 500.0}])
        array([[   0.9, -500. ]])
    """
    for row in metrics:
        for name in (objective.metric for objective in objectives):
            if name not in row:
                listing = f"; it evaluates {', '.join(row) or 'nothing'}"
                raise UsageError(
                    f"objectives: the task evaluates no metric {name!r}{did_you_mean(name, row) or listing}"
                )
    rows = [[each.rank(row[each.metric]) for each in objectives] for row in metrics]
    return np.array(rows, dtype=np.float64).reshape(len(metrics), len(objectives))


def _dominance(values: Floats) -> npt.NDArray[np.bool_]:
    """Return [N, N]: whether row i is dominated by row j."""
    at_least = np.ones((len(values), len(values)), np.bool_)
    better = np.zeros_like(at_least)
    # One objective at a time: the comparison of all of them at once would take M times the memory.
    for column in values.T:
        at_least &= column[np.newaxis, :] >= column[:, np.newaxis]
        better |= column[np.newaxis, :] > column[:, np.newaxis]
    return at_least & better
