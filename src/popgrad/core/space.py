"""Search spaces: dimensions, each with its own rules (sample, perturb, clip, encode, decode), and Space.

A value is always a plain Python number, string or boolean, never a NumPy scalar: it is written to
JSON and SQLite and read back as the same. Perturbation multiplies by a factor (Jaderberg et al.
2017); the dimension decides what is multiplied, so that every value can move: 1 - x for a momentum,
an integer by at least 1.
"""

import json
import re
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np

from popgrad.core.choices import Choice, Constant, Ordinal
from popgrad.core.errors import UsageError
from popgrad.core.population import Change, Hparams, Value
from popgrad.core.ranges import Integer, LogUniform, OneMinus, Uniform
from popgrad.core.seeding import Floats
from popgrad.core.spelling import did_you_mean
from popgrad.core.values import is_number

__all__ = [
    "Space", "Dimension", "Uniform", "LogUniform", "OneMinus", "Integer", "Choice", "Ordinal", "Constant",
    "DIMENSIONS", "dimension",
]  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Dimension(Protocol):
    """Values of one hyperparameter and the rules to explore it. Frozen, hashable, plain JSON."""

    kind: ClassVar[str]

    @property
    def init_only(self) -> bool:
        """Whether it is sampled once, travels with the state and is never explored (a layer's width)."""

    @property
    def scale(self) -> str:
        """Axis to draw it on: "linear", "log", "one-minus" (log of 1 - x), "ordinal" or "category"."""

    def sample(self, rng: np.random.Generator) -> Value:
        """Draw a value from the prior: the range that members start in, `start` if it is given.

        The share of `rng` consumed depends on the dimension alone.
        """

    def perturb(
        self, rng: np.random.Generator, value: Value, factors: Sequence[float]
    ) -> tuple[Value, Change]:
        """Move a value; return the new one and its origin.

        The value stays the same only if the dimension has no other. A factor is drawn uniformly
        from `factors` (each above 0, not 1). At a bound the value bounces: the factor's inverse is
        applied, and the inverse is returned as the origin.
        """

    def clip(self, value: Value) -> Value:
        """Return the nearest value of the dimension; raise `UsageError` if its type has none."""

    def encode(self, value: Value) -> float:
        """Return the position in [0, 1] along `scale`; it increases with the value."""

    def decode(self, position: float) -> Value:
        """Return the value at a position in [0, 1] along `scale`, the inverse of `encode`.

        A position beyond an end is that end; between two options or integers, the nearest. Options
        and integers (of a range up to 2**40) come back from their own position as they were, floats
        up to rounding. Raise `UsageError` if the position is not a finite number.
        """

    def check(self, value: Value) -> Value:
        """Return the value in the dimension's own type; raise `UsageError` if it is not in it."""

    def describe(self) -> str:
        """Return words for people: "log-uniform 0.0001..0.1"."""

    def spec(self) -> dict[str, Any]:
        """Return plain JSON for `dimension`: {"kind": "log_uniform", "low": 0.0001, "high": 0.1}."""


DIMENSIONS: dict[str, type[Any]] = {
    cls.kind: cls for cls in (Uniform, LogUniform, OneMinus, Integer, Choice, Ordinal, Constant)
}
"""Classes of dimensions by kind, as `spec` writes it."""


def dimension(spec: Mapping[str, Any], where: str = "") -> Dimension:
    """Build the dimension that a spec describes: the inverse of `Dimension.spec`.

    Args:
        spec: "kind" (a key of `DIMENSIONS`) and the fields of that dimension.
        where: Key of the spec in its file, for messages: "space.lr".

    Raises:
        UsageError: The kind is unknown, or a field is unknown, missing or not allowed.
    """
    try:
        if not isinstance(spec, Mapping):
            raise UsageError(
                f'expected a mapping such as {{"kind": "uniform", "low": 0, "high": 1}}, got {spec!r}'
            )

        arguments = dict(spec)
        kind = arguments.pop("kind", None)
        cls = DIMENSIONS.get(kind) if isinstance(kind, str) else None
        if cls is None:
            similar = did_you_mean(kind, DIMENSIONS)
            raise UsageError(
                f"kind: expected one of {', '.join(DIMENSIONS)}, got {kind!r}{similar}"
            )

        _check_fields(kind, cls, arguments)
        built: Dimension = cls(**arguments)
        return built
    except UsageError as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from None


def _check_fields(kind: Any, cls: type[Any], arguments: Mapping[str, Any]) -> None:
    allowed = [field.name for field in fields(cls)]
    unknown = [name for name in arguments if name not in allowed]
    missing = [name for name in _required(cls) if name not in arguments]

    for fault, names in (("unknown", unknown), ("missing", missing)):
        if names:
            similar = did_you_mean(names[0], allowed) if fault == "unknown" else ""
            listed = ", ".join(map(str, names))
            raise UsageError(
                f"{fault} field {listed}{similar or f'; {kind} has ' + ', '.join(allowed)}"
            )


def _required(cls: type[Any]) -> list[str]:
    """Return the names of the fields that have no default."""
    return [field.name for field in fields(cls) if field.default is MISSING]


def _built(name: str, value: Any) -> Dimension:
    """Return the value of a space as a dimension.

    Raises:
        UsageError: It is neither a dimension nor a spec; the message names the dimension to write.
    """
    if isinstance(value, Mapping) and "kind" in value:
        return dimension(value, f"space.{name}")
    if isinstance(value, type) or not all(hasattr(value, part) for part in ("sample", "perturb")):
        raise UsageError(f"space.{name}: expected a dimension, got {value!r:.80}; {_cure(value)}")
    return value  # type: ignore[no-any-return]


