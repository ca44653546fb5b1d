"""Modules whose hyperparameters are 0-d buffers: they differ between members and change in training."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from popgrad.core.seeding import derive

WORD = -(2**63), 2**63 - 1
"""What `torch.randint` draws bits between: each draw takes one word, however many are drawn at once."""


class Dropout(nn.Module):
    """Zero elements at random and scale the rest: the rate in a buffer, the draws from a stream of its own.

    The mask compares 16 random bits an element with the rate, which is four times cheaper on a CPU than a
    float an element: the rate is right to 1/65536. The scale is exact. Works under `torch.func.vmap` with
    `randomness="different"`, one rate per member.

    Args:
        p: Probability of zeroing until a hyperparameter is written, in [0, 1].
        hparam: Name of the hyperparameter, and so of the buffer.
        keep: The hyperparameter is the probability of keeping, 1 - p.

    Raises:
        ValueError: `p` outside [0, 1].
    """

    def __init__(self, p: float = 0.5, *, hparam: str = "dropout", keep: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p is {p}: a probability in [0, 1]")
        self.hparam = hparam
        self.keep = keep
        self.generator: torch.Generator | None = None
        self.given: Callable[[torch.Tensor], torch.Tensor] | None = (
            None  # bits that were drawn elsewhere
        )
        self.register_buffer(hparam, torch.tensor(1.0 - p if keep else p), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as `x`; `x` itself in evaluation mode."""
        if not self.training:
            return x
        rate = self.get_buffer(self.hparam)
        keep = rate if self.keep else 1.0 - rate
        # Draws below the threshold keep their element. All are integers, so the difference clamped to 0..1 is
        # the mask, in half the time of a comparison made a float. (`clamp_` has no rule for vmap, this has.)
        threshold = (keep.float() * 65536.0 - 32768.0).round()
        mask = functional.hardtanh_(threshold - self._bits(x), 0.0, 1.0).to(x.dtype)
        # At keep = 0 the mask is empty and the scale must only be finite, in half precision too.
        return x * mask.mul_(keep.clamp(min=2.0**-15).reciprocal())

    def _bits(self, x: torch.Tensor) -> torch.Tensor:
        """Uniform int16 of the shape of `x`: each 64-bit draw is cut into four."""
        if self.given is not None:
            return self.given(x)
        count, low, high = words(x.numel()), *WORD
        draws = torch.randint(
            low, high, (count,), generator=self.generator, dtype=torch.int64, device=x.device
        )
        return cut(draws, x.shape)

    def extra_repr(self) -> str:
        """For `print(module)`."""
        return f"{self.hparam}, keep={self.keep}"


def words(size: int) -> int:
    """64-bit draws for the mask of `size` elements."""
    return (size + 3) // 4


def cut(draws: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """[..., *shape] int16 out of draws [..., words]: the bits of masks."""
    return draws.view(torch.int16)[..., : math.prod(shape)].view((*draws.shape[:-1], *shape))


def seed_streams(module: nn.Module, seed: int, device: torch.device | str = "cpu") -> None:
    """Give every `Dropout` in the module a generator of its own, from `seed` and its place in the module."""
    for place, layer in enumerate(dropouts(module)):
        layer.generator = stream(seed, place, device)


def dropouts(module: nn.Module) -> list[Dropout]:
    """Every `Dropout` in the module, in the order of their streams."""
    return [layer for layer in module.modules() if isinstance(layer, Dropout)]


def stream(seed: int, place: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator that `seed_streams` gives the `Dropout` at a place in the module, from 0."""
    return torch.Generator(device=device).manual_seed(derive(seed, "dropout", place))


def xavier_(module: nn.Module) -> nn.Module:
    """Xavier-uniform weights (Glorot & Bengio 2010), zero biases, in every linear and convolution layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
