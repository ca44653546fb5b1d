"""Differences of means with Student's intervals: of pairs that share a seed, and of independent runs."""

import math

from popgrad.core.errors import UsageError
from popgrad.core.seeding import Floats
from popgrad.statistics.bootstrap import LEVEL, Interval

_HALVINGS = 200
"""Halvings of an interval of quantiles, beyond the last bit of a float."""


def paired_difference(scores: Floats, baseline: Floats, *, level: float = LEVEL) -> Interval:
    """Return the mean difference of pairs, with its Student interval.

    With five pairs, a percentile bootstrap would exclude zero in 16 % of comparisons of equals
    instead of 5 % (docs/decisions/0035), hence Student's.

    Args:
        scores: [P] scores; pair p shares its seed with that of the baseline.
        baseline: [P] scores of the baseline.
        level: Confidence level, in (0, 1).

    Returns:
        Mean of scores - baseline, positive = better. The ends are nan for a single pair.

    Raises:
        UsageError: The numbers of scores differ, or there is none.

    Example:
        >>> import numpy as np
        >>> gain = paired_difference(np.array([0.9, 0.8, 0.9]), np.array([0.8, 0.6, 0.7]))
        >>> [round(number, 3) for number in gain]
        [0.167, 0.023, 0.31]
    """
    if scores.shape != baseline.shape or scores.ndim != 1 or not len(scores):
        raise UsageError(
            f"scores, baseline: expected as many pairs in each, got {scores.shape} and {baseline.shape}"
        )
    differences = scores - baseline
    mean = float(differences.mean())
    count = len(differences)
    if count < 2:
        return Interval(mean)
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    return _around(mean, error, count - 1, level)


def independent_difference(scores: Floats, baseline: Floats, *, level: float = LEVEL) -> Interval:
    """Return the difference of two means, with Welch's interval; the degrees are rounded down.

    Args:
        scores: [S] scores, S at least 1.
        baseline: [R] scores of the baseline, R at least 1.
        level: Confidence level, in (0, 1).

    Returns:
        Mean of scores less that of the baseline. The ends are nan if either has a single score.

    Example:
        >>> import numpy as np
        >>> gain = independent_difference(np.array([0.9, 0.8, 0.9]), np.array([0.8, 0.6]))
        >>> [round(number, 3) for number in gain]
        [0.167, -1.173, 1.506]
    """
    mean = float(scores.mean() - baseline.mean())
    if min(len(scores), len(baseline)) < 2:
        return Interval(mean)
    ours = float(scores.var(ddof=1)) / len(scores)
    theirs = float(baseline.var(ddof=1)) / len(baseline)
    if ours + theirs == 0:
        return Interval(mean, mean, mean)

    spread = ours**2 / (len(scores) - 1) + theirs**2 / (len(baseline) - 1)
    degrees = int((ours + theirs) ** 2 / spread)
    return _around(mean, math.sqrt(ours + theirs), max(1, degrees), level)


def _around(mean: float, error: float, degrees: int, level: float) -> Interval:
    half = student_quantile(level, degrees) * error
    return Interval(mean, mean - half, mean + half)


def student_quantile(level: float, degrees: int) -> float:
    """Return the t that |T| stays below with a probability, of Student's distribution.

    Args:
        level: The probability, in [0, 1).
        degrees: Degrees of freedom, at least 1.

    Example:
        >>> round(student_quantile(0.95, 4), 4)
        2.7764
    """
    low = 0.0
    high = 1.0
    while _student_probability(high, degrees) < level:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _student_probability(middle, degrees) < level:
            low = middle
        else:
            high = middle
    return high


def _student_probability(t: float, degrees: int) -> float:
    """Return P(|T| < t): the finite sums of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    sine = math.sin(angle)
    squared = math.cos(angle) ** 2

    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= squared * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
