"""Shapes of a schedule: simple curves of the training step, and their fits to a recorded path."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from popgrad.core.seeding import Floats, Index
from popgrad.record.scale import Scale

PARAMETERS = {"constant": 1, "exponential": 2, "linear": 2, "cosine": 2, "step": 3, "warm-up": 4}
"""Numbers that a shape is made of, by its name: values, and the step of a change."""

DECAYS = ("cosine", "linear", "exponential")
"""Shapes from one value to another, also after a warm-up."""

_CHANGES = 32
"""Steps at most that are tried as the end of a warm-up."""

_REFINED = 4
"""Warm-ups that are fitted, of all that were tried from the values on the path."""

_DIGITS = 4
"""Significant digits of the numbers of a curve: a perturbation changes the first or the second."""


@dataclass(frozen=True)
class Path:
    """A recorded path: one position for each phase of a schedule.

    Attributes:
        scale: Scale of the hyperparameter.
        positions: [n] positions, in perturbations.
        middles: [n] training steps in the middle of the phases: a curve is compared there, since a
            staircase that follows it crosses it in the middle of each stair.
        starts: [n] first training steps of the phases.
        weights: [n] share of each phase in the training steps, times n.
        steps: Training steps in all.
    """

    scale: Scale
    positions: Floats
    middles: Floats
    starts: Index
    weights: Floats
    steps: int


@dataclass(frozen=True)
class Curve:
    """A quantity as a function of the training step.

    Attributes:
        shape: Name of the shape, a key of `PARAMETERS`.
        steps: Training steps in all.
        first: Quantity at step 0.
        last: Quantity after the last step, which a decay approaches.
        change: Step of a change: from it on the second value of a step, or the decay after a warm-up.
        peak: Quantity at the end of a warm-up.
        decay: Shape after a warm-up, of `DECAYS`.
    """

    shape: str
    steps: int
    first: float
    last: float
    change: int = 0
    peak: float = 0.0
    decay: str = ""

    def __call__(self, step: Floats | float) -> Floats:
        """Return the quantities at training steps, from 0."""
        at = np.asarray(step, dtype=np.float64)
        if self.shape == "constant":
            return np.full_like(at, self.first)
        if self.shape == "step":
            return np.where(at < self.change, self.first, self.last)
        if self.shape != "warm-up":
            return _between(self.shape, self.first, self.last, at / self.steps)

        rise = self.first + (self.peak - self.first) * at / self.change
        part = np.maximum(at - self.change, 0) / (self.steps - self.change)
        return np.where(at < self.change, rise, _between(self.decay, self.peak, self.last, part))


def _between(shape: str, first: float, last: float, part: Floats) -> Floats:
    """Return the quantities of a decay when a part of it, in [0, 1], is over."""
    if shape == "exponential":
        logarithms: Floats = (1 - part) * math.log(first) + part * math.log(last)
        return np.exp(logarithms)
    share = part if shape == "linear" else (1 - np.cos(np.pi * part)) / 2
    return (1 - share) * first + share * last


# --- fits -------------------------------------------------------------------------------------------


def fits(path: Path) -> Iterator[Curve]:
    """Yield the best curve of each shape that the path has enough phases for, the simplest first.

    Best is the smallest sum of squares, in perturbations. A straight line in the scale of the dimension
    comes before other curves with as many parameters: exponential where moves are factors, else linear.

    Args:
        path: Path with at least one phase.
    """
    yield _constant(path)
    if len(path.positions) > PARAMETERS["linear"]:
        straight = "linear" if path.scale.least else "exponential"
        for shape in sorted(DECAYS, key=lambda shape: shape != straight):
            if shape != "exponential" or _positive(path):
                yield _decay(path, shape)

    if len(path.positions) > 1:
        yield _step(path)
    if len(path.positions) > PARAMETERS["warm-up"]:
        yield from _warm_up(path)


def squares(path: Path, curve: Curve) -> float:
    """Return the weighted sum of squared errors of a curve, in perturbations squared."""
    errors = path.scale.position(curve(path.middles)) - path.positions
    return float(np.sum(path.weights * errors**2))


def _constant(path: Path) -> Curve:
    mean = float(np.average(path.positions, weights=path.weights))
    (value,) = _quantities(path, [mean])
    return _rounded(path, Curve("constant", path.steps, value, value))


def _decay(path: Path, shape: str) -> Curve:
    first, last = _quantities(path, path.positions[[0, -1]])
    return _fitted(path, Curve(shape, path.steps, first, last))


def _step(path: Path) -> Curve:
    """Return the best single step. Its two values are means of positions, so no search is needed."""
    best = None
    for i in range(1, len(path.positions)):
        means = (
            float(np.average(path.positions[part], weights=path.weights[part]))
            for part in (slice(i), slice(i, None))
        )
        first, last = _quantities(path, means)
        curve = _rounded(path, Curve("step", path.steps, first, last, int(path.starts[i])))
        if best is None or squares(path, curve) < squares(path, best):
            best = curve
    assert best is not None
    return best


def _warm_up(path: Path) -> Iterator[Curve]:
    """Yield the best curve that rises at first and then decays, if the best one does."""
    n = len(path.positions)
    tried = sorted({int(i) for i in np.linspace(1, n - 2, min(n - 2, _CHANGES))})
    decays = [decay for decay in DECAYS if decay != "exponential" or _positive(path)]
    starts = []
    for i in tried:
        first, last, peak = _quantities(path, path.positions[[0, -1, i]])
        change = int(path.starts[i])
        starts += [
            Curve("warm-up", path.steps, first, last, change, peak, decay) for decay in decays
        ]

    starts.sort(key=lambda curve: squares(path, curve))
    fitted = [_fitted(path, curve) for curve in starts[:_REFINED]]
    best = min(fitted, key=lambda curve: squares(path, curve))
    # Of a mirrored quantity, the value rises as the quantity falls.
    sign = -1 if path.scale.mirrored else 1
    if sign * best.peak > sign * best.first and sign * best.peak > sign * best.last:
        yield best


def _fitted(path: Path, start: Curve) -> Curve:
    """Return a curve with the end points, and the peak, of the smallest sum of squares."""
    # It takes its time to load.
    from scipy.optimize import least_squares

    names = ["first", "last"] + (["peak"] if start.shape == "warm-up" else [])
    low = path.scale.low
    if "exponential" in (start.shape, start.decay):
        # A factor leads to no quantity of zero or below.
        low = max(low, float(path.scale.at(path.positions.min())) / 100)
    bounds = path.scale.position(np.array([low, path.scale.high]))
    roots = np.sqrt(path.weights)

    def curve(positions: Floats) -> Curve:
        quantities = dict(zip(names, _quantities(path, positions), strict=True))
        return replace(start, **quantities)  # type: ignore[arg-type]

    def errors(positions: Floats) -> Floats:
        found = path.scale.position(curve(positions)(path.middles))
        return np.asarray(roots * (found - path.positions), dtype=np.float64)

    # Strictly inside the bounds, as the method requires.
    inset = 1e-6 * (bounds[1] - bounds[0])
    begin = path.scale.position(np.array([getattr(start, name) for name in names]))
    found = least_squares(
        errors, np.clip(begin, bounds[0] + inset, bounds[1] - inset), bounds=tuple(bounds)
    )
    return _rounded(path, curve(found.x))


def _quantities(path: Path, positions: Iterable[float]) -> list[float]:
    return [float(each) for each in path.scale.at(np.array([*positions]))]


def _positive(path: Path) -> bool:
    return bool(path.scale.at(path.positions.min()) > 0)


def _rounded(path: Path, curve: Curve) -> Curve:
    """Return a curve with numbers of a few digits, in the range."""

    def short(quantity: float) -> float:
        inside = min(max(quantity, path.scale.low), path.scale.high)
        return min(max(float(f"{inside:.{_DIGITS}g}"), path.scale.low), path.scale.high)

    return replace(
        curve,
        first=short(curve.first),
        last=short(curve.last),
        peak=short(curve.peak) if curve.decay else 0.0,
    )
