"""Construction of a module whose tensors are loaded next, without drawing its first values."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from popgrad.core.population import Hparams

_FILLS = {
    *(torch.Tensor.uniform_, torch.Tensor.normal_),
    # Functions that torch passes to a mode as a whole, not by the methods they call.
    *(nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_, nn.init.kaiming_uniform_),
}
"""Functions that take most of the time in which layers are constructed."""


class _Unfilled(TorchFunctionMode):
    """Mode in which parameters keep uninitialised memory instead of random numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, nn.Parameter):
                return tensor
        return func(*args, **kwargs)


def unfilled(model: Callable[[Hparams], nn.Module], hparams: Hparams) -> nn.Module:
    """Return a module of which every parameter and buffer is loaded before it is used.

    Its first values would cost as much as several training steps. The CPU's global generator keeps
    its state, so that draws in training do not depend on the way a module is constructed.

    Args:
        model: hparams -> module.
        hparams: Complete hyperparameters.
    """
    before = torch.get_rng_state()
    try:
        with _Unfilled():
            return model(hparams)
    except Exception:
        # A module that computes with its first values, which may be any bits here.
        torch.set_rng_state(before)
        return model(hparams)
    finally:
        torch.set_rng_state(before)
