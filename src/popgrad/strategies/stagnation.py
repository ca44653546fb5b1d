"""Stagnation of the best score of a population: the rules by which IPBT restarts.

Chebykin et al. 2025, arXiv 2511.09190. Series are [n] best scores, one a round, higher is better.
The paper smooths them with a variational Gaussian process with a Matern-5/2 kernel, trained for 50
steps of Adam. Here the process has that kernel and is exact, which short series permit, with the
parameters of greatest marginal likelihood.
"""

from collections.abc import Sequence

import numpy as np

from popgrad.core.seeding import Floats

_NEWEST = 100
"""Last rounds that are smoothed: the rules compare the last two."""

_SCALES = np.geomspace(0.05, 2.0, 10)
"""Scales of the kernel, where the series is 1 long."""

_NOISES = np.geomspace(1e-3, 10.0, 13)
"""Variances of the noise, in units of the variance of the function."""


def rounds_without_gain(
    series: Sequence[float], before: int, *, stagnant_rounds: int, slow_rounds: int
) -> int:
    """Return the rounds in a row without a gain; at `stagnant_rounds` the population stagnates.

    A round has no gain if the smooth series does not rise at its end. From `slow_rounds` rounds on,
    the series stagnates at once if its maximum has risen by less than one standard deviation
    (unbiased, of the series) in the last `slow_rounds` rounds.

    Args:
        series: Best score of each round since the last start, the present round included.
        before: Rounds in a row without a gain up to the round before.
        stagnant_rounds: Rounds in a row that make a stagnation.
        slow_rounds: Rounds from which on a slow gain is a stagnation.

    Example:
        >>> rounds_without_gain([1.0, 2.0, 3.0], 2, stagnant_rounds=3, slow_rounds=15)
        0
        >>> rounds_without_gain([3.0, 2.0, 1.0], 0, stagnant_rounds=3, slow_rounds=15)
        1
    """
    if len(series) < 2:
        return 0

    scores = np.array(series)
    deviation = scores.std(ddof=1)
    if not deviation > 0:
        return before + 1

    standard = (scores - scores.mean()) / deviation
    if len(series) >= slow_rounds:
        gain = standard.max() - standard[: len(series) - slow_rounds + 1].max()
        if gain < 1:
            return max(stagnant_rounds, before + 1)

    smoothed = smooth_series(standard[-_NEWEST:])
    return 0 if smoothed[-1] > smoothed[-2] else before + 1


def smooth_series(series: Floats) -> Floats:
    """Return [n] means of a Gaussian process regression on a series at positions from 0 to 1.

    Its variance, scale and noise are those of greatest marginal likelihood on a grid of scales and
    noises; the variance has a closed form.

    Args:
        series: [n] values of mean near 0, at least 2, not all 0.

    Example:
        >>> smooth_series(np.array([-1.0, 0.0, 1.0])).round(1)
        array([-1.,  0.,  1.])
    """
    positions = np.linspace(0.0, 1.0, len(series))
    distances = np.abs(positions[:, None] - positions)
    best = -np.inf
    mean = series
    for scale in _SCALES:
        variances, directions = np.linalg.eigh(matern(distances / scale))
        totals = np.maximum(variances, 0.0) + _NOISES[:, None]
        along = directions.T @ series

        variance = (along**2 / totals).mean(axis=1)
        evidence = -len(series) * np.log(variance) - np.log(totals).sum(axis=1)
        row = int(np.argmax(evidence))
        if evidence[row] > best:
            best = evidence[row]
            mean = directions @ ((1 - _NOISES[row] / totals[row]) * along)
    return mean


def matern(distances: Floats) -> Floats:
    """Return the Matern-5/2 correlations at distances in units of the scale."""
    scaled = np.sqrt(5.0) * distances
    correlations: Floats = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return correlations
