"""The data that PB2 learns from: the change of the score per step in each recorded segment.

In the shape descriptions n is the number of rows, D of the space's dimensions.
"""

from typing import NamedTuple

import numpy as np

from popgrad.core.exploit import Mask
from popgrad.core.history import History
from popgrad.core.seeding import Floats, Index

_FENCE = 10.0
"""Interquartile ranges beyond the quartiles at which numbers are cut off: one member that diverged to
a score of -1e9 would leave all others at the same position. Heavy tails of rewards lie far within."""

_CLIP = 2.0
"""Standard deviations at which observations are cut off, as in the published codes."""


class Improvements(NamedTuple):
    """Rows of the history that have a known start, a finite score and steps between the two.

    A row starts from the score of the state that its segment inherited, never from that of its
    member before. So the jump of the score that a copy causes is in no row.

    Attributes:
        intervals: [n] interval of the member, in ascending order.
        steps: [n] training steps behind the state that the segment started from.
        lengths: [n] steps that it trained.
        starts: [n] score of that state.
        rates: [n] change of the score per step, higher is better.
        positions: [n, D] hyperparameters in unit space, in the order of the space.
    """

    intervals: Index
    steps: Index
    lengths: Index
    starts: Floats
    rates: Floats
    positions: Floats

    def select(self, rows: Mask) -> "Improvements":
        """Return some of the rows."""
        return Improvements(
            intervals=self.intervals[rows],
            steps=self.steps[rows],
            lengths=self.lengths[rows],
            starts=self.starts[rows],
            rates=self.rates[rows],
            positions=self.positions[rows],
        )


def improvements(history: History, window: int, dimensions: int) -> Improvements:
    """Return the newest rows, at most `window` of them.

    They are sorted by (interval, member), since the order in a history differs between a run and
    the same run resumed, and sums depend on it.

    Args:
        history: All segments so far.
        window: Most rows, at least 1.
        dimensions: D.

    Example:
        The second segment of member 1 continues from member 0, whose score was 0.5.

        >>> history = History(
        ...     names=("lr",),
        ...     members=np.array([0, 1, 1]),
        ...     intervals=np.array([0, 0, 1]),
        ...     scores=np.array([0.5, 0.1, 0.9]),
        ...     starts=np.array([np.nan, np.nan, 0.5]),
        ...     parents=np.array([-1, -1, 0]),
        ...     first_steps=np.array([0, 0, 10]),
        ...     steps=np.array([10, 10, 20]),
        ...     hparams=np.array([[0.5], [0.1], [0.4]]),
        ... )
        >>> improvements(history, window=1000, dimensions=1).rates
        array([0.04])
    """
    lengths = history.steps - history.first_steps
    known = np.isfinite(history.scores) & np.isfinite(history.starts) & (lengths > 0)
    order = np.lexsort((history.members, history.intervals))
    rows = order[known[order]][-window:]

    return Improvements(
        intervals=history.intervals[rows],
        steps=history.first_steps[rows],
        lengths=lengths[rows],
        starts=history.starts[rows],
        rates=(history.scores[rows] - history.starts[rows]) / lengths[rows],
        positions=history.hparams[rows].reshape(len(rows), dimensions),
    )


def fence(numbers: Floats) -> Floats:
    """Cut off what lies ten interquartile ranges beyond the quartiles, if these differ.

    Example:
        >>> fence(np.array([0.0, 1.0, 2.0, 3.0, -1e9])).tolist()
        [0.0, 1.0, 2.0, 3.0, -20.0]
    """
    low, high = np.percentile(numbers, [25, 75]).tolist()
    reach = _FENCE * (high - low)
    return np.clip(numbers, low - reach, high + reach) if reach > 0 else numbers


def standardise(rates: Floats) -> Floats:
    """Return numbers of mean 0 and deviation 1, cut off at two deviations; all 0 if they are equal.

    Example:
        >>> standardise(np.array([1.0, 2.0, 3.0])).round(2).tolist()
        [-1.22, 0.0, 1.22]
    """
    fenced = fence(rates)
    deviation = float(fenced.std())
    # Equal numbers may differ in their last bit.
    if deviation <= 1e-12 * float(np.abs(fenced).max()):
        return np.zeros_like(fenced)
    scaled: Floats = (fenced - fenced.mean()) / deviation
    return np.clip(scaled, -_CLIP, _CLIP)


def to_rewards(rates: Floats) -> Floats:
    """Return numbers in [0, 1], between the lowest and the highest; all 0.5 if they are equal."""
    if not len(rates):
        return rates
    fenced = fence(rates)
    low = float(fenced.min())
    high = float(fenced.max())
    scaled: Floats = (fenced - low) / (high - low) if high > low else np.full_like(fenced, 0.5)
    return scaled
