"""Modules with hyperparameters in 0-d buffers, which differ between members and change."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from popgrad.core.seeding import derive

WORD = -(2**63), 2**63 - 1
"""Bounds for `torch.randint` to draw bits: one word a draw, for any number of draws at once."""


class Dropout(nn.Module):
    """Dropout with its rate in a buffer, and a random stream of its own.

    The mask compares 16 random bits an element with the rate, which is four times cheaper on a CPU
    than a float an element: the rate is exact to 1/65536. The scale is exact. Works under
    `torch.func.vmap` with `randomness="different"`, one rate per member.

    Args:
        p: Probability of zeroing until a hyperparameter is written, in [0, 1].
        hparam: Name of the hyperparameter, and so of the buffer.
        keep: Whether the hyperparameter is the probability of keeping, 1 - p.

    Raises:
        ValueError: `p` is outside [0, 1].

    Example:
        >>> dropout = Dropout(0.25)
        >>> dropout.get_buffer("dropout")
        tensor(0.2500)
        >>> zeros = int((dropout(torch.ones(10_000)) == 0).sum())
        >>> 2_300 < zeros < 2_700
        True
    """

    def __init__(self, p: float = 0.5, *, hparam: str = "dropout", keep: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p: expected a probability in [0, 1], got {p}")
        self.hparam = hparam
        self.keep = keep
        self.generator: torch.Generator | None = None
        # Source of bits that are drawn elsewhere, called with the input; None = `generator`.
        self.given: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.register_buffer(hparam, torch.tensor(1.0 - p if keep else p), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the shape of `x`; `x` itself in evaluation mode."""
        if not self.training:
            return x

        rate = self.get_buffer(self.hparam)
        keep = rate if self.keep else 1.0 - rate
        # Draws below the threshold keep their element. All are integers, so the difference clamped
        # to 0..1 is the mask, in half the time of a comparison converted to float. (`clamp_` has no
        # rule for vmap, this has.)
        threshold = (keep.float() * 65536.0 - 32768.0).round()
        mask = functional.hardtanh_(threshold - self._bits(x), 0.0, 1.0).to(x.dtype)
        # At keep = 0 the mask is empty, and the scale need only be finite, in half precision too.
        return x * mask.mul_(keep.clamp(min=2.0**-15).reciprocal())

    def _bits(self, x: torch.Tensor) -> torch.Tensor:
        """Return uniform int16 of the shape of `x`: each 64-bit draw is cut into four."""
        if self.given is not None:
            return self.given(x)
        low, high = WORD
        count = words(x.numel())
        draws = torch.randint(
            low, high, (count,), generator=self.generator, dtype=torch.int64, device=x.device
        )
        return cut(draws, x.shape)

    def extra_repr(self) -> str:
        """Return the arguments to show in `print(module)`."""
        return f"{self.hparam}, keep={self.keep}"


def words(size: int) -> int:
    """Return the number of 64-bit draws for the mask of `size` elements."""
    return (size + 3) // 4


def cut(draws: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Cut draws [..., words] into [..., *shape] int16, the bits of masks."""
    return draws.view(torch.int16)[..., : math.prod(shape)].view((*draws.shape[:-1], *shape))


def seed_streams(module: nn.Module, seed: int, device: torch.device | str = "cpu") -> None:
    """Give every `Dropout` in the module its own generator, from `seed` and its position."""
    for position, layer in enumerate(dropouts(module)):
        layer.generator = stream(seed, position, device)


def dropouts(module: nn.Module) -> list[Dropout]:
    """Return every `Dropout` in the module, in the order of their streams."""
    return [layer for layer in module.modules() if isinstance(layer, Dropout)]


def stream(seed: int, position: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator that `seed_streams` gives the `Dropout` at a position, from 0."""
    return torch.Generator(device=device).manual_seed(derive(seed, "dropout", position))


def xavier_(module: nn.Module) -> nn.Module:
    """Initialise every linear and convolution layer: Xavier-uniform weights, zero biases.

    The weights are those of Glorot & Bengio 2010.

    Args:
        module: Module to initialise, in place.

    Returns:
        The module.

    Example:
        >>> layer = xavier_(nn.Linear(3, 3))
        >>> layer.bias.tolist(), bool(layer.weight.abs().max() <= 1.0)
        ([0.0, 0.0, 0.0], True)
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
