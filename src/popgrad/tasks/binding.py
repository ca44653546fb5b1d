"""Hyperparameters in optimizers and modules: written, read back, and accounted for.

The most frequent faults of population training are a hyperparameter that an optimizer's state
overwrites, and one that reaches nothing. So a name is written wherever it lives, the live value is
compared with the recorded one, and a name that is neither written nor read is an error.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams, Value
from popgrad.tasks.groups import BETAS, get_option, named_groups
from popgrad.tasks.multipliers import Reads, multipliers


class TrackedHparams(Mapping[str, object]):
    """Hyperparameters that note which of them are read.

    Args:
        values: Values by name.
        seen: Set to which each name is added when it is read.

    Attributes:
        seen: Names that were read.
        all_read: Whether all names were read at once, as `dict(hparams)` and `**hparams` do.

    Example:
        >>> seen = set()
        >>> TrackedHparams({"lr": 0.1, "dropout": 0.5}, seen)["lr"]
        0.1
        >>> seen
        {'lr'}
    """

    def __init__(self, values: Mapping[str, object], seen: set[str]) -> None:
        self._values = values
        self.seen = seen
        self.all_read = False

    @property
    def read_by_name(self) -> set[str]:
        """Names that were read one by one; none if all were read at once."""
        return set() if self.all_read else self.seen

    def __getitem__(self, name: str) -> object:
        self.seen.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        self.seen.update(self._values)
        self.all_read = True
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def tensors(hparams: Hparams, device: torch.device) -> dict[str, object]:
    """Return hyperparameters for a loss: numbers as 0-d tensors, strings as they are.

    Floats become float32, integers int64, booleans bool.
    """

    def tensor(value: Value) -> object:
        if isinstance(value, str):
            return value
        dtype = torch.float32 if isinstance(value, float) else None
        return torch.tensor(value, dtype=dtype, device=device)

    return {name: tensor(value) for name, value in hparams.items()}


def write(module: nn.Module, optimizers: Mapping[str, Optimizer], hparams: Hparams) -> set[str]:
    """Write every hyperparameter where it lives, then compare the live values with it.

    A name lives in each parameter group that has it as a key ("lr", "weight_decay", "momentum",
    ...; "beta1" and "beta2" for the pair "betas"), and in each 0-d buffer of that name in the
    module. If there are several optimizers or groups, their name may qualify the key ("critic_lr").

    Returns:
        Names that live somewhere.

    Raises:
        UsageError: A buffer cannot hold the value, two names live in one place, or the ratio of
            groups with values of their own is unknown.
        RunError: A live value differs from the written one: something refused it.
    """
    return Bindings(module, optimizers, hparams).write(hparams)


@dataclass(frozen=True)
class _Place:
    """An option of a parameter group in which a hyperparameter lives.

    Attributes:
        group: Parameter group.
        key: Option.
        factor: Ratio of the option to the hyperparameter; None = the optimizer function has set it.
        made: Value that it was made with.
    """

    group: dict[str, Any]
    key: str
    factor: float | None
    made: object

    def expected(self, value: Value) -> object:
        """Return what the option should be under a value of the hyperparameter."""
        if self.factor is None:
            return self.made
        # A product would turn other types than float into one.
        return value if self.factor == 1.0 else value * self.factor  # type: ignore[operator]


class Bindings:
    """Groups and buffers that hold hyperparameters, searched once and written often.

    Args:
        module: Module with the buffers.
        optimizers: Optimizers with the parameter groups, by name, with the options that they were
            made with.
        names: Names of the hyperparameters.
        reads: Names that the optimizer function has read; None = none.

    Raises:
        UsageError: A name means two things, two names live in one place, or the ratio of
            groups with values of their own is unknown.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizers: Mapping[str, Optimizer],
        names: Iterable[str],
        reads: Reads | None = None,
    ) -> None:
        names = list(names)
        reads = reads or Reads()
        self._buffers = {name: list(_buffers(module, name)) for name in names}
        self._places = {name: _places(optimizers, name, reads) for name in names}
        self._check_distinct()
        self.check_meaning((name for name, buffers in self._buffers.items() if buffers), "a buffer")

    def _check_distinct(self) -> None:
        """Refuse two names that are written in one place."""
        owners: dict[tuple[int, str], str] = {}
        for name, places in self._places.items():
            for place in places:
                if place.factor is None:
                    continue
                other = owners.setdefault((id(place.group), place.key), name)
                if other != name:
                    raise UsageError(
                        f"hyperparameters {other!r} and {name!r} are both written into {place.key} of one "
                        "parameter group: search one of them, or a name for each group"
                    )

    def check_meaning(self, names: Iterable[str], reader: str) -> None:
        """Refuse names that something else reads, and that would be written into an option too.

        "momentum" may be that of batch normalisation, "eps" that of a loss. A rate is always that
        of the optimizer.

        Args:
            names: Names that were read.
            reader: What has read them, for the message.

        Raises:
            UsageError: A name means two things.
        """
        for name in names:
            for place in self._places.get(name, ()):
                if place.factor is not None and place.key != "lr":
                    raise UsageError(
                        f"hyperparameter {name!r} is read by {reader}, and has the name of an option of the "
                        f"optimizer, {place.key} = {place.made!r}, that it would replace: rename it (as "
                        f"other_{name}), or read it in `optimizer` too if both are meant"
                    )

    def options(self) -> set[str]:
        """Return the keys of parameter groups that are written, "betas" for a part of the pair."""
        return {key for number in self.by_group().values() for key in number}

    def by_group(self) -> dict[int, set[str]]:
        """Return the keys in which hyperparameters live, by the `id` of the parameter group."""
        keys: dict[int, set[str]] = {}
        for places in self._places.values():
            for place in places:
                key = "betas" if place.key in BETAS else place.key
                keys.setdefault(id(place.group), set()).add(key)
        return keys

    def write(self, hparams: Hparams) -> set[str]:
        """Write the hyperparameters and compare the live values, as the function `write` does."""
        for name, places in self._places.items():
            for place in places:
                if place.factor is not None:
                    _set(place.group, place.key, place.expected(hparams[name]))
            for buffer in self._buffers[name]:
                _fill(name, buffer, hparams[name])

        # All are written before any is compared, to find a name that overwrites another.
        for name, places in self._places.items():
            for place in places:
                live = get_option(place.group, place.key)
                _compare(name, place.expected(hparams[name]), live)
            for buffer in self._buffers[name]:
                _compare(name, _held(hparams[name], buffer), buffer.item())

        return {name for name in self._places if self._places[name] or self._buffers[name]}

    def written(self) -> set[str]:
        """Return the names that live somewhere, all of whose places are written."""
        return {
            name
            for name, places in self._places.items()
            if (places or self._buffers[name]) and all(p.factor is not None for p in places)
        }

    def live(
        self, hparams: Hparams, read: Callable[[Mapping[str, Any], str], Any] = get_option
    ) -> Iterator["LiveValue"]:
        """Yield each live value beside the one that it should be.

        Args:
            hparams: Recorded hyperparameters.
            read: (parameter group, key) -> its option.
        """
        for name, places in self._places.items():
            for place in places:
                expected = place.expected(hparams[name])
                yield LiveValue(
                    name, place.key, place.group, expected, read(place.group, place.key)
                )
            for buffer in self._buffers[name]:
                yield LiveValue(name, "", {}, _held(hparams[name], buffer), buffer.item())


