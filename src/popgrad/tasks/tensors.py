"""Tensors of a network that are part of a state: listed, checked, loaded."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.state import State, clone
from popgrad.tasks.binding import is_hparam_buffer


def state_tensors(module: nn.Module, hparams: Hparams) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield parameters and buffers by name, except for buffers that hold hyperparameters.

    Non-persistent buffers, which no `state_dict` has, are included.
    """
    yield from module.named_parameters()
    for path, buffer in module.named_buffers():
        if not is_hparam_buffer(path, buffer, hparams):
            yield path, buffer


def hparam_buffers(module: nn.Module, hparams: Hparams) -> dict[str, torch.Tensor]:
    """Return the persistent buffers that hold hyperparameters, by name."""
    kept = module.state_dict(keep_vars=True)
    buffers = module.named_buffers()
    return {n: b for n, b in buffers if n in kept and is_hparam_buffer(n, b, hparams)}


@torch.no_grad()
def load_tensors(
    module: nn.Module, hparams: Hparams, saved: Mapping[str, torch.Tensor], what: str
) -> None:
    """Copy parameters and buffers into the module's own memory.

    Args:
        module: Module to load into.
        hparams: Hyperparameters of the member; buffers of their names are not loaded.
        saved: Tensors by name.
        what: Description of `saved`, for messages.

    Raises:
        UsageError: The tensors do not fit the module by name and shape.
    """
    tensors = dict(state_tensors(module, hparams))
    own = {name for name, x in module.named_buffers() if is_hparam_buffer(name, x, hparams)}
    saved = {name: tensor for name, tensor in saved.items() if name not in own}
    check_tensors(tensors, saved, what)
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])


def extra_states(module: nn.Module) -> State:
    """Return what layers return from `get_extra_state`, by their paths, as copies.

    Raises:
        UsageError: A layer returns something else than plain data.
    """
    layers = {path: layer for path, layer in module.named_modules() if _has_extra_state(layer)}
    return clone({path: layer.get_extra_state() for path, layer in layers.items()})  # type: ignore[no-any-return]


def load_extra_states(module: nn.Module, saved: State) -> None:
    """Give layers back what `extra_states` returned. One without an entry keeps its own."""
    for path, layer in module.named_modules():
        if path in saved and _has_extra_state(layer):
            layer.set_extra_state(clone(saved[path]))


def _has_extra_state(layer: nn.Module) -> bool:
    return type(layer).get_extra_state is not nn.Module.get_extra_state


def check_tensors(
    expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], what: str
) -> None:
    """Refuse tensors that do not fit a network by name and shape.

    Args:
        expected: Tensors of the network, by name.
        given: Tensors to load, by name.
        what: Description of `given`, for messages.

    Raises:
        UsageError: Names what differs.
    """
    missing = sorted(expected.keys() - given.keys())
    unknown = sorted(given.keys() - expected.keys())
    if missing or unknown:
        raise UsageError(
            f"{what} and the network differ: missing {', '.join(missing) or 'nothing'}, "
            f"unknown {', '.join(unknown) or 'nothing'}"
        )

    for name, tensor in expected.items():
        if tensor.shape != given[name].shape:
            shapes = f"of shape {list(given[name].shape)}, the network's is {list(tensor.shape)}"
            raise UsageError(
                f"{what} holds {name!r} {shapes}; hyperparameters that change shapes must be init-only"
            )
