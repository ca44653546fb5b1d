"""Ranks of several strategies over several tasks: Demsar 2006, JMLR 7, 1-30.

Friedman's test asks whether any two differ, Wilcoxon's signed ranks with Holm's correction which.
Benavoli, Corani and Mangili 2016 (JMLR 17, 5) give the reason for signed ranks in place of
Nemenyi's test: there, whether two strategies differ depends on the others in the comparison.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from popgrad.core.seeding import Floats
from popgrad.statistics.bootstrap import LEVEL


def ranks(scores: Floats) -> Floats:
    """Return the rank of each column in its row: 1 = best; ties share the mean of their ranks.

    Args:
        scores: [T, K] scores of K strategies on T tasks.

    Example:
        >>> ranks(np.array([[0.9, 0.5, 0.5]]))
        array([[1. , 2.5, 2.5]])
    """
    better = scores[:, None, :] > scores[:, :, None]
    equal = scores[:, None, :] == scores[:, :, None]
    placed: Floats = 1 + better.sum(axis=2) + (equal.sum(axis=2) - 1) / 2
    return placed


def friedman(scores: Floats) -> tuple[float, float]:
    """Return Friedman's statistic, corrected for ties, and its p-value from chi-square.

    Args:
        scores: [T, K] scores of K strategies on T tasks, K at least 2.

    Example:
        >>> statistic, p = friedman(np.array([[3.0, 2.0, 1.0]] * 4))
        >>> round(statistic, 6), round(p, 4)
        (8.0, 0.0183)
    """
    placed = ranks(scores)
    tasks, strategies = placed.shape
    middle = (strategies + 1) / 2
    spread = float(((placed - middle) ** 2).sum())
    if spread == 0:
        return 0.0, 1.0
    between = float(((placed.sum(axis=0) - tasks * middle) ** 2).sum())
    statistic = (strategies - 1) * between / spread
    return statistic, chi_square_tail(statistic, strategies - 1)


def chi_square_tail(x: float, degrees: int) -> float:
    """Return the probability that a chi-square variable exceeds x: Abramowitz and Stegun, 26.4.4 and 26.4.5.

    Args:
        x: Value, at least 0.
        degrees: Degrees of freedom, at least 1.
    """
    odd = degrees % 2
    term = math.sqrt(2 * x / math.pi) if odd else 1.0
    total = 0.0
    for count in range(1 + odd, degrees, 2):
        total += term
        term *= x / (count + 1)
    tail = math.exp(-x / 2) * total
    return tail + math.erfc(math.sqrt(x / 2)) if odd else tail


def signed_rank(differences: Floats) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, exact, with and without ties.

    Args:
        differences: [T] differences of pairs; zeros are left out.

    Example:
        >>> signed_rank(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        0.03125
    """
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0

    # Twice the ranks are integers, also of ties. The best rank, 1, is that of the smallest here.
    doubled = np.rint(2 * ranks(-np.abs(differences)[None])[0]).astype(int)
    positive = int(doubled[differences > 0].sum())
    extreme = min(positive, int(doubled.sum()) - positive)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    tail = float(ways[: extreme + 1].sum() / ways.sum())
    return min(1.0, 2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down procedure.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for number, row in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - number) * p_values[row]))
        corrected[row] = highest
    return corrected


def cliques(scores: Floats, *, level: float = LEVEL) -> list[tuple[int, ...]]:
    """Return the largest groups of strategies, two or more, of which no two differ significantly.

    A group is a run of neighbours by mean rank, as a critical-difference diagram joins them by a bar.

    Args:
        scores: [T, K] scores of K strategies on T tasks.
        level: Confidence level of all tests together, in (0, 1).

    Returns:
        Columns of each group, the best mean rank first.
    """
    count = scores.shape[1]
    pairs = list(combinations(range(count), 2))
    corrected = holm([signed_rank(scores[:, a] - scores[:, b]) for a, b in pairs])
    apart = {pair for pair, p in zip(pairs, corrected, strict=True) if p <= 1 - level}

    order = np.argsort(ranks(scores).mean(axis=0), kind="stable").tolist()
    found: list[tuple[int, ...]] = []
    end = 0
    for first in range(count):
        last = first + 1
        while last < count and not _differ(order[first:last], order[last], apart):
            last += 1
        if last - first > 1 and last > end:
            found.append(tuple(order[first:last]))
            end = last
    return found


def _differ(group: Sequence[int], other: int, apart: set[tuple[int, int]]) -> bool:
    """Return whether a strategy differs from any in a group."""
    return any((min(one, other), max(one, other)) in apart for one in group)


def tasks_needed(strategies: int, *, level: float = LEVEL) -> int:
    """Return the least number of tasks with which `cliques` can set two strategies apart at all.

    If one wins on all T tasks, its exact p-value is 2 / 2^T, and Holm multiplies the least of K
    (K - 1) / 2 of them by their number.

    Args:
        strategies: Strategies K, at least 2.
        level: Confidence level of all tests together.

    Example:
        >>> [tasks_needed(strategies) for strategies in (2, 3, 4, 6)]
        [6, 7, 8, 10]
    """
    pairs = strategies * (strategies - 1) // 2
    return math.ceil(1 + math.log2(pairs / (1 - level)))
