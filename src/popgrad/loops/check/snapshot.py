"""Snapshots of a loop's variables at a boundary, and what differs between two of them."""

import inspect
import types
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from popgrad.loops.check.noise import is_noise, is_noisy_object, only_shared
from popgrad.loops.frames import Variables
from popgrad.loops.kinds.generator import GENERATORS, GeneratorPart
from popgrad.loops.kinds.stateful import Stateful
from popgrad.loops.live import LiveLoop
from popgrad.loops.owned import owned_by_tracked
from popgrad.loops.plain import to_plain
from popgrad.loops.scan import Untracked, find_untracked, iterates_data, untracked_objects
from popgrad.loops.walk import is_own_object
from popgrad.state import digest
from popgrad.tasks.tensors import state_tensors

_DEPTH = 5
_MOST = 20_000
"""Values that a snapshot holds at most."""

_LONGEST = 100
"""Entries of a container that are compared one by one."""

_LARGEST = 1 << 26
"""Bytes of a tensor that are hashed."""

_SHOWN = 6
"""Variables that a finding names."""

_PLAIN = (bool, int, float, str, type(None), np.generic)


@dataclass(frozen=True)
class Snapshot:
    """Variables of a loop at a boundary.

    Attributes:
        values: Plain values by path; `_Hash` of tensors, `_Class` of other objects.
        objects: Digests of untracked objects with a state, and of tensors, by path; with their classes.
        untracked: Objects that training is bound to change.
        iterators: Unfinished iterators by path.
    """

    values: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, tuple[str, str]] = field(default_factory=dict)
    untracked: list[Untracked] = field(default_factory=list)
    iterators: dict[str, "_Iterator"] = field(default_factory=dict)


@dataclass(frozen=True)
class _Hash:
    """Digest of a tensor or an array."""

    text: str


@dataclass(frozen=True)
class _Class:
    """Name of the class of an object, which may take the place of None."""

    name: str


@dataclass(frozen=True)
class _Iterator:
    """An unfinished iterator, without a reference to it."""

    type: str
    reference: Any
    started: bool

    def is_same(self, other: "_Iterator") -> bool:
        """Whether both are one object, which still exists."""
        own, others = self.reference(), other.reference()
        return own is not None and own is others


def take_snapshot(live: LiveLoop, variables: Variables) -> Snapshot:
    """Return a snapshot, which keeps no object alive.

    Args:
        live: Objects of the loop.
        variables: Variables of the loop.
    """
    objects = untracked_objects(live, variables)
    return Snapshot(
        dict(_plain_values(live, variables)),
        dict(_digests(objects)),
        find_untracked(live, variables),
        dict(_iterators(objects)),
    )


def differing_values(some: Snapshot, other: Snapshot) -> list[str]:
    """Return the variables that differ between two loops, such as "counter: 16 / 0", the plainest first.

    Args:
        some: Snapshot of a loop.
        other: Snapshot of another call of the same function, which has the same variables.
    """
    unequal = [
        path
        for path in only_shared(some.values, other.values)
        if not _equal(some.values[path], other.values[path])
    ]
    unequal.sort(key=lambda path: (_is_private(path), _rank(some.values[path])))
    shown = [f"{path}: {_pair(some.values[path], other.values[path])}" for path in unequal[:_SHOWN]]
    return [*shown, *([f"and {len(unequal) - _SHOWN} more"] if len(unequal) > _SHOWN else [])]


def differing_objects(pairs: Sequence[tuple[Snapshot, Snapshot]]) -> dict[str, str]:
    """Return the untracked objects that differ in each pair of snapshots, with their classes."""
    found: dict[str, str] = {}
    for path, (kind, _) in pairs[0][0].objects.items():
        marks = [(some.objects.get(path), other.objects.get(path)) for some, other in pairs]
        if all(None not in pair and pair[0] != pair[1] for pair in marks):
            found[path] = kind
    return found


def kept_iterators(before: Snapshot, after: Snapshot) -> dict[str, str]:
    """Return the iterators that continue behind a boundary, with their classes.

    Args:
        before: Snapshot at a boundary.
        after: Snapshot at a later boundary of the same loop.
    """
    return {
        path: iterator.type
        for path, iterator in after.iterators.items()
        if iterator.started
        and path in before.iterators
        and iterator.is_same(before.iterators[path])
    }


# --- plain values ---------------------------------------------------------------------------------