def _cure(value: Any) -> str:
    """Return the dimension to write in place of a value that is none."""
    if isinstance(value, type) and value in DIMENSIONS.values():
        return f"give its values: {value.__name__}({', '.join(_required(value))})"
    if isinstance(value, Mapping):
        return "a space has no levels: give each hyperparameter a name of its own, such as head_lr"
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value)):
        return f"use Uniform({float(value[0])}, {float(value[1])}), or LogUniform for a rate"
    if isinstance(value, list | tuple | set | frozenset | range):
        return f"use Choice({list(value)!r:.80})"
    if isinstance(value, bool | int | float | str):
        return f"use Constant({value!r:.80})"
    return f"use one of {', '.join(cls.__name__ for cls in DIMENSIONS.values())}"


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """Named dimensions in a fixed order: read-only, picklable, and equal if all of these are.

    Attributes:
        dimensions: Dimensions, or their specs, by name. A name has letters, digits and underscores,
            and no digit first.

    Raises:
        UsageError: A name is not allowed, or a value is no dimension; the message names the one to
            write.

    Example:
        >>> from popgrad import Integer, LogUniform, Space
        >>> space = Space({"lr": LogUniform(1e-4, 1e-1), "width": Integer(16, 64, init_only=True)})
        >>> space.check({"width": 32, "lr": 0.01})
        {'lr': 0.01, 'width': 32}
        >>> space.encode({"lr": 1e-4, "width": 64})
        array([0., 1.])
        >>> space.decode([1.0, 0.5])
        {'lr': 0.1, 'width': 40}
        >>> list(space.sample(np.random.default_rng(0)))
        ['lr', 'width']
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        given: object = self.dimensions
        if not isinstance(given, Mapping):
            raise UsageError(f"space: expected dimensions by name, got {given!r:.80}")

        for name in given:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise UsageError(
                    "hyperparameter name: expected letters, digits and underscores, no digit first, "
                    f"got {name!r}"
                )
        built = {name: _built(name, value) for name, value in given.items()}
        object.__setattr__(self, "dimensions", MappingProxyType(built))

    def __repr__(self) -> str:
        return f"Space({dict(self.dimensions)!r})"

    @classmethod
    def from_spec(cls, spec: Mapping[str, Mapping[str, Any]], where: str = "space") -> "Space":
        """Build a space from plain JSON: the inverse of `spec`.

        Args:
            spec: Specs of dimensions by name.
            where: Key of the spec in its file, for messages.

        Raises:
            UsageError: A dimension cannot be built; the message names `where` and the dimension.
        """
        return cls({name: dimension(inner, f"{where}.{name}") for name, inner in spec.items()})

    def spec(self) -> dict[str, dict[str, Any]]:
        """Return plain JSON: the specs of the dimensions by name, in order."""
        return {name: dim.spec() for name, dim in self.items()}

    def with_(self, dimensions: Mapping[str, Dimension]) -> "Space":
        """Return a space with these in place of the ones of their name, and new ones at the end."""
        return Space({**self.dimensions, **dimensions})

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """Draw a value of each dimension, in the declared order."""
        return {name: dim.sample(rng) for name, dim in self.items()}

    def check(self, hparams: Mapping[str, Any], where: str = "hparams") -> dict[str, Value]:
        """Return the hyperparameters in declared order and in the dimensions' types.

        Args:
            hparams: Complete hyperparameters.
            where: Key of the hyperparameters in their file, for messages.

        Raises:
            UsageError: A name is missing or unknown, or a value is not in its dimension.
        """
        unknown = hparams.keys() - self
        missing = self.dimensions.keys() - hparams.keys()
        for fault, names in (("unknown", unknown), ("missing", missing)):
            if names:
                listed = ", ".join(sorted(map(str, names)))
                allowed = ", ".join(self) or "none"
                similar = did_you_mean(min(names, key=str), self) if fault == "unknown" else ""
                raise UsageError(
                    f"{where}: {fault} hyperparameter {listed}{similar or f'; has {allowed}'}"
                )

        checked = {}
        for name, dim in self.items():
            try:
                checked[name] = dim.check(hparams[name])
            except UsageError as error:
                raise UsageError(f"{where}.{name}: {error}") from None
        return checked

    def clip(self, hparams: Hparams) -> dict[str, Value]:
        """Return the nearest hyperparameters in the space, in declared order.

        Args:
            hparams: Complete hyperparameters.
        """
        return {name: dim.clip(hparams[name]) for name, dim in self.items()}

    def encode(self, hparams: Hparams) -> Floats:
        """Return [D] positions in [0, 1], in declared order."""
        return np.array([dim.encode(hparams[name]) for name, dim in self.items()], dtype=np.float64)

    def decode(self, positions: Sequence[float] | Floats) -> dict[str, Value]:
        """Return the hyperparameters at [D] positions in [0, 1]: the inverse of `encode`.

        Args:
            positions: [D] positions, in declared order; one beyond an end is that end.

        Raises:
            UsageError: There are not D positions, or one is not a finite number.
        """
        if len(positions) != len(self):
            raise UsageError(
                f"positions: expected {len(self)}, one for each dimension, got {len(positions)}"
            )

        hparams: dict[str, Value] = {}
        for (name, dim), position in zip(self.items(), positions, strict=True):
            try:
                hparams[name] = dim.decode(position)
            except UsageError as error:
                raise UsageError(f"positions: {name}: {error}") from None
        return hparams

    def items(self) -> ItemsView[str, Dimension]:
        """Return (name, dimension) pairs in declared order."""
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
        # JSON distinguishes True from 1 and 1 from 1.0; Python's == does not.
        return json.dumps(self.spec())

    def __reduce__(self) -> tuple[type["Space"], tuple[dict[str, Dimension]]]:
        # A mapping proxy cannot be pickled.
        return Space, (dict(self.dimensions),)
