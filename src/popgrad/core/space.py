"""What is searched: dimensions, each of which owns its rules (sample, perturb, clip, encode), and the Space of them.

A value is always a plain Python number, string or boolean, never a NumPy scalar: it is written to JSON and SQLite
and read back as the same. Perturbation multiplies by a factor (Jaderberg et al. 2017), and the dimension decides
what is multiplied, so that every value can move: 1 - x for a momentum, at least 1 for an integer, away from zero.
"""
# ruff: noqa: D102  # the methods of every dimension are documented once, in the protocol

import json
import math
import re
import sys
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.population import Change, Hparams, Value
from popgrad.core.seeding import Floats

EXACT = 2**53
"""Integers beyond it have no exact float, so bounds stay within."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_T = TypeVar("_T", int, float)


class Dimension(Protocol):
    """One hyperparameter's set of values and how it is explored. Frozen, hashable, made of JSON scalars."""

    kind: ClassVar[str]

    @property
    def init_only(self) -> bool:
        """Whether it is sampled once, travels with the state and is never explored (a layer's width)."""

    @property
    def scale(self) -> str:
        """The axis to draw it on: "linear", "log", "one-minus" (log of 1 - x), "ordinal" or "category"."""

    def sample(self, rng: np.random.Generator) -> Value:
        """A value from the prior. How much of `rng` is consumed depends on the dimension alone."""

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        """Another value of the dimension and what made it; the same value only where there is no other.

        A factor is drawn uniformly from `factors` (each above 0, not 1). At a bound the value bounces: the
        factor's inverse is applied, and it is the inverse that is reported.
        """

    def clip(self, value: Value) -> Value:
        """The nearest value of the dimension. Raises `UsageError` where nothing is near (another type)."""

    def encode(self, value: Value) -> float:
        """Position in [0, 1] along `scale`, for models and figures; increases with the value."""

    def check(self, value: Value) -> Value:
        """The value in the dimension's own type. Raises `UsageError` when it is not in the dimension."""

    def describe(self) -> str:
        """For people: "log-uniform 0.0001..0.1"."""

    def spec(self) -> dict[str, Any]:
        """Plain JSON, which `dimension` reads: {"kind": "log_uniform", "low": 0.0001, "high": 0.1}."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """A float, uniform in [low, high]. Perturbed by value * factor.

    A value nearer to zero than a hundredth of the range moves as if it were that hundredth, because zero times
    any factor is zero and the value could never leave.
    """

    low: float
    high: float
    init_only: bool = False
    kind: ClassVar[str] = "uniform"
    scale: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _set_bounds(self, _number)

    def sample(self, rng: np.random.Generator) -> float:
        u = rng.random()
        return _clip((1 - u) * self.low + u * self.high, self.low, self.high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[float, Change]:
        x = _number(value)
        return _move(x, _factor(rng, factors), self.low, self.high, _linear(x, self.low, self.high))

    def clip(self, value: Value) -> float:
        return _clip(_number(value), self.low, self.high)

    def encode(self, value: Value) -> float:
        return _fraction(self.clip(value), self.low, self.high)

    def check(self, value: Value) -> float:
        return _within(self, _number(value), self.low, self.high)

    def describe(self) -> str:
        return f"uniform {self.low}..{self.high}{_suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float, log-uniform in [low, high], low above 0. Perturbed by value * factor."""

    low: float
    high: float
    init_only: bool = False
    kind: ClassVar[str] = "log_uniform"
    scale: ClassVar[str] = "log"

    def __post_init__(self) -> None:
        _set_bounds(self, _number)
        if self.low <= 0:
            raise UsageError(f"low = {self.low}: a log-uniform needs low above 0 (use uniform to include 0)")

    def sample(self, rng: np.random.Generator) -> float:
        return _clip(_log_uniform(rng, self.low, self.high), self.low, self.high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[float, Change]:
        x = _number(value)
        return _move(x, _factor(rng, factors), self.low, self.high, lambda f: x * f)

    def clip(self, value: Value) -> float:
        return _clip(_number(value), self.low, self.high)

    def encode(self, value: Value) -> float:
        return _fraction(math.log(self.clip(value)), math.log(self.low), math.log(self.high))

    def check(self, value: Value) -> float:
        return _within(self, _number(value), self.low, self.high)

    def describe(self) -> str:
        return f"log-uniform {self.low}..{self.high}{_suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


@dataclass(frozen=True, slots=True)
class OneMinus:
    """A float in [low, high], high below 1, whose distance to 1 matters: momentum, discount, keep probability.

    1 - x is log-uniform, and is what the factor multiplies: 0.99 becomes 0.992 or 0.9875 by 0.8 or 1.25.
    """

    low: float
    high: float
    init_only: bool = False
    kind: ClassVar[str] = "one_minus"
    scale: ClassVar[str] = "one-minus"

    def __post_init__(self) -> None:
        _set_bounds(self, _number)
        if self.high >= 1:
            raise UsageError(f"high = {self.high}: a one-minus needs high below 1, for example 0.999")

    def sample(self, rng: np.random.Generator) -> float:
        return _clip(1 - _log_uniform(rng, 1 - self.high, 1 - self.low), self.low, self.high)

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[float, Change]:
        x = _number(value)
        return _move(x, _factor(rng, factors), self.low, self.high, lambda f: 1 - (1 - x) * f)

    def clip(self, value: Value) -> float:
        return _clip(_number(value), self.low, self.high)

    def encode(self, value: Value) -> float:
        return _fraction(*(-math.log(1 - x) for x in (self.clip(value), self.low, self.high)))

    def check(self, value: Value) -> float:
        return _within(self, _number(value), self.low, self.high)

    def describe(self) -> str:
        return f"one-minus {self.low}..{self.high}{_suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer in [low, high], both included; `log` makes it log-uniform (low at least 1).

    Perturbed by value * factor, rounded, and by at least 1 in the factor's direction.
    """

    low: int
    high: int
    log: bool = False
    init_only: bool = False
    kind: ClassVar[str] = "integer"

    def __post_init__(self) -> None:
        _set_bounds(self, _whole)
        _flag("log", self.log)
        if self.log and self.low < 1:
            raise UsageError(f"low = {self.low}: a log integer needs low of at least 1 (or log = false)")

    @property
    def scale(self) -> str:
        return "log" if self.log else "linear"

    def sample(self, rng: np.random.Generator) -> int:
        if not self.log:
            return int(rng.integers(self.low, self.high, endpoint=True))
        # Half a unit beyond each bound, so that the two ends get the share that rounding gives the others.
        return self._nearest(_log_uniform(rng, self.low - 0.5, self.high + 0.5))

    def perturb(self, rng: np.random.Generator, value: Value, factors: Sequence[float]) -> tuple[int, Change]:
        x, factor = _whole(value), _factor(rng, factors)
        move = (lambda f: x * f) if self.log else _linear(x, self.low, self.high)
        for f in (factor, 1 / factor):
            target = move(f)
            near = self._nearest(target)
            new = near if near != x else _clip(x + (1 if target > x else -1), self.low, self.high)
            if new != x:
                return new, f
        return x, "kept"  # only a factor of 1, which `check_factors` refuses, gets here

    def _nearest(self, x: float) -> int:
        return round(_clip(x, float(self.low), float(self.high)))

    def clip(self, value: Value) -> int:
        return self._nearest(_number(value))

    def encode(self, value: Value) -> float:
        x = self.clip(value)
        if not self.log:
            return _fraction(x, self.low, self.high)
        return _fraction(math.log(x), math.log(self.low), math.log(self.high))

    def check(self, value: Value) -> int:
        return _within(self, _whole(value), self.low, self.high)

    def describe(self) -> str:
        return f"{'log-' if self.log else ''}integer {self.low}..{self.high}{_suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several options without an order. Perturbed by drawing another option, uniformly."""

    options: tuple[Value, ...]
    init_only: bool = False
    kind: ClassVar[str] = "choice"
    scale: ClassVar[str] = "category"

    def __post_init__(self) -> None:
        _set_options(self)

    def sample(self, rng: np.random.Generator) -> Value:
        return self.options[int(rng.integers(len(self.options)))]

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        here = _position(self, self.options, value)
        if len(self.options) == 1:
            return self.options[0], "kept"
        other = int(rng.integers(len(self.options) - 1))
        return self.options[other + (other >= here)], "resampled"

    def clip(self, value: Value) -> Value:
        return self.check(value)

    def encode(self, value: Value) -> float:
        return _fraction(_position(self, self.options, value), 0, len(self.options) - 1)

    def check(self, value: Value) -> Value:
        return self.options[_position(self, self.options, value)]

    def describe(self) -> str:
        return f"one of {', '.join(map(str, self.options))}{_suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


@dataclass(frozen=True, slots=True)
class Ordinal:
    """One of several options in a meaningful order. A factor above 1 moves to the next, below 1 to the previous."""

    options: tuple[Value, ...]
    init_only: bool = False
    kind: ClassVar[str] = "ordinal"
    scale: ClassVar[str] = "ordinal"

    def __post_init__(self) -> None:
        _set_options(self)

    def sample(self, rng: np.random.Generator) -> Value:
        return self.options[int(rng.integers(len(self.options)))]

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        here, last = _position(self, self.options, value), len(self.options) - 1
        up = _factor(rng, factors) > 1
        if last == 0:
            return self.options[0], "kept"
        if here == (last if up else 0):
            up = not up
        return (self.options[here + 1], "next") if up else (self.options[here - 1], "previous")

    def clip(self, value: Value) -> Value:
        if not all(_is_number(option) for option in self.options):
            return self.check(value)
        x = _number(value)
        return min(self.options, key=lambda option: abs(float(option) - x))

    def encode(self, value: Value) -> float:
        return _fraction(_position(self, self.options, value), 0, len(self.options) - 1)

    def check(self, value: Value) -> Value:
        return self.options[_position(self, self.options, value)]

    def describe(self) -> str:
        return f"in order {', '.join(map(str, self.options))}{_suffix(self)}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


@dataclass(frozen=True, slots=True)
class Constant:
    """One value that is written before every segment like any other, and never explored."""

    value: Value
    kind: ClassVar[str] = "constant"
    scale: ClassVar[str] = "category"
    init_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _scalar("value", self.value))

    def sample(self, rng: np.random.Generator) -> Value:  # noqa: ARG002  # nothing to draw
        return self.value

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        return self.value, "inherited"

    def clip(self, value: Value) -> Value:
        return self.value

    def encode(self, value: Value) -> float:
        return 0.0

    def check(self, value: Value) -> Value:
        _position(self, (self.value,), value)
        return self.value

    def describe(self) -> str:
        return f"constant {self.value}"

    def spec(self) -> dict[str, Any]:
        return _spec(self)


