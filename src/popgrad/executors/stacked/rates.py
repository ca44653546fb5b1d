"""Rates that a model reads from hyperparameters when it is built: each member's own, in one module.

`nn.Dropout(hparams["dropout"])` keeps the rate as an attribute, so that members differ in their
modules. One module serves them all if nothing else differs: a `Rate` takes the place of the
attribute, and the random draws of each member are made with the member's own rate.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from popgrad.executors.stacked.tape import snapshot

_TENSORS = ("_parameters", "_buffers", "_modules")


class Rate(float):
    """Stands for a rate in which members differ.

    As a number it has a value that no member has, so a use other than as the rate of a dropout gives
    other results than a member alone.

    Args:
        place: Position among all rates that differ, from 0.
    """

    place: int

    def __new__(cls, place: int) -> "Rate":
        """Return the rate of a place, strictly between 0 and 1."""
        rate = super().__new__(cls, 0.40625 + (place + 1) * 2.0**-24)
        rate.place = place
        return rate


@dataclass(frozen=True)
class Rates:
    """Rates of members that differ.

    Attributes:
        places: (path of the layer, name of the attribute) of each rate that differs.
        values: [places][rows] rates.
        constants: (path, name, value) of each number that could be a rate and does not differ.
    """

    places: tuple[tuple[str, str], ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    constants: tuple[tuple[str, str, float], ...] = ()

    def put(self, module: nn.Module) -> None:
        """Put a `Rate` into a module at each place."""
        for place, (path, name) in enumerate(self.places):
            setattr(module.get_submodule(path), name, Rate(place))

    @property
    def stand_ins(self) -> tuple[Rate, ...]:
        """The `Rate` of each place."""
        return tuple(map(Rate, range(len(self.places))))


def find_rates(modules: Sequence[nn.Module]) -> Rates | None:
    """Return the rates in which modules differ; None = they differ in something else.

    Args:
        modules: Module of each row.
    """
    first = modules[0]
    if not all(other is first or _alike(first, other) for other in modules[1:]):
        return None

    found = [dict(_numbers(module)) for module in modules]
    columns = {key: tuple(row[key] for row in found) for key in found[0]}
    differ = {key: values for key, values in columns.items() if len(set(values)) > 1}
    constants = tuple((*key, columns[key][0]) for key in columns if key not in differ)
    return Rates(tuple(differ), tuple(differ.values()), constants)


def _numbers(module: nn.Module) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield each attribute that could be a rate: (path, name), value."""
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if _could_be_rate(value):
                yield (path, name), float(value)


def _could_be_rate(value: object) -> bool:
    return type(value) in (float, int) and 0 <= value <= 1  # type: ignore[operator]


def _alike(first: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have equal layers, except for rates and the values of tensors."""
    layers = dict(first.named_modules())
    others = dict(other.named_modules())
    return layers.keys() == others.keys() and all(
        type(layer) is type(others[path]) and _alike_layers(vars(layer), vars(others[path]))
        for path, layer in layers.items()
    )


def _alike_layers(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    tensors = [_signature(layer) for layer in (first, other)]
    if tensors[0] != tensors[1] or first.keys() != other.keys():
        return False
    return all(
        (_could_be_rate(value) and _could_be_rate(other[name])) or _equal(value, other[name])
        for name, value in first.items()
        if name not in _TENSORS
    )


def _signature(layer: Mapping[str, Any]) -> list[object]:
    """Return what parameters and buffers a layer has."""
    return [
        (kind, name, None if x is None else (x.shape, x.dtype, x.requires_grad))
        for kind in ("_parameters", "_buffers")
        for name, x in layer[kind].items()
    ]


def _equal(value: Any, other: Any) -> bool:
    """Whether two attributes are equal, as far as that can be seen."""
    if value is other:
        return True
    if type(value) is not type(other):
        return False
    if isinstance(value, nn.Parameter):
        return bool(value.shape == other.shape)
    if isinstance(value, torch.Tensor):
        return value.shape == other.shape and bool(value.equal(other))
    if isinstance(value, weakref.ref):
        return True
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(_equal, value, other))
    try:
        if bool(value == other):
            return True
    except Exception:
        # An object's comparison may raise anything.
        return False
    seen = snapshot(value)
    return seen is not None and seen == snapshot(other)
