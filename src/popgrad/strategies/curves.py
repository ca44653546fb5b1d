"""Comparison of training curves by their rate of improvement: the mathematics of FIRE PBT.

Dalibard and Jaderberg 2021, arXiv 2109.13800. A curve is [n] scores at evenly spaced steps, higher
is better. There is no official code: constants and cases that the paper's abstract leaves open
follow PBT-Zoo, the public re-implementation of Chebykin et al. 2025. No code of it is used.
"""

import math
from typing import NamedTuple

import numpy as np

from popgrad.core.seeding import Floats

SHIFTS = 10
"""Downward shifts of a curve that lies above another as a whole: PBT-Zoo."""

_JITTER = 1e-10
"""Variance of the noise in the Gaussian process: the default of scikit-learn, as in PBT-Zoo."""


class Curve(NamedTuple):
    """A training curve, raw and smooth.

    Attributes:
        scores: [n] scores, at least one; higher is better.
        smooth: [n] their smooth version.
    """

    scores: Floats
    smooth: Floats

    def minus(self, shift: float) -> "Curve":
        """Return the curve moved down; smoothing commutes with it."""
        return Curve(self.scores - shift, self.smooth - shift)


class Overlap(NamedTuple):
    """The part of two curves that starts from the same score.

    Attributes:
        first: Position in the first curve from which on the two are compared.
        second: Position in the second curve.
        length: Points to compare.
    """

    first: int
    second: int
    length: int


def smooth(scores: Floats) -> Curve:
    """Return a curve with the mean of a Gaussian process regression on it.

    The kernel is exp(-d^2 / 2) with positions in [0, 1): the prior mean is the mean of the scores.
    As the kernel is fixed, this is a linear filter that lets pass slow changes only.

    Args:
        scores: [n] finite scores, at least one.

    Example:
        >>> smooth(np.array([1.0, 1.0, 1.0])).smooth
        array([1., 1., 1.])
    """
    positions = np.arange(len(scores)) / len(scores)
    kernel = np.exp(-((positions[:, None] - positions) ** 2) / 2)
    variances, directions = np.linalg.eigh(kernel)

    # The smallest eigenvalues are below the rounding error, some of them below zero.
    variances = np.maximum(variances, 0.0)
    passed = variances / (variances + _JITTER)
    mean = scores.mean()
    return Curve(scores, mean + directions @ (passed * (directions.T @ (scores - mean))))


def overlap(first: Floats, second: Floats) -> Overlap | None:
    """Return where the curve with the lower start reaches the start of the other.

    Args:
        first: [n] smooth scores.
        second: [m] smooth scores.

    Returns:
        The overlap; None = the lower curve never reaches the start of the other.

    Example:
        >>> overlap(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.5, 1.6, 1.7]))
        Overlap(first=2, second=0, length=2)
        >>> overlap(np.array([4.0, 5.0]), np.array([1.0, 2.0])) is None
        True
    """
    if first[0] >= second[0]:
        reached = np.flatnonzero(second >= first[0])
        starts = (0, int(reached[0])) if len(reached) else None
    else:
        reached = np.flatnonzero(first >= second[0])
        starts = (int(reached[0]), 0) if len(reached) else None

    if starts is None:
        return None
    return Overlap(*starts, min(len(first) - starts[0], len(second) - starts[1]))


def best_score_difference(first: Curve, second: Curve) -> float:
    """Return by how much the first curve gets higher than the second from the same score on.

    If they do not overlap and the first is above the second as a whole, it is moved down in
    `SHIFTS` steps, from its lowest score on the highest of the second to its lowest on the lowest;
    the largest difference counts, at least 0. Without an overlap in the other cases it is 0.

    Args:
        first: Curve whose advantage is computed.
        second: Curve to compare it with.

    Example:
        >>> slow, fast = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 5.0, 7.0])
        >>> best_score_difference(Curve(fast, smooth=fast), Curve(slow, smooth=slow))
        3.0
    """
    shared = overlap(first.smooth, second.smooth)
    if shared is not None:
        return _difference(first, second, shared)

    least = float(first.scores.min() - second.scores.max())
    most = float(first.scores.min() - second.scores.min())
    if least <= 0 or np.isclose(least, most):
        return 0.0

    best = 0.0
    for shift in np.linspace(least, most, SHIFTS, endpoint=False).tolist():
        moved = first.minus(shift)
        shared = overlap(moved.smooth, second.smooth)
        if shared is not None:
            best = max(best, _difference(moved, second, shared))
    return best


def _difference(first: Curve, second: Curve, shared: Overlap) -> float:
    highest = first.scores[shared.first : shared.first + shared.length].max()
    return float(highest - second.scores[shared.second : shared.second + shared.length].max())


def sign_test(first: Curve, second: Curve) -> float:
    """Return the p-value of the one-sided sign test that the first curve is above the second.

    It counts the points of the overlap at which the first is higher. Without an overlap it is 0 if
    the first is above the second as a whole, 2 (above every bound) if it is below, and the curves
    are compared from their starts if neither holds.

    Args:
        first: Curve that may be the higher.
        second: Curve to compare it with.

    Returns:
        p-value in [0, 1], or 2.

    Example:
        >>> slow, fast = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([1.0, 3.0, 5.0, 7.0, 9.0])
        >>> sign_test(Curve(fast, smooth=fast), Curve(slow, smooth=slow))  # 4 of 5: 6 / 32
        0.1875
    """
    shared = overlap(first.smooth, second.smooth)
    if shared is None:
        if first.scores.min() > second.scores.max():
            return 0.0
        if first.scores.max() < second.scores.min():
            return 2.0
        shared = Overlap(0, 0, min(len(first.scores), len(second.scores)))

    compared = first.scores[shared.first : shared.first + shared.length]
    higher = compared > second.scores[shared.second : shared.second + shared.length]
    return upper_tail(int(higher.sum()), shared.length)


def upper_tail(successes: int, trials: int) -> float:
    """Return the probability of at least so many heads in `trials` fair tosses.

    Args:
        successes: Heads, in [0, trials].
        trials: Tosses, at least 1.

    Example:
        >>> upper_tail(9, 10)
        0.0107421875
    """
    # Integers are exact: the quotient of the sums is rounded once.
    ways = sum(math.comb(trials, heads) for heads in range(successes, trials + 1))
    return ways / (1 << trials)
