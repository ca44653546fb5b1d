"""Hyperparameters in optimizers and modules: written, read back, and accounted for.

The most frequent faults of population training are a hyperparameter that an optimizer's state
overwrites, and one that reaches nothing. So a name is written wherever it lives, the live value is
compared with the recorded one, and a name that is neither written nor read is an error.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams, Value

BETAS = {"beta1": 0, "beta2": 1}
"""Hyperparameters that are parts of the key "betas", with their positions."""


class TrackedHparams(Mapping[str, object]):
    """Hyperparameters that note which of them are read.

    Args:
        values: Values by name.
        seen: Set to which each name is added when it is read.

    Example:
        >>> seen = set()
        >>> TrackedHparams({"lr": 0.1, "dropout": 0.5}, seen)["lr"]
        0.1
        >>> seen
        {'lr'}
    """

    def __init__(self, values: Mapping[str, object], seen: set[str]) -> None:
        self._values = values
        self._seen = seen

    def __getitem__(self, name: str) -> object:
        self._seen.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        self._seen.update(self._values)
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
        UsageError: A buffer cannot hold the value.
        RunError: A live value differs from the written one: something refused it, or two names live
            in one place.
    """
    return Bindings(module, optimizers, hparams).write(hparams)


class Bindings:
    """Groups and buffers that hold hyperparameters, searched once and written often.

    Args:
        module: Module with the buffers.
        optimizers: Optimizers with the parameter groups, by name.
        names: Names of the hyperparameters.
    """

    def __init__(
        self, module: nn.Module, optimizers: Mapping[str, Optimizer], names: Iterable[str]
    ) -> None:
        self._places = {
            name: (list(_groups(optimizers, name)), list(_buffers(module, name))) for name in names
        }

    def options(self) -> set[str]:
        """Return the keys of parameter groups that are written, "betas" for a part of the pair."""
        keys = {key for groups, _ in self._places.values() for _, key in groups}
        return {"betas" if key in BETAS else key for key in keys}

    def write(self, hparams: Hparams) -> set[str]:
        """Write the hyperparameters and compare the live values, as the function `write` does."""
        for name, (groups, buffers) in self._places.items():
            for group, key in groups:
                _set(group, key, hparams[name])
            for buffer in buffers:
                _fill(name, buffer, hparams[name])

        # All are written before any is compared, to find a name that overwrites another.
        for name, (groups, buffers) in self._places.items():
            for group, key in groups:
                _compare(name, hparams[name], _get(group, key))
            for buffer in buffers:
                _compare(name, _held(hparams[name], buffer), buffer.item())

        return {name for name, (groups, buffers) in self._places.items() if groups or buffers}


def _groups(
    optimizers: Mapping[str, Optimizer], name: str
) -> Iterator[tuple[dict[str, object], str]]:
    """Yield the parameter groups that hold a hyperparameter, each with its key."""
    for owner, optimizer in optimizers.items():
        for group in optimizer.param_groups:
            for prefix in ("", f"{owner}_", f"{group.get('name', owner)}_"):
                key = name.removeprefix(prefix)
                in_group = key in group or (key in BETAS and "betas" in group)
                if name.startswith(prefix) and in_group and key != "params":
                    yield group, key
                    break


def _buffers(module: nn.Module, name: str) -> Iterator[torch.Tensor]:
    """Yield the 0-d buffers of a name."""
    for layer in module.modules():
        buffer = layer._buffers.get(name)
        if buffer is not None and buffer.ndim == 0:
            yield buffer


def is_hparam_buffer(path: str, buffer: torch.Tensor, hparams: Iterable[str]) -> bool:
    """Whether a buffer holds a hyperparameter, which is not part of the state."""
    return buffer.ndim == 0 and path.rpartition(".")[2] in hparams


def _set(group: dict[str, object], key: str, value: Value) -> None:
    if key in group:
        group[key] = value
    else:
        betas = list(group["betas"])  # type: ignore[call-overload]
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


def _get(group: dict[str, object], key: str) -> object:
    return group[key] if key in group else group["betas"][BETAS[key]]  # type: ignore[index]


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
