"""What a stacked model draws at random: each member's own, from the streams that it has when it trains alone.

Inside of `torch.func.vmap` a draw is one for all members, or another stream than a member's own. So the draws
of a step are noted once, on a dry run of one member; they are made beforehand, for each member from its own
generators; and they are handed in where the model asks for them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from popgrad.nn import WORD, cut, words

_CHANNELS = {functional.dropout1d: 3, functional.dropout2d: 4, functional.dropout3d: 5}
"""Dropout of whole channels, and the dimensions of the batch that each is for."""

_RECURRENT = {getattr(torch, name): name for name in ("gru", "lstm", "rnn_tanh", "rnn_relu")}

_WORDS = 2**20  # 64-bit words that are drawn at once: 8 MB, which stays in the cache
_PIECE = 2**12  # or more, where a row would get fewer: below, the calls take longer than the draws


@dataclass(frozen=True)
class Bits:
    """The bits of a mask, from the stream of a `popgrad.nn.Dropout`.

    Attributes:
        place: The layer's, among those of its kind.
        shape: Of the mask.
    """

    place: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Noise:
    """The mask of `torch.nn.functional.dropout`, from the global generator: 0, or 1 / (1 - p).

    Attributes:
        shape: Of the mask.
        dtype: Of the mask.
        p: Probability of 0, strictly between 0 and 1.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    p: float


Draw = Bits | Noise


class Draws(TorchFunctionMode):
    """Catches what draws, within a step of one member; notes it, and hands out what was drawn beforehand.

    It also helps out where vmap has no rule: a cross entropy whose label smoothing is a tensor, and recurrent
    layers, which are made of operations that have one.

    Args:
        given: What was drawn for this step, in order; None = a dry run, in which nothing is dropped.

    Attributes:
        noted: What was asked for, in order.
        needed: Whether something was caught: if not, it works as well without being entered, and faster.
    """

    def __init__(self, given: Sequence[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.noted: list[Draw] = []
        self.needed = False
        self._given = given

    def bits(self, place: int, x: torch.Tensor) -> torch.Tensor:
        """What the `popgrad.nn.Dropout` at a place makes the mask of `x` from."""
        bits = self._next(Bits(place, tuple(x.shape)))
        return torch.zeros(x.shape, dtype=torch.int16, device=x.device) if bits is None else bits

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        caught: Callable[..., Any] | None = None
        if func is functional.dropout or func in _CHANNELS:
            caught = partial(self._dropout, func)
        elif func is functional.cross_entropy and isinstance(
            kwargs.get("label_smoothing"), torch.Tensor
        ):
            caught = _smoothed
        elif func in _RECURRENT:
            caught = getattr(torch.ops.aten, _RECURRENT[func]).input.decompose
        if caught is None:
            return func(*args, **kwargs)
        self.needed = True
        return caught(*args, **kwargs)

    def _dropout(
        self,
        func: Callable[..., Any],
        input: torch.Tensor,  # noqa: A002  # torch's name
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> torch.Tensor:
        if isinstance(p, torch.Tensor):
            raise TypeError(
                "dropout with a tensor as its rate, for which there is popgrad.nn.Dropout"
            )
        if not training or not 0.0 < p <= 1.0:
            return func(input, p, False, inplace)  # type: ignore[no-any-return]
        shape = tuple(input.shape)
        if func in _CHANNELS:
            if len(shape) != _CHANNELS[func]:
                raise TypeError(
                    f"{func.__name__} of {len(shape)} dimensions instead of {_CHANNELS[func]}"
                )
            shape = (*shape[:2], *(1 for _ in shape[2:]))
        # At p = 1 torch draws nothing, and multiplies by zero.
        mask = 0.0 if p == 1.0 else self._next(Noise(shape, input.dtype, p))
        mask = 1.0 if mask is None else mask
        return input.mul_(mask) if inplace else input * mask

    def _next(self, draw: Draw) -> torch.Tensor | None:
        self.noted.append(draw)
        return None if self._given is None else self._given[len(self.noted) - 1]


def _smoothed(
    input: torch.Tensor,  # noqa: A002  # torch's name
    target: torch.Tensor,
    *,
    label_smoothing: torch.Tensor,
    **others: Any,
) -> torch.Tensor:
    """(1 - s) times the cross entropy, plus s times that against all classes alike (Szegedy et al. 2016)."""
    usual = {
        "weight": None,
        "size_average": None,
        "ignore_index": -100,
        "reduce": None,
        "reduction": "mean",
    }
    if any(usual[name] != value for name, value in others.items()) or target.is_floating_point():
        raise TypeError(
            "a tensor as label_smoothing beside other options of cross_entropy, or without classes"
        )
    log_p = input.log_softmax(1)
    hard = functional.nll_loss(log_p, target)
    return (1.0 - label_smoothing) * hard - label_smoothing * log_p.mean()


class Streams:
    """The draws of every step, made for each row from its own generators.

    Args:
        draws: What each step draws, in order.
        layers: Generators of each row's `popgrad.nn.Dropout`, by place.
        rest: Each row's global generator; empty where nothing draws from it.
        device: Where the draws go.
    """

    def __init__(
        self,
        draws: Sequence[Sequence[Draw]],
        layers: Sequence[Sequence[torch.Generator]],
        rest: Sequence[torch.Generator],
        device: torch.device,
    ) -> None:
        self._draws, self._layers, self._rest, self._device = draws, layers, rest, device
        self._words = [_words(each) for each in draws]  # of each step, by place
        self._blocks: dict[int, torch.Tensor] = {}
        self._used: dict[int, int] = {}
        self._filled = 0  # steps that words were drawn for

    def step(self, number: int) -> list[torch.Tensor]:
        """Tensors [N, ...] for a step, in the order in which they are asked for; steps come in order."""
        if number >= self._filled:
            self._fill(number)
        found = []
        for each in self._draws[number]:
            if isinstance(each, Bits):
                begin = self._used[each.place]
                end = self._used[each.place] = begin + words(math.prod(each.shape))
                found.append(cut(self._blocks[each.place][:, begin:end], each.shape))
            else:
                found.append(self._noise(each))
        return found

    def _fill(self, first: int) -> None:
        """Draw words for as many steps as fit: drawn together or one by one, they are the same."""
        most = max((sum(each.values()) for each in self._words), default=0)
        count = max(1, max(_WORDS, _PIECE * len(self._layers)) // max(1, most * len(self._layers)))
        steps = self._words[first : first + count]
        for place in sorted({place for each in steps for place in each}):
            count = sum(each.get(place, 0) for each in steps)
            block = torch.empty(len(self._layers), count, dtype=torch.int64, device=self._device)
            for row, generators in zip(block, self._layers, strict=True):
                row.random_(*WORD, generator=generators[place])
            self._blocks[place], self._used[place] = block, 0
        self._filled = first + len(steps)

    def _noise(self, noise: Noise) -> torch.Tensor:
        masks = torch.empty(len(self._rest), *noise.shape, dtype=noise.dtype, device=self._device)
        for mask, generator in zip(masks, self._rest, strict=True):
            mask.bernoulli_(1.0 - noise.p, generator=generator)
        return masks.div_(1.0 - noise.p)


def _words(draws: Sequence[Draw]) -> dict[int, int]:
    """Words of a step, by place."""
    found: dict[int, int] = {}
    for each in draws:
        if isinstance(each, Bits):
            found[each.place] = found.get(each.place, 0) + words(math.prod(each.shape))
    return found