def _plain_values(live: LiveLoop, variables: Variables) -> Iterator[tuple[str, Any]]:
    """Yield plain values below the variables, by path: what no state holds."""
    owned = owned_by_tracked(live.objects.objects)
    known = {id(live.values)}
    level = list(variables.items())
    count = 0

    for _ in range(_DEPTH + 1):
        following: list[tuple[str, Any]] = []
        for path, value in level:
            is_plain = isinstance(value, _PLAIN)
            if (not is_plain and id(value) in known) or count > _MOST or is_noise(path, value):
                continue

            count += 1
            if is_plain:
                yield path, value.item() if isinstance(value, np.generic) else value
                continue

            known.add(id(value))
            is_held = id(value) in owned and not isinstance(value, nn.Module | list | tuple | dict)
            if is_held or is_own_object(value) or is_noisy_object(value):
                continue
            yield from _described(path, value)
            following += _children(path, value)
        level = following


def _described(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is compared of an object itself."""
    if isinstance(value, torch.Tensor | np.ndarray):
        if value.nbytes <= _LARGEST and _is_numeric(value):
            yield path, _Hash(_hash(value))
    elif isinstance(value, list | deque | set | dict):
        yield f"len({path})", len(value)
    elif not isinstance(value, types.FunctionType | type | types.ModuleType | tuple):
        yield path, _Class(type(value).__name__)


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if len(value) <= _LONGEST:
            yield from ((f"{path}[{key!r}]", item) for key, item in [*value.items()])
    elif isinstance(value, list | tuple | deque):
        if len(value) <= _LONGEST:
            yield from ((f"{path}[{i}]", item) for i, item in enumerate([*value]))
    elif isinstance(value, nn.Module):
        own = {name: item for name, item in vars(value).items() if not name.startswith("_")}
        own.pop("training", None)  # in the state
        yield from (
            (f"{path}.{name}", item) for name, item in [*own.items(), *value.named_children()]
        )
    elif not isinstance(
        value, torch.Tensor | np.ndarray | types.FunctionType | type | types.ModuleType
    ):
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            yield from ((f"{path}.{name}", item) for name, item in [*attributes.items()])


def _equal(some: Any, other: Any) -> bool:
    return type(some) is type(other) and (some == other or repr(some) == repr(other))


def _rank(value: Any) -> int:
    kinds: tuple[tuple[type, ...], ...] = ((bool, int), (float,), (type(None), _Class), (str,))
    return next((rank for rank, kind in enumerate(kinds) if isinstance(value, kind)), len(kinds))


def _is_private(path: str) -> bool:
    return "._" in path


def _pair(some: Any, other: Any) -> str:
    if isinstance(some, _Hash):
        return "other values"
    return f"{_word(some)} / {_word(other)}"


def _word(value: Any) -> str:
    if isinstance(value, _Class):
        return value.name
    return f"{value:.6g}" if isinstance(value, float) else f"{value!r:.40}"


# --- objects with a state -------------------------------------------------------------------------


def _digests(objects: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield class and digest of each object with a state; tensors of a container are one object."""
    holders: dict[str, list[Any]] = {}
    for path, each in objects:
        if isinstance(each, torch.Tensor | np.ndarray):
            # The container of an average of weights: "ema" of "ema['0.weight']".
            holder = path.rpartition("[")[0] if path.endswith("]") else path
            holders.setdefault(holder, []).append(each)
            continue
        try:
            found = _digest(each)
        except Exception:
            # A library's state may hold anything, and raise anything.
            continue
        if found is not None:
            yield path, (type(each).__name__, found)
    for path, tensors in holders.items():
        if sum(each.nbytes for each in tensors) <= _LARGEST and all(map(_is_numeric, tensors)):
            kind = type(tensors[0]).__name__
            yield path, (kind, repr([_hash(each) for each in tensors]))


def _digest(value: Any) -> str | None:
    if isinstance(value, nn.Module):
        return digest(dict(state_tensors(value, {})))
    if isinstance(value, GENERATORS):
        return digest(GeneratorPart("", value).capture({}))
    if isinstance(value, Stateful) and not is_noisy_object(value):
        return digest(to_plain(value.state_dict(), ""))
    return None


def _is_numeric(value: Any) -> bool:
    return not isinstance(value, np.ndarray) or value.dtype != object


def _hash(value: Any) -> str:
    try:
        return digest(value)
    except Exception:
        return f"{type(value).__name__} {list(value.shape)}"


# --- iterators ------------------------------------------------------------------------------------


def _iterators(objects: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, _Iterator]]:
    for path, each in objects:
        started = True
        if isinstance(each, types.GeneratorType):
            started = inspect.getgeneratorstate(each) == inspect.GEN_SUSPENDED
        elif not iterates_data(each) and not isinstance(each, map | zip | filter | enumerate):
            continue
        yield path, _Iterator(type(each).__name__, _reference(each), started)


def _reference(value: Any) -> Any:
    """Return a function that returns an object as long as it exists; its number if it has no weak ones."""
    try:
        return weakref.ref(value)
    except TypeError:
        number = id(value)
        return lambda: number
