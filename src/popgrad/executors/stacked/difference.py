"""Differences between a stacked step and the same step of a member alone, beyond rounding."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from popgrad.state import State

_MOVED = 4096
"""Roundings, of the weights' dtype, by which the weights of a neighbour are moved. It is far above
the rounding of a step, so that all that rounding decides, such as the side of zero of an activation,
is decided otherwise for more elements in the neighbour than in the stack."""

_MOST_MOVED = 0.01
"""Most by which a weight is moved, as a share of it: half precision has few digits."""

_FACTOR = 8.0
"""Times the neighbour's difference that a difference may have."""

_ROUNDINGS = 64.0
"""Roundings of the largest number of its kind that a difference may always have."""

_Number = torch.Tensor | float | int

Leaves = dict[tuple[Any, ...], Any]


@dataclass(frozen=True)
class StepStates:
    """States of a member alone: before and after a segment.

    The neighbour's weights are moved by a little. How far it ends from the member is the measure of
    what rounding can do: gradients that are nothing but rounding, which Adam scales up to steps, are
    different in both.

    Attributes:
        start: State before.
        end: State after.
        moved_start: State of the neighbour before.
        moved_end: State of the neighbour after.
    """

    start: State
    end: State
    moved_start: State
    moved_end: State


def moved(state: State) -> State:
    """Return a state whose weights differ from the given ones by many roundings, and by little."""
    generator = torch.Generator().manual_seed(0)

    def move(x: torch.Tensor) -> torch.Tensor:
        if not x.is_floating_point() and not x.is_complex():
            return x
        share = min(_MOVED * torch.finfo(x.dtype).eps, _MOST_MOVED)
        noise = torch.rand(x.shape, generator=generator, dtype=torch.float64).mul_(2.0).sub_(1.0)
        return (x.cpu() * (1.0 + share * noise)).to(x.dtype)

    return {**state, "model": {name: move(x) for name, x in state["model"].items()}}


def find_difference(
    stacked: State, alone: StepStates, names: Mapping[tuple[str, int], str]
) -> str | None:
    """Return the first difference of a stacked state in words, with its size; None = only rounding.

    Args:
        stacked: State after the segment in the stack.
        alone: States of the member alone.
        names: Name of each optimized parameter, by optimizer and index.
    """
    ours = dict(_leaves(stacked))
    theirs = dict(_leaves(alone.end))
    for path in [*theirs, *ours]:
        if path not in ours or path not in theirs:
            where = "alone" if path in theirs else "in a stack"
            return f"{_label(path, names)} is only kept {where}"
        if not isinstance(theirs[path], _Number) and ours[path] != theirs[path]:
            return f"{_label(path, names)} is {ours[path]!r}, not {theirs[path]!r}"

    changes = _changes(ours, alone.start)
    expected = _changes(theirs, alone.start)
    neighbours = _changes(dict(_leaves(alone.moved_end)), alone.moved_start)
    largest: dict[object, float] = {}
    for path, change in expected.items():
        kind = _kind(path)
        largest[kind] = max(largest.get(kind, 0.0), _norm(change))

    for path, change in expected.items():
        eps = _eps(theirs[path])
        tolerance = Tolerance(
            noise=_norm(neighbours.get(path, change) - change),
            rounding=eps * (_norm(_double(theirs[path])) + largest[_kind(path)]),
        )
        difference = tolerance.compare_tensors(_label(path, names), changes[path], change)
        if difference is not None:
            return difference
    return None


@dataclass(frozen=True)
class Tolerance:
    """Difference that rounding explains.

    Attributes:
        noise: Norm of the difference to the neighbour.
        rounding: One rounding of the largest number of its kind.
    """

    noise: float
    rounding: float

    @classmethod
    def of_numbers(cls, alone: Sequence[float], neighbour: Sequence[float]) -> "Tolerance":
        """Return the tolerance of numbers that were computed in float32."""
        pairs = zip(alone, neighbour, strict=True)
        noise = max((abs(one - other) for one, other in pairs), default=0.0)
        eps = torch.finfo(torch.float32).eps
        return cls(noise, eps * max(map(abs, alone), default=0.0))

    def compare(self, label: str, ours: Sequence[float], theirs: Sequence[float]) -> str | None:
        """Return the difference of numbers in words; None = rounding."""
        some = torch.tensor(ours, dtype=torch.float64)
        others = torch.tensor(theirs, dtype=torch.float64)
        if some.shape == others.shape and some.equal(others):
            return None
        return self.compare_tensors(label, some, others)

    def compare_tensors(self, label: str, ours: torch.Tensor, theirs: torch.Tensor) -> str | None:
        """Return the difference of tensors in words; None = rounding."""
        if ours.shape != theirs.shape:
            return f"{label} has shape {list(ours.shape)}, not {list(theirs.shape)}"
        off = torch.where(ours.isnan() & theirs.isnan(), 0.0, ours - theirs)
        allowed = _FACTOR * self.noise + _ROUNDINGS * self.rounding
        if math.isnan(allowed) or _norm(off) <= allowed:
            return None
        return f"{label} differs by {float(off.abs().max()):.2g}, rounding explains {allowed:.1g}"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield everything in a state except for containers, with its path."""
    if isinstance(value, Mapping):
        pairs: Any = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        yield path, value
        return
    for key, part in pairs:
        yield from _leaves(part, (*path, key))


def _changes(leaves: Leaves, start: State) -> dict[tuple[Any, ...], torch.Tensor]:
    """Return tensors and numbers in float64; of the weights, their changes."""
    changes = {}
    for path, value in leaves.items():
        if isinstance(value, _Number):
            changes[path] = _double(value)
            if path[0] == "model":
                changes[path] = changes[path] - _double(start["model"][path[1]])
    return changes


def _double(value: Any) -> torch.Tensor:
    x = torch.as_tensor(value).detach().cpu()
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def _norm(x: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(x))


def _eps(value: Any) -> float:
    x = torch.as_tensor(value)
    return torch.finfo(x.dtype).eps if x.is_floating_point() or x.is_complex() else 0.0


def _kind(path: tuple[Any, ...]) -> object:
    """Return what a leaf is compared with in size: all weights, or all moments of a name."""
    return path[-1] if path[0] == "optimizers" else path[0]


def _label(path: tuple[Any, ...], names: Mapping[tuple[str, int], str]) -> str:
    """Return the name of a leaf."""
    if path[0] == "model":
        return repr(path[1])
    if path[0] == "optimizers" and len(path) == 4:
        owner, index, moment = path[1:]
        return f"{moment} of {names.get((owner, index), index)!r}"
    return ".".join(map(str, path))
