"""Dimensions between two numbers: Uniform, LogUniform, OneMinus, Integer.

All are sampled from [low, high], or from `start`, two numbers within it; explore reaches [low, high].
"""
# ruff: noqa: D102  # their methods are documented once, in `popgrad.core.space.Dimension`

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.population import Change, Value
from popgrad.core.values import (
    boolean,
    clamp,
    draw_factor,
    from_unit,
    integer,
    number,
    set_bounds,
    spec_of,
    suffix,
    to_unit,
    within,
)


@dataclass(frozen=True, slots=True)
class Uniform:
    """A float, uniform in [low, high]. Perturbed by value * factor.

    A value nearer to zero than a hundredth of the range moves as if it were that hundredth, because
    zero times any factor is zero and the value could never leave.

    Example:
        >>> dropout = Uniform(0.0, 0.5)
        >>> dropout.perturb(np.random.default_rng(0), 0.25, factors=[0.8])
        (0.2, 0.8)
    """

    low: float
    high: float
    init_only: bool = False
    start: tuple[float, float] | None = field(default=None, kw_only=True)
    kind: ClassVar[str] = "uniform"
    scale: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        set_bounds(self, number)

    def sample(self, rng: np.random.Generator) -> float:
        low, high = self.start or (self.low, self.high)
        u = rng.random()
        return clamp((1 - u) * low + u * high, low, high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[float, Change]:
        x = number(value)
        return _move(
            x, draw_factor(rng, factors), self.low, self.high, _linear(x, self.low, self.high)
        )

    def clip(self, value: Value) -> float:
        return clamp(number(value), self.low, self.high)

    def encode(self, value: Value) -> float:
        return to_unit(self.clip(value), self.low, self.high)

    def decode(self, position: float) -> float:
        return from_unit(position, self.low, self.high)

    def check(self, value: Value) -> float:
        return within(self, number(value), self.low, self.high)

    def describe(self) -> str:
        return f"uniform {self.low}..{self.high}{suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float, log-uniform in [low, high], low above 0. Perturbed by value * factor.

    Example:
        >>> lr = LogUniform(1e-4, 1e-1)
        >>> lr.perturb(np.random.default_rng(0), 1e-2, factors=[1.25])
        (0.0125, 1.25)

        All members start with rates at which any network trains; explore may go further.

        >>> LogUniform(1e-6, 1.0, start=(1e-3, 1e-2)).describe()
        'log-uniform 1e-06..1.0, start 0.001..0.01'
    """

    low: float
    high: float
    init_only: bool = False
    start: tuple[float, float] | None = field(default=None, kw_only=True)
    kind: ClassVar[str] = "log_uniform"
    scale: ClassVar[str] = "log"

    def __post_init__(self) -> None:
        set_bounds(self, number)
        if self.low <= 0:
            raise UsageError(
                f"low: expected a number above 0, got {self.low}; to include 0 use uniform"
            )

    def sample(self, rng: np.random.Generator) -> float:
        low, high = self.start or (self.low, self.high)
        return clamp(_log_uniform(rng, low, high), low, high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[float, Change]:
        x = number(value)
        return _move(x, draw_factor(rng, factors), self.low, self.high, lambda f: x * f)

    def clip(self, value: Value) -> float:
        return clamp(number(value), self.low, self.high)

    def encode(self, value: Value) -> float:
        return to_unit(math.log(self.clip(value)), math.log(self.low), math.log(self.high))

    def decode(self, position: float) -> float:
        return from_unit(position, self.low, self.high, math.log, math.exp)

    def check(self, value: Value) -> float:
        return within(self, number(value), self.low, self.high)

    def describe(self) -> str:
        return f"log-uniform {self.low}..{self.high}{suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)


@dataclass(frozen=True, slots=True)
class OneMinus:
    """A float in [low, high], high below 1, explored by its distance to 1: a momentum, a discount.

    1 - x is log-uniform, and the factor multiplies it: 0.99 becomes 0.992 or 0.9875 by 0.8 or 1.25.

    Example:
        >>> momentum = OneMinus(0.5, 0.999)
        >>> momentum.perturb(np.random.default_rng(0), 0.99, factors=[0.8])
        (0.992, 0.8)
    """

    low: float
    high: float
    init_only: bool = False
    start: tuple[float, float] | None = field(default=None, kw_only=True)
    kind: ClassVar[str] = "one_minus"
    scale: ClassVar[str] = "one-minus"

    def __post_init__(self) -> None:
        set_bounds(self, number)
        if self.high >= 1:
            raise UsageError(f"high: expected a number below 1, for example 0.999, got {self.high}")

    def sample(self, rng: np.random.Generator) -> float:
        low, high = self.start or (self.low, self.high)
        return clamp(1 - _log_uniform(rng, 1 - high, 1 - low), low, high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[float, Change]:
        x = number(value)
        return _move(x, draw_factor(rng, factors), self.low, self.high, lambda f: 1 - (1 - x) * f)

    def clip(self, value: Value) -> float:
        return clamp(number(value), self.low, self.high)

    def encode(self, value: Value) -> float:
        return to_unit(*map(_closeness, (self.clip(value), self.low, self.high)))

    def decode(self, position: float) -> float:
        return from_unit(position, self.low, self.high, _closeness, lambda y: 1 - math.exp(-y))

    def check(self, value: Value) -> float:
        return within(self, number(value), self.low, self.high)

    def describe(self) -> str:
        return f"one-minus {self.low}..{self.high}{suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer in [low, high], both included; `log` makes it log-uniform (low at least 1).

    Perturbed by value * factor, rounded, and by at least 1 in the factor's direction.

    Example:
        >>> layers = Integer(1, 8)
        >>> layers.perturb(np.random.default_rng(0), 3, factors=[1.25])
        (4, 1.25)
    """

    low: int
    high: int
    log: bool = False
    init_only: bool = False
    start: tuple[int, int] | None = field(default=None, kw_only=True)
    kind: ClassVar[str] = "integer"

    def __post_init__(self) -> None:
        set_bounds(self, integer)
        boolean("log", self.log)
        if self.log and self.low < 1:
            raise UsageError(
                f"low: expected at least 1, got {self.low}; for a lower one set log = false"
            )

    @property
    def scale(self) -> str:
        return "log" if self.log else "linear"

    def sample(self, rng: np.random.Generator) -> int:
        low, high = self.start or (self.low, self.high)
        if not self.log:
            return int(rng.integers(low, high, endpoint=True))
        # Half a unit beyond each bound, so that the two ends get the share that rounding gives the
        # others.
        return clamp(round(_log_uniform(rng, low - 0.5, high + 0.5)), low, high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[int, Change]:
        x = integer(value)
        factor = draw_factor(rng, factors)
        move = (lambda f: x * f) if self.log else _linear(x, self.low, self.high)

        for f in (factor, 1 / factor):
            target = move(f)
            new = self._nearest(target)
            if new == x:
                # A factor near 1 must not leave a small integer as it is for ever.
                new = clamp(x + (1 if target > x else -1), self.low, self.high)
            if new != x:
                return new, f
        # Only a factor of 1 gets here, which `check_factors` refuses.
        return x, "kept"

    def _nearest(self, x: float) -> int:
        return round(clamp(x, float(self.low), float(self.high)))

    def clip(self, value: Value) -> int:
        return self._nearest(number(value))

    def encode(self, value: Value) -> float:
        x = self.clip(value)
        if not self.log:
            return to_unit(x, self.low, self.high)
        return to_unit(math.log(x), math.log(self.low), math.log(self.high))

    def decode(self, position: float) -> int:
        scale, back = (math.log, math.exp) if self.log else (float, float)
        return self._nearest(from_unit(position, self.low, self.high, scale, back))

    def check(self, value: Value) -> int:
        return within(self, integer(value), self.low, self.high)

    def describe(self) -> str:
        return f"{'log-' if self.log else ''}integer {self.low}..{self.high}{suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw log-uniformly from [low, high], up to rounding; low is above 0."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _closeness(x: float) -> float:
    """Return how close to 1 it is, in powers of e: it increases with x."""
    return -math.log(1 - x)


def _linear(x: float, low: float, high: float) -> Callable[[float], float]:
    """Return factor -> moved value: x * factor, but near zero as if x were a hundredth of the range.

    Zero times any factor is zero, and has to be left too.
    """
    least = high / 100 - low / 100
    if abs(x) >= least:
        return lambda f: x * f
    return lambda f: x + (f - 1) * math.copysign(least, x or 1.0)


def _move(
    x: float, factor: float, low: float, high: float, move: Callable[[float], float]
) -> tuple[float, Change]:
    """Apply the factor, or its inverse if the value is at the bound, and clip."""
    for f in (factor, 1 / factor):
        new = clamp(move(f), low, high)
        if new != x:
            return new, f

    # Less than the spacing of floats (at 1 - 1e-16, at 5e-324): the neighbouring float is a move,
    # too.
    return math.nextafter(x, high if x < high else low), factor