DIMENSIONS: dict[str, type[Any]] = {
    each.kind: each for each in (Uniform, LogUniform, OneMinus, Integer, Choice, Ordinal, Constant)
}
"""Every dimension by its kind, as `spec` writes it."""


def dimension(spec: Mapping[str, Any], where: str = "") -> Dimension:
    """The dimension that a spec describes, the inverse of `Dimension.spec`.

    Args:
        spec: "kind" (a key of `DIMENSIONS`) and the fields of that dimension.
        where: What the spec was read from, for messages: "space.lr".

    Raises:
        UsageError: Unknown kind, a field that is unknown, missing or not allowed; names `where` and the field.
    """
    try:
        if not isinstance(spec, Mapping):
            raise UsageError(
                f'given {spec!r}, needs a table such as {{"kind": "uniform", "low": 0, "high": 1}}'
            )
        given = dict(spec)
        kind = given.pop("kind", None)
        cls = DIMENSIONS.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise UsageError(f"kind = {kind!r} is not known; use one of {', '.join(DIMENSIONS)}")
        _check_fields(kind, cls, given)
        made: Dimension = cls(**given)
        return made
    except UsageError as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from None


def _check_fields(kind: Any, cls: type[Any], given: Mapping[str, Any]) -> None:
    allowed = [field.name for field in fields(cls)]
    optional = {"init_only", "log"}
    unknown = [name for name in given if name not in allowed]
    missing = [name for name in allowed if name not in given and name not in optional]
    for what, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise UsageError(f"{what} field {', '.join(map(str, names))}; {kind} has {', '.join(allowed)}")


