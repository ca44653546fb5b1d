"""Interquartile means and percentile bootstrap intervals: Agarwal et al. 2021, arXiv 2108.13264."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.seeding import Floats, derive

LEVEL = 0.95
"""Confidence level of an interval."""

ENOUGH = 5
"""Seeds from which on a verdict is given: with fewer, the spread over seeds is hardly known.

Student's factor for a 95 % interval is 12.7 for two seeds, 4.3 for three, 2.8 for five and 2.3 for ten.
"""

RESAMPLES = 2000
"""Resamples of a bootstrap interval; the ends then vary by a hundredth of its width or so."""


class Interval(NamedTuple):
    """An estimate with its confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end; nan = there are too few values for an interval.
        high: Upper end; nan = as for `low`.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends exist and have the same sign."""
        return self.low > 0 or self.high < 0

    @property
    def decimals(self) -> int:
        """Decimals that show the estimate: two digits of half the width of its interval."""
        half = (self.high - self.low) / 2
        scale = half if math.isfinite(half) and half > 0 else abs(self.value) / 100
        if not (math.isfinite(scale) and scale > 0):
            return 2
        return min(12, max(0, 1 - math.floor(math.log10(scale))))

    @property
    def size(self) -> "Interval":
        """The size of a difference, with the interval in the direction that the difference has.

        Example:
            >>> Interval(-0.5, -0.75, 0.25).size
            Interval(value=0.5, low=-0.25, high=0.75)
        """
        if self.value >= 0:
            return self
        return Interval(-self.value, -self.high + 0.0, -self.low + 0.0)


def interquartile_mean(scores: Floats) -> Floats:
    """Return the mean of the middle half along the last axis: a quarter is left out at each end.

    A quarter is rounded down, so that of fewer than four values none is left out.

    Args:
        scores: [..., S] scores, S at least 1.

    Example:
        >>> interquartile_mean(np.array([0.0, 0.7, 0.8, 0.9, 100.0])).round(2)
        np.float64(0.8)
    """
    ordered = np.sort(scores, axis=-1)
    cut = ordered.shape[-1] // 4
    middle: Floats = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return middle


def bootstrap(
    strata: Sequence[Floats],
    statistic: Callable[[Sequence[Floats]], Floats],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return a statistic with its percentile bootstrap interval; seeds are resampled within strata.

    The draws derive from a fixed seed: equal scores give equal intervals.

    Args:
        strata: Scores of each stratum, such as a task: [S_i] for stratum i, S_i at least 1.
        statistic: Resampled strata, [B, S_i] each, -> values, [B].
        level: Confidence level, in (0, 1).
        resamples: Resamples B, at least 1.

    Returns:
        The statistic and its interval. The ends are nan if a stratum has a single score.

    Raises:
        UsageError: A stratum has no score, or one that is not finite.

    Example:
        >>> scores = np.array([0.90, 0.91, 0.93, 0.94, 0.97])
        >>> estimate = bootstrap([scores], lambda strata: interquartile_mean(strata[0]))
        >>> [round(number, 3) for number in estimate]
        [0.927, 0.903, 0.96]
    """
    strata = [np.asarray(scores, dtype=np.float64) for scores in strata]
    if not strata or any(scores.ndim != 1 or not len(scores) for scores in strata):
        raise UsageError("strata: expected one score or more in each of at least one stratum")
    if not all(np.isfinite(scores).all() for scores in strata):
        raise UsageError("strata: expected finite scores; leave out runs without a winner")

    value = float(statistic([scores[None] for scores in strata])[0])
    if min(map(len, strata)) < 2:
        return Interval(value)

    drawn = []
    for number, scores in enumerate(strata):
        generator = np.random.Generator(np.random.PCG64(derive(0, "bootstrap", number)))
        rows = generator.integers(len(scores), size=(resamples, len(scores)))
        drawn.append(scores[rows])
    tail = 50 * (1 - level)
    low, high = np.percentile(statistic(drawn), [tail, 100 - tail])
    return Interval(value, float(low), float(high))


def iqm(scores: Floats, *, level: float = LEVEL) -> Interval:
    """Return the interquartile mean of scores with its bootstrap interval.

    Args:
        scores: [S] scores over seeds, at least one.
        level: Confidence level, in (0, 1).
    """
    return bootstrap([scores], lambda strata: interquartile_mean(strata[0]), level=level)


def probability_of_improvement(
    scores: Sequence[Floats], baseline: Sequence[Floats], *, level: float = LEVEL
) -> Interval:
    """Return the probability that a run beats a run of the baseline, P(X > Y), mean over tasks.

    Equal scores count one half, which makes it the Mann-Whitney statistic (section 4.3 of the
    paper). The interval resamples the seeds of both within each task.

    Args:
        scores: [S_t] scores of each of T tasks.
        baseline: [R_t] scores of the baseline on the same tasks.
        level: Confidence level, in (0, 1).

    Raises:
        UsageError: There is another number of tasks, or a score is not finite.

    Example:
        >>> pbt = [np.array([0.9, 0.8, 0.7])]
        >>> probability_of_improvement(pbt, [np.array([0.8, 0.6, 0.5])]).value.__round__(3)
        0.833
    """
    if len(scores) != len(baseline):
        raise UsageError(
            f"scores, baseline: expected the same tasks, got {len(scores)} and {len(baseline)}"
        )
    tasks = len(scores)

    def statistic(strata: Sequence[Floats]) -> Floats:
        pairs = zip(strata[:tasks], strata[tasks:], strict=True)
        return np.mean([_superiority(ours, theirs) for ours, theirs in pairs], axis=0)  # type: ignore[no-any-return]

    return bootstrap([*scores, *baseline], statistic, level=level)


def _superiority(ours: Floats, theirs: Floats) -> Floats:
    """Return the share of pairs that ours win, [B], of [B, S] and [B, R] scores; a tie is half."""
    gaps = ours[:, :, None] - theirs[:, None, :]
    share: Floats = ((np.sign(gaps) + 1) / 2).mean(axis=(1, 2))
    return share
