"""Dimensions that list their values: Choice, Ordinal, Constant.

The first two are sampled from all options, or from `start`, some of them; explore reaches all.
"""
# ruff: noqa: D102, ARG002 # documented once, in `popgrad.core.space.Dimension`; a constant uses no
# argument

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from popgrad.core.population import Change, Value
from popgrad.core.values import (
    draw_factor,
    find_option,
    from_unit,
    is_number,
    number,
    scalar,
    set_options,
    spec_of,
    suffix,
    to_unit,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several options without an order. Perturbed by drawing another option, uniformly.

    Example:
        >>> activation = Choice(("relu", "tanh"))
        >>> activation.perturb(np.random.default_rng(0), "relu", factors=[0.8, 1.25])
        ('tanh', 'resampled')
    """

    options: tuple[Value, ...]
    init_only: bool = False
    start: tuple[Value, ...] | None = field(default=None, kw_only=True)
    kind: ClassVar[str] = "choice"
    scale: ClassVar[str] = "category"

    def __post_init__(self) -> None:
        set_options(self)

    def sample(self, rng: np.random.Generator) -> Value:
        options = self.start or self.options
        return options[int(rng.integers(len(options)))]

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        here = find_option(self, self.options, value)
        if len(self.options) == 1:
            return self.options[0], "kept"

        other = int(rng.integers(len(self.options) - 1))
        return self.options[other + (other >= here)], "resampled"

    def clip(self, value: Value) -> Value:
        return self.check(value)

    def encode(self, value: Value) -> float:
        return to_unit(find_option(self, self.options, value), 0, len(self.options) - 1)

    def decode(self, position: float) -> Value:
        return self.options[round(from_unit(position, 0, len(self.options) - 1))]

    def check(self, value: Value) -> Value:
        return self.options[find_option(self, self.options, value)]

    def describe(self) -> str:
        return f"one of {', '.join(map(str, self.options))}{suffix(self, ', ')}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)


@dataclass(frozen=True, slots=True)
class Ordinal:
    """One of several options in a meaningful order. A factor above 1 moves to the next, else back.

    Example:
        >>> width = Ordinal((16, 32, 64))
        >>> width.perturb(np.random.default_rng(0), 32, factors=[1.25])
        (64, 'next')
    """

    options: tuple[Value, ...]
    init_only: bool = False
    start: tuple[Value, ...] | None = field(default=None, kw_only=True)
    kind: ClassVar[str] = "ordinal"
    scale: ClassVar[str] = "ordinal"

    def __post_init__(self) -> None:
        set_options(self)

    def sample(self, rng: np.random.Generator) -> Value:
        options = self.start or self.options
        return options[int(rng.integers(len(options)))]

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        here = find_option(self, self.options, value)
        last = len(self.options) - 1
        up = draw_factor(rng, factors) > 1
        if last == 0:
            return self.options[0], "kept"

        # At either end of the range it turns back.
        if here == (last if up else 0):
            up = not up
        return (self.options[here + 1], "next") if up else (self.options[here - 1], "previous")

    def clip(self, value: Value) -> Value:
        if not all(is_number(option) for option in self.options):
            return self.check(value)
        x = number(value)
        return min(self.options, key=lambda option: abs(float(option) - x))

    def encode(self, value: Value) -> float:
        return to_unit(find_option(self, self.options, value), 0, len(self.options) - 1)

    def decode(self, position: float) -> Value:
        return self.options[round(from_unit(position, 0, len(self.options) - 1))]

    def check(self, value: Value) -> Value:
        return self.options[find_option(self, self.options, value)]

    def describe(self) -> str:
        return f"in order {', '.join(map(str, self.options))}{suffix(self, ', ')}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)


@dataclass(frozen=True, slots=True)
class Constant:
    """One value that is written before every segment like any other, and never explored.

    Example:
        >>> weight_decay = Constant(1e-5)
        >>> weight_decay.perturb(np.random.default_rng(0), 1e-5, factors=[0.8, 1.25])
        (1e-05, 'inherited')
    """

    value: Value
    kind: ClassVar[str] = "constant"
    scale: ClassVar[str] = "category"
    init_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", scalar("value", self.value))

    def sample(self, rng: np.random.Generator) -> Value:  # nothing to draw
        return self.value

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        return self.value, "inherited"

    def clip(self, value: Value) -> Value:
        return self.value

    def encode(self, value: Value) -> float:
        return 0.0

    def decode(self, position: float) -> Value:
        number(position)
        return self.value

    def check(self, value: Value) -> Value:
        find_option(self, (self.value,), value)
        return self.value

    def describe(self) -> str:
        return f"constant {self.value}"

    def spec(self) -> dict[str, Any]:
        return spec_of(self)