@dataclass(frozen=True, eq=False)
class Space:
    """Named dimensions in a fixed order. Read-only, picklable; equal when names, order and dimensions are.

    Attributes:
        dimensions: Name -> dimension. Names are made of letters, digits and underscores, as in Python.
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        for name in self.dimensions:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise UsageError(
                    f"hyperparameter name {name!r}: use letters, digits and underscores, not starting with a digit"
                )
        object.__setattr__(self, "dimensions", MappingProxyType(dict(self.dimensions)))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Mapping[str, Any]], where: str = "space") -> "Space":
        """The inverse of `spec`. Raises `UsageError` that names `where` and the dimension."""
        return cls({name: dimension(each, f"{where}.{name}") for name, each in spec.items()})

    def spec(self) -> dict[str, dict[str, Any]]:
        """Plain JSON: name -> the dimension's spec, in order."""
        return {name: each.spec() for name, each in self.items()}

    def with_(self, dimensions: Mapping[str, Dimension]) -> "Space":
        """A space in which these replace the ones of their name; new ones are added at the end."""
        return Space({**self.dimensions, **dimensions})

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """A value of each dimension, drawn in the declared order."""
        return {name: each.sample(rng) for name, each in self.items()}

    def check(self, hparams: Mapping[str, Any], where: str = "hparams") -> dict[str, Value]:
        """The same hyperparameters in declared order and in the dimensions' types.

        Raises:
            UsageError: A name is missing or unknown, or a value is not in its dimension.
        """
        for what, names in (
            ("unknown", hparams.keys() - self),
            ("missing", self.dimensions.keys() - hparams.keys()),
        ):
            if names:
                allowed = ", ".join(self) or "none"
                raise UsageError(
                    f"{where}: {what} hyperparameter {', '.join(sorted(map(str, names)))}; has {allowed}"
                )
        checked = {}
        for name, each in self.items():
            try:
                checked[name] = each.check(hparams[name])
            except UsageError as error:
                raise UsageError(f"{where}.{name}: {error}") from None
        return checked

    def clip(self, hparams: Hparams) -> dict[str, Value]:
        """The nearest hyperparameters in the space, in declared order; `hparams` has to be complete."""
        return {name: each.clip(hparams[name]) for name, each in self.items()}

    def encode(self, hparams: Hparams) -> Floats:
        """[D] positions in [0, 1], in declared order."""
        return np.array([each.encode(hparams[name]) for name, each in self.items()], dtype=np.float64)

    def items(self) -> ItemsView[str, Dimension]:
        """(name, dimension) in declared order."""
        return self.dimensions.items()

    def __getitem__(self, name: str) -> Dimension:
        return self.dimensions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    def __contains__(self, name: object) -> bool:
        return name in self.dimensions

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Space) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> str:
        return json.dumps(self.spec())  # tells True from 1 and 1 from 1.0, which Python's == does not

    def __reduce__(self) -> tuple[type["Space"], tuple[dict[str, Dimension]]]:
        return Space, (dict(self.dimensions),)  # a mapping proxy cannot be pickled


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _number(value: Any) -> float:
    """A finite float, or UsageError."""
    if not _is_number(value) or abs(value) > sys.float_info.max or value != value:
        raise UsageError(f"given {value!r} ({type(value).__name__}), needs a finite number")
    return float(value)


