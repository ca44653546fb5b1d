"""How a module is made whose tensors are loaded next: without drawing what nobody will see."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from popgrad.core.population import Hparams

_FILLS = {
    *(torch.Tensor.uniform_, torch.Tensor.normal_),
    *(nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_, nn.init.kaiming_uniform_),
}
"""What takes the time when layers are made. The second line is of those that torch hands over whole."""


class _Unfilled(TorchFunctionMode):
    """Leaves parameters as they come when they are to be filled with random numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLS:
            filled = args[0] if args else kwargs["tensor"]
            if isinstance(filled, nn.Parameter):
                return filled
        return func(*args, **kwargs)


def unfilled(model: Callable[[Hparams], nn.Module], hparams: Hparams) -> nn.Module:
    """A module of which every parameter and buffer is loaded over before it is used.

    Its first values would cost as much as several training steps. The CPU's global generator is left where
    it was, so that what training draws from it does not depend on how a module is made.

    Args:
        model: hparams -> module.
        hparams: Complete.
    """
    before = torch.get_rng_state()
    try:
        with _Unfilled():
            return model(hparams)
    except Exception:  # a module that computes with its first values, which may be anything here
        torch.set_rng_state(before)
        return model(hparams)
    finally:
        torch.set_rng_state(before)
