"""The upper confidence bound of PB2: its width, and the search for its highest place.

In the shape descriptions D is the number of dimensions, m of places.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from popgrad.core.seeding import Floats
from popgrad.core.space import Dimension, Integer, Ordinal

_PLACES = 512
"""Random places that a search starts with."""

_RADII = np.geomspace(0.2, 0.005, 8)
"""Deviations of the places around the best one so far, in each further round."""

_AROUND = 64
"""Places in each further round."""

_MOST_LEVELS = 1000
"""Most integers of a range that are searched as such; in a wider one, rounding changes little."""


def exploration(rows: int) -> float:
    """Return beta, the squared width of the bound in deviations: max(0, 0.2 ln(0.4 n)).

    Args:
        rows: Number of observations, at least 1.

    Example:
        >>> exploration(2), round(exploration(100), 3)
        (0.0, 0.738)
    """
    return max(0.0, 0.2 * math.log(0.4 * rows))


def levels(dimension: Dimension) -> Floats | None:
    """Return the positions of all values in ascending order; None = any position is one.

    Example:
        >>> from popgrad import Integer
        >>> levels(Integer(1, 3))
        array([0. , 0.5, 1. ])
    """
    if isinstance(dimension, Ordinal):
        return np.array([dimension.encode(option) for option in dimension.options])
    if isinstance(dimension, Integer) and dimension.high - dimension.low < _MOST_LEVELS:
        integers = range(dimension.low, dimension.high + 1)
        return np.array([dimension.encode(value) for value in integers])
    return None


def maximise(
    rng: np.random.Generator,
    bound: Callable[[Floats], Floats],
    start: Floats,
    grids: Sequence[Floats | None],
) -> Floats:
    """Return the best of random places in the unit cube, and of ever nearer ones around the best.

    It asks for no gradient, so integers and ordinals are searched at their own positions: the bound
    between two of them is that of no segment.

    Args:
        rng: Generator to draw from; it is consumed.
        bound: [m, D] places -> [m] values.
        start: [D] place that is searched as well.
        grids: [D] allowed positions of each dimension in ascending order; None = all.

    Example:
        >>> peak = maximise(
        ...     np.random.default_rng(0), lambda x: -((x[:, 0] - 0.3) ** 2), np.zeros(1), [None]
        ... )
        >>> peak.round(2)
        array([0.3])
    """
    places = np.concatenate([start[None], rng.random((_PLACES, len(start)))])
    best, highest = start, -math.inf

    for radius in (*_RADII, 0.0):
        places = _snap(places, grids)
        values = bound(places)
        top = int(np.argmax(values))
        if values[top] > highest:
            best, highest = places[top], float(values[top])
        places = best + radius * rng.standard_normal((_AROUND, len(start)))
    return best


def _snap(places: Floats, grids: Sequence[Floats | None]) -> Floats:
    """Return places in the unit cube, each at the nearest allowed position."""
    snapped = np.clip(places, 0.0, 1.0)
    for column, grid in enumerate(grids):
        if grid is not None:
            between = (grid[1:] + grid[:-1]) / 2
            snapped[:, column] = grid[np.searchsorted(between, snapped[:, column])]
    return snapped