def _whole(value: Any) -> int:
    """An integer of at most 2**53, or UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or abs(int(value)) > EXACT:
        raise UsageError(f"given {value!r} ({type(value).__name__}), needs an integer within +-2**53")
    return int(value)


def _scalar(name: str, value: Any) -> Value:
    """A plain JSON scalar, or UsageError."""
    plain = value.item() if isinstance(value, np.generic) else value
    if type(plain) not in (bool, int, float, str) or (type(plain) is float and not math.isfinite(plain)):
        raise UsageError(f"{name} = {value!r}: needs a string, a boolean or a finite number")
    return plain  # type: ignore[no-any-return]


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} = {value!r}: needs true or false")


def _set_bounds(self: Any, number: Callable[[Any], int] | Callable[[Any], float]) -> None:
    """Check a range and keep its bounds in their own type (frozen, hence object.__setattr__)."""
    for name in ("low", "high"):
        try:
            object.__setattr__(self, name, number(getattr(self, name)))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    if self.low >= self.high:
        raise UsageError(
            f"low = {self.low}, high = {self.high}: low has to be below high (or use a constant)"
        )
    _flag("init_only", self.init_only)


def _set_options(self: Any) -> None:
    """Check the options and keep them as a tuple of plain scalars."""
    if isinstance(self.options, str) or not isinstance(self.options, Sequence) or not self.options:
        raise UsageError(f"options = {self.options!r}: needs a list with at least one option")
    options = tuple(_scalar("options", option) for option in self.options)
    if len({(type(option), option) for option in options}) < len(options):
        raise UsageError(f"options = {list(options)}: each option may appear once")
    object.__setattr__(self, "options", options)
    _flag("init_only", self.init_only)


def _position(self: Dimension, options: tuple[Value, ...], value: Any) -> int:
    """Where `value` is among the options: of its own type first (True is not 1), else an equal number."""
    plain = value.item() if isinstance(value, np.generic) else value
    for i, option in enumerate(options):
        if type(option) is type(plain) and option == plain:
            return i
    for i, option in enumerate(options):
        if _is_number(option) and _is_number(plain) and option == plain:
            return i
    raise UsageError(f"given {value!r} ({type(value).__name__}), allowed is {self.describe()}")


def _within(self: Dimension, value: _T, low: _T, high: _T) -> _T:
    if low <= value <= high:
        return value
    raise UsageError(f"given {value!r}, allowed is {self.describe()}")


def _spec(self: Any) -> dict[str, Any]:
    """Kind and fields; flags that are off are left out."""
    given = {field.name: getattr(self, field.name) for field in fields(self)}
    flags = {name for name in ("init_only", "log") if given.get(name) is False}
    plain = {name: list(each) if isinstance(each, tuple) else each for name, each in given.items()}
    return {"kind": self.kind} | {name: each for name, each in plain.items() if name not in flags}


def _suffix(self: Dimension) -> str:
    return ", init-only" if self.init_only else ""


def _clip(x: _T, low: _T, high: _T) -> _T:
    return min(max(x, low), high)


def _fraction(x: float, low: float, high: float) -> float:
    """Where x is in [low, high], 0 to 1; 0 where the two ends are one number. Halved against overflow."""
    width = high / 2 - low / 2
    return _clip((x / 2 - low / 2) / width, 0.0, 1.0) if width > 0 else 0.0


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _factor(rng: np.random.Generator, factors: Sequence[float]) -> float:
    return float(factors[int(rng.integers(len(factors)))])


def _linear(x: float, low: float, high: float) -> Callable[[float], float]:
    """By x * factor, but near zero as if x were a hundredth of the range, because zero has to be left too."""
    least = high / 100 - low / 100
    if abs(x) >= least:
        return lambda f: x * f
    return lambda f: x + (f - 1) * math.copysign(least, x or 1.0)


def _move(
    x: float, factor: float, low: float, high: float, move: Callable[[float], float]
) -> tuple[float, Change]:
    """Apply the factor, or its inverse when the value sits at the bound, and clip."""
    for f in (factor, 1 / factor):
        new = _clip(move(f), low, high)
        if new != x:
            return new, f
    # The step is below the spacing of floats here (1 - 1e-16, 5e-324): the neighbouring float is a move, too.
    return math.nextafter(x, high if x < high else low), factor
