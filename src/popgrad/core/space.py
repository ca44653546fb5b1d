"""What is searched: dimensions, each of which owns its rules (sample, perturb, clip, encode), and Space.

A value is always a plain Python number, string or boolean, never a NumPy scalar: it is written to JSON and
SQLite and read back as the same. Perturbation multiplies by a factor (Jaderberg et al. 2017); the dimension
decides what is multiplied, so that every value can move: 1 - x for a momentum, an integer by at least 1.
"""

import json
import re
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np

from popgrad.core.choices import Choice, Constant, Ordinal
from popgrad.core.errors import UsageError
from popgrad.core.population import Change, Hparams, Value
from popgrad.core.ranges import Integer, LogUniform, OneMinus, Uniform
from popgrad.core.seeding import Floats

__all__ = [
    "Space", "Dimension", "Uniform", "LogUniform", "OneMinus", "Integer", "Choice", "Ordinal", "Constant",
    "DIMENSIONS", "dimension",
]  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
        UsageError: Unknown kind, a field that is unknown, missing or not allowed; names it.
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
            raise UsageError(
                f"{what} field {', '.join(map(str, names))}; {kind} has {', '.join(allowed)}"
            )


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
                    f"hyperparameter name {name!r}: use letters, digits and underscores, no digit first"
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
        return np.array(
            [each.encode(hparams[name]) for name, each in self.items()], dtype=np.float64
        )

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
        return json.dumps(
            self.spec()
        )  # tells True from 1 and 1 from 1.0, which Python's == does not

    def __reduce__(self) -> tuple[type["Space"], tuple[dict[str, Dimension]]]:
        return Space, (dict(self.dimensions),)  # a mapping proxy cannot be pickled
