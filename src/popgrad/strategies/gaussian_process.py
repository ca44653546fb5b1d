"""A Gaussian process over hyperparameters and time: kernel, marginal likelihood and posterior.

The kernel is that of PB2 (Parker-Holder et al. 2020, arXiv 2002.02518), after TV-GP-UCB (Bogunovic
et al. 2016): s2 * exp(-d^2 / l) * (1 - eps)^(|t - t'| / 2). With categories it is that of PB2-Mix
(Parker-Holder et al. 2021, arXiv 2106.15883), after CoCaBO (Ru et al. 2020): with a = exp(-d^2 / l)
and b = the share of equal categories, the factor a becomes (1 - mix) (a + b) / 2 + mix a b.

In the shape descriptions n and m are numbers of points, D of features, C of categories.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from popgrad.core.seeding import Floats, Index

_FITTED_ROWS = 200
"""Most rows that the kernel is fitted to: the newest. A fit takes tens of inversions, O(n^3)."""

_MOST_STEPS = 30
"""Most steps of the optimiser; it mostly ends after 10 to 20."""

_TOLERANCE = 1e-5
"""Relative change of the likelihood at which the optimiser ends."""

_START = (1.0, 1.0, 10.0, 0.1, 0.5, 0.1)
"""First kernel of a fit, as published: variance and scale 1, eps .1, mix .5."""

_BOUNDS = ((0.05, 20.0), (0.01, 1.0), (1.0, 100.0), (0.0, 0.5), (0.0, 1.0), (1e-3, 2.0))
"""Range of each parameter in a fit. The upper ends of the scale, 1, and of eps, .5, are the published
ones. The noise is never 0, so that equal points, of equal members, leave the matrix regular."""

_LOGARITHMIC = np.array([True, True, True, False, False, True])
"""Parameters that are fitted as their logarithm."""


class Kernel(NamedTuple):
    """Parameters of the covariance.

    Attributes:
        variance: s2, above 0: variance of the function.
        scale: l, above 0: squared distance of features at which the correlation falls to 1/e.
        context_scale: The same of contexts.
        forgetting: eps, in [0, 1): share of the correlation lost in two units of time.
        mix: Weight of the product against the sum, in [0, 1]; without categories it is not read.
        noise: Variance of the observations, above 0.
    """

    variance: float
    scale: float
    context_scale: float
    forgetting: float
    mix: float
    noise: float


class Points(NamedTuple):
    """Places of the function.

    Attributes:
        times: [n] times.
        contexts: [n] positions that cannot be chosen, of a range near 1.
        features: [n, D] positions that can be chosen, each in [0, 1].
        categories: [n, C] numbers of the categories.
    """

    times: Floats
    contexts: Floats
    features: Floats
    categories: Index

    def join(self, others: "Points") -> "Points":
        """Return these points and then the others."""
        return Points(*(np.concatenate(pair) for pair in zip(self, others, strict=True)))

    def select(self, rows: Index | slice) -> "Points":
        """Return the points of some rows."""
        return Points(
            times=self.times[rows],
            contexts=self.contexts[rows],
            features=self.features[rows],
            categories=self.categories[rows],
        )


class Gaps(NamedTuple):
    """Differences between points, the part of the covariance that no parameter changes.

    Attributes:
        squares: [n, m] squared distances of the features.
        context_squares: [n, m] squared differences of the contexts.
        lags: [n, m] absolute differences of the times.
        overlaps: [n, m] shares of equal categories; None = there are no categories.
    """

    squares: Floats
    context_squares: Floats
    lags: Floats
    overlaps: Floats | None


def gaps(points: Points, others: Points) -> Gaps:
    """Return the differences between n points and m others."""
    a, b = points.features, others.features
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    context_squares = (points.contexts[:, None] - others.contexts) ** 2
    lags = np.abs(points.times[:, None] - others.times)

    overlaps = None
    if points.categories.shape[1]:
        equal = points.categories[:, None, :] == others.categories
        overlaps = equal.mean(axis=2)
    return Gaps(np.maximum(squares, 0.0), context_squares, lags, overlaps)


def covariance(kernel: Kernel, apart: Gaps) -> Floats:
    """Return [n, m] covariances of the function, without noise.

    Example:
        >>> times = np.array([0.0, 2.0])
        >>> places = Points(times, np.zeros(2), np.zeros((2, 1)), np.zeros((2, 0), int))
        >>> covariance(Kernel(1.0, 1.0, 1.0, 0.1, 0.5, 0.1), gaps(places, places)).round(6)
        array([[1. , 0.9],
               [0.9, 1. ]])
    """
    near, recent = _factors(kernel, apart)
    if apart.overlaps is not None:
        near = _mixed(kernel, near, apart.overlaps)
    return kernel.variance * recent * near


def _factors(kernel: Kernel, apart: Gaps) -> tuple[Floats, Floats]:
    near = -apart.squares / kernel.scale - apart.context_squares / kernel.context_scale
    recent = 0.5 * math.log1p(-kernel.forgetting) * apart.lags
    return np.exp(near), np.exp(recent)


def _mixed(kernel: Kernel, near: Floats, overlaps: Floats) -> Floats:
    return (1 - kernel.mix) / 2 * (near + overlaps) + kernel.mix * near * overlaps


def evidence(kernel: Kernel, apart: Gaps, targets: Floats) -> tuple[float, Floats]:
    """Return the negative logarithm of the marginal likelihood, and its gradient.

    Args:
        kernel: Parameters.
        apart: Differences between the n points.
        targets: [n] observations.

    Returns:
        The value, and [6] derivatives by the parameters in the order of `Kernel`.
    """
    near, recent = _factors(kernel, apart)
    mixed = near if apart.overlaps is None else _mixed(kernel, near, apart.overlaps)
    function = kernel.variance * recent * mixed
    total = function + kernel.noise * np.eye(len(targets))

    lower = np.linalg.cholesky(total)
    inverse = np.linalg.inv(total)
    weights = inverse @ targets
    constant = 0.5 * len(targets) * math.log(2 * math.pi)
    value = 0.5 * float(targets @ weights) + float(np.log(np.diag(lower)).sum()) + constant

    # Derivative of the value by the matrix; a parameter's is the sum of its product with the
    # derivative of the matrix by the parameter.
    slope = 0.5 * (inverse - np.outer(weights, weights))
    by_function = slope * function
    by_near = by_function
    by_mix: float | np.floating = 0.0
    if apart.overlaps is not None:
        outer = slope * recent * kernel.variance
        by_near = outer * near * ((1 - kernel.mix) / 2 + kernel.mix * apart.overlaps)
        by_mix = np.vdot(outer, near * apart.overlaps - (near + apart.overlaps) / 2)

    gradient = (
        by_function.sum() / kernel.variance,
        np.vdot(by_near, apart.squares) / kernel.scale**2,
        np.vdot(by_near, apart.context_squares) / kernel.context_scale**2,
        np.vdot(by_function, apart.lags) * -0.5 / (1 - kernel.forgetting),
        by_mix,
        np.trace(slope),
    )
    return value, np.array(gradient)


def fit(points: Points, targets: Floats) -> Kernel:
    """Return the kernel of the greatest marginal likelihood that L-BFGS-B finds.

    Args:
        points: n points, the oldest first; the newest 200 are fitted.
        targets: [n] observations, of mean near 0 and variance near 1.
    """
    # It takes a fifth of a second to import, which other strategies do not have to wait for.
    from scipy.optimize import minimize

    newest = points.select(slice(-_FITTED_ROWS, None))
    apart = gaps(newest, newest)
    observed = targets[-_FITTED_ROWS:]

    def objective(coordinates: Floats) -> tuple[float, Floats]:
        kernel = _kernel(coordinates)
        value, gradient = evidence(kernel, apart, observed)
        return value, gradient * np.where(_LOGARITHMIC, kernel, 1.0)

    found = minimize(
        objective,
        _coordinates(_START),
        method="L-BFGS-B",
        jac=True,
        bounds=np.transpose([_coordinates(bounds) for bounds in np.transpose(_BOUNDS)]),
        options={"maxiter": _MOST_STEPS, "ftol": _TOLERANCE},
    )
    return _kernel(found.x)


def _coordinates(parameters: npt.ArrayLike) -> Floats:
    values = np.asarray(parameters, np.float64)
    return np.where(_LOGARITHMIC, np.log(np.where(_LOGARITHMIC, values, 1.0)), values)


def _kernel(coordinates: Floats) -> Kernel:
    values = np.where(_LOGARITHMIC, np.exp(np.where(_LOGARITHMIC, coordinates, 0.0)), coordinates)
    return Kernel(*values.tolist())


@dataclass(frozen=True)
class Posterior:
    """The function, given observations at n points and p pending points without one.

    Attributes:
        kernel: Parameters.
        points: The n points, and then the p.
        inverse: [n + p, n + p] inverse of the lower Cholesky factor.
        weights: [n] weights of the observations' covariances in the mean.
    """

    kernel: Kernel
    points: Points
    inverse: Floats
    weights: Floats

    def predict(self, places: Points) -> tuple[Floats, Floats]:
        """Return [m] means and [m] standard deviations of the function, without noise."""
        across = covariance(self.kernel, gaps(self.points, places))
        mean = self.weights @ across[: len(self.weights)]
        explained = ((self.inverse @ across) ** 2).sum(axis=0)
        return mean, np.sqrt(np.maximum(self.kernel.variance - explained, 0.0))


def posterior(
    kernel: Kernel, points: Points, targets: Floats, pending: Points | None = None
) -> Posterior:
    """Condition on observations, and on pending points, which lower the deviation alone.

    The rows of the pending points are the last of the Cholesky factor, so its first n rows and with
    them the mean are those of the observations.

    Args:
        kernel: Parameters.
        points: n points.
        targets: [n] observations.
        pending: p points that will be observed; None = none.

    Example:
        >>> at = lambda x: Points(np.zeros(1), np.zeros(1), np.full((1, 1), x), np.zeros((1, 0), int))
        >>> kernel = Kernel(1.0, 1.0, 1.0, 0.1, 0.5, 0.1)
        >>> mean, deviation = posterior(kernel, at(0.0), np.ones(1)).predict(at(0.5))
        >>> later = posterior(kernel, at(0.0), np.ones(1), pending=at(0.4)).predict(at(0.5))
        >>> bool(later[0] == mean), bool(later[1] < deviation)
        (True, True)
    """
    from scipy.linalg.lapack import dtrtri  # slow to import, as in `fit`

    known = len(targets)
    points = points if pending is None else points.join(pending)
    total = covariance(kernel, gaps(points, points))
    total.flat[:: len(total) + 1] += kernel.noise

    # A triangle is inverted in a third of the time of a matrix.
    inverse: Floats = dtrtri(np.linalg.cholesky(total), lower=1)[0]
    first = inverse[:known, :known]
    weights: npt.NDArray[np.float64] = first.T @ (first @ targets)
    return Posterior(kernel, points, inverse, weights)
