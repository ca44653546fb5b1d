"""Positions of a hyperparameter's values, counted in perturbations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from popgrad.core.seeding import Floats
from popgrad.core.space import Dimension, Integer, LogUniform, OneMinus, Uniform

_SHARE = 100
"""Share of the range of a linear dimension below which a value moves as if it were that share; as
`Uniform` explores."""


@dataclass(frozen=True)
class Scale:
    """The scale of a dimension between two numbers, on which each perturbation is 1 long.

    A quantity is the number that explore multiplies: the value, or 1 - value of a one-minus dimension.
    Two values that are one perturbation apart have positions that differ by 1, wherever they lie.

    Attributes:
        low: Lowest quantity.
        high: Highest quantity.
        unit: Natural logarithm of the factor of one perturbation, above 0.
        least: Quantity below which moves are as large as at this one; 0 = all moves are factors.
        mirrored: Whether a quantity is 1 - value.
        whole: Whether values are integers.
    """

    low: float
    high: float
    unit: float
    least: float = 0.0
    mirrored: bool = False
    whole: bool = False

    def quantity(self, value: float) -> float:
        """Return the quantity of a value."""
        return 1 - value if self.mirrored else float(value)

    def value(self, quantity: float) -> float:
        """Return the value of a quantity, in the range; an integer if values are."""
        inside = min(max(float(quantity), self.low), self.high)
        if self.mirrored:
            return 1 - inside
        return round(inside) if self.whole else inside

    def position(self, quantity: Floats | float) -> Floats:
        """Return positions of quantities, in perturbations; quantities outside of the range are cut."""
        inside = np.clip(np.asarray(quantity, dtype=np.float64), self.low, self.high)
        if not self.least:
            return np.log(inside) / self.unit

        size = np.abs(inside) / self.least
        bent = np.where(size < 1, size, 1 + np.log(np.maximum(size, 1)))
        return np.sign(inside) * bent / self.unit

    def at(self, position: Floats | float) -> Floats:
        """Return quantities at positions: the inverse of `position`."""
        bent = np.asarray(position, dtype=np.float64) * self.unit
        if not self.least:
            return np.exp(bent)

        size = np.abs(bent)
        # The exponential is only taken of what it is for, so that it cannot overflow.
        straight = np.where(size < 1, size, np.exp(np.maximum(size, 1) - 1))
        return np.sign(bent) * self.least * straight


def scale_of(dimension: Dimension, factors: Sequence[float]) -> Scale | None:
    """Return the scale of a dimension; None = its values are options without a distance.

    Args:
        dimension: Dimension of the hyperparameter.
        factors: Factors of a perturbation, each above 0 and not 1; their logarithms are averaged by
            size, since a run may have several.

    Example:
        >>> from popgrad import LogUniform
        >>> scale = scale_of(LogUniform(1e-4, 1e-1), [0.8, 1.25])
        >>> float(round(scale.position(1e-2 * 1.25) - scale.position(1e-2), 6))
        1.0
    """
    unit = sum(abs(math.log(factor)) for factor in factors) / len(factors)
    if isinstance(dimension, LogUniform):
        return Scale(dimension.low, dimension.high, unit)
    if isinstance(dimension, OneMinus):
        return Scale(1 - dimension.high, 1 - dimension.low, unit, mirrored=True)
    if isinstance(dimension, Uniform):
        least = dimension.high / _SHARE - dimension.low / _SHARE
        return Scale(dimension.low, dimension.high, unit, least)
    if isinstance(dimension, Integer) and dimension.log:
        return Scale(dimension.low, dimension.high, unit, whole=True)
    if isinstance(dimension, Integer):
        # An integer moves by 1 at least.
        least = max((dimension.high - dimension.low) / _SHARE, 1 / unit)
        return Scale(dimension.low, dimension.high, unit, least, whole=True)
    return None