@dataclass(frozen=True)
class LiveValue:
    """A value that is live in an optimizer or a buffer.

    Attributes:
        name: Name of the hyperparameter.
        key: Option of the parameter group; "" for a buffer.
        group: The parameter group; empty for a buffer.
        expected: Value that the record demands.
        live: Live value.
    """

    name: str
    key: str
    group: Mapping[str, Any]
    expected: object
    live: object


def _places(optimizers: Mapping[str, Optimizer], name: str, reads: Reads) -> list[_Place]:
    """Return the options in which a hyperparameter lives."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for owner, number, key in named_groups(optimizers, name):
        found.setdefault((owner, key), []).append(optimizers[owner].param_groups[number])

    return [
        _Place(group, key, factor, get_option(group, key))
        for (owner, key), groups in found.items()
        for group, factor in zip(
            groups, multipliers(name, optimizers[owner], groups, key, reads), strict=True
        )
    ]


def _buffers(module: nn.Module, name: str) -> Iterator[torch.Tensor]:
    """Yield the 0-d buffers of a name."""
    for layer in module.modules():
        buffer = layer._buffers.get(name)
        if buffer is not None and buffer.ndim == 0:
            yield buffer


def is_hparam_buffer(path: str, buffer: torch.Tensor, hparams: Iterable[str]) -> bool:
    """Whether a buffer holds a hyperparameter, which is not part of the state."""
    return buffer.ndim == 0 and path.rpartition(".")[2] in hparams


def _set(group: dict[str, Any], key: str, value: object) -> None:
    if key in group:
        group[key] = value
    else:
        betas = list(group["betas"])
        betas[BETAS[key]] = value
        group["betas"] = tuple(betas)


def _fill(name: str, buffer: torch.Tensor, value: Value) -> None:
    if isinstance(value, str):
        raise UsageError(
            f"hyperparameter {name!r} is {value!r}, but the buffer of its name holds numbers"
        )
    buffer.fill_(value)


def _held(value: Value, buffer: torch.Tensor) -> object:
    """Return the value that a buffer should hold: a float buffer rounds, others hold it exactly."""
    if buffer.is_floating_point():
        return torch.tensor(value, dtype=buffer.dtype).item()
    return value


def _compare(name: str, recorded: object, live: object) -> None:
    if recorded != live:
        raise RunError(
            f"hyperparameter {name!r} is {live!r} where it lives, but {recorded!r} in the record"
        )


def check_all_used(hparams: Hparams, reached: set[str]) -> None:
    """Refuse hyperparameters that reached nothing.

    Raises:
        UsageError: A hyperparameter reached nothing; the message names the places where it can
            live.
    """
    idle = sorted(set(hparams) - reached)
    if idle:
        raise UsageError(
            f"hyperparameter {', '.join(map(repr, idle))} reaches nothing: no parameter group has the key, "
            "no 0-d buffer has the name, and neither the model, the optimizer nor the loss reads it; check "
            "the spelling, or remove it from the space"
        )
