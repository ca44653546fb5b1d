"""Random draws of a stacked model: each member's own, from the streams that it has when it trains alone.

Inside `torch.func.vmap` a draw is either one for all members, or from another stream than a
member's own. So the draws of a step are noted once, in a dry run of one member. They are made
beforehand, for each member from its own generators, and passed in where the model asks for them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from popgrad.executors.stacked.rates import Rate
from popgrad.executors.stacked.recurrent import run_recurrent
from popgrad.nn import WORD, cut, words

_CHANNELS = {functional.dropout1d: 3, functional.dropout2d: 4, functional.dropout3d: 5}
"""Dropout of whole channels, with the number of dimensions of its batch."""

_RECURRENT = {getattr(torch, name): name for name in ("gru", "lstm", "rnn_tanh", "rnn_relu")}

_WORDS = 2**20
"""64-bit words that are drawn at once: 8 MB, which stay in the cache."""

_MIN_WORDS = 2**12
"""Words that are drawn at once for a row, at least: below, the calls take longer than the draws."""


@dataclass(frozen=True)
class Bits:
    """The bits of a mask, from the stream of a `popgrad.nn.Dropout`.

    Attributes:
        place: Position of the layer among the layers of its kind, from 0.
        shape: Shape of the mask.
    """

    place: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Noise:
    """The mask of `torch.nn.functional.dropout`, from the global generator: 0, or 1 / (1 - p).

    Attributes:
        shape: Shape of the mask.
        dtype: Dtype of the mask.
        p: Probability of 0, strictly between 0 and 1; a `Rate` if members differ in it.
        order: Dimensions of the mask as they lie in memory; see `memory_order`.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    p: float
    order: tuple[int, ...]


@dataclass(frozen=True)
class Fill:
    """Numbers of one distribution, from the global generator.

    Attributes:
        method: Method of a tensor that fills it.
        args: Arguments of the method.
        shape: Shape of the tensor.
        dtype: Dtype of the tensor.
        order: Dimensions of the tensor as they lie in memory; see `memory_order`.
        rate: Rate of a dropout, if members differ in it; the mask will be divided by 1 - rate.
    """

    method: str
    args: tuple[float, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...]
    rate: Rate | None = None


Draw = Bits | Noise | Fill


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Return the dimensions of a tensor from the one with the largest steps in memory on.

    torch draws in the order of memory, so a transposed tensor gets other numbers than a plain one.

    Example:
        >>> memory_order((4, 6, 5), torch.empty(6, 4, 5).transpose(0, 1).stride())
        (1, 0, 2)
    """
    dims = tuple(range(len(shape)))
    if any(stride == 0 and size > 1 for size, stride in zip(shape, strides, strict=True)):
        return dims
    # The steps of a dimension with one element mean nothing.
    steps = [stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)]
    return tuple(sorted(dims, key=lambda dim: -steps[dim]))


class DrawInterceptor(TorchFunctionMode):
    """Replaces the functions that draw, within a step of one member: notes the draws, or returns given ones.

    It also helps if vmap has no rule, or a wrong one: a cross entropy whose label smoothing is a
    tensor, recurrent layers, which consist of operations that have one, an embedding with padding.

    Args:
        tensors: Tensors drawn for this step, in order; None = a dry run, in which nothing is
            dropped.

    Attributes:
        draws: Draws of the step so far, in order.
        intercepted: Whether a function was replaced. If not, the step needs no interceptor, and is
            faster.
    """

    def __init__(self, tensors: Sequence[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.draws: list[Draw] = []
        self.intercepted = False
        self._tensors = tensors

    def bits(self, place: int, x: torch.Tensor) -> torch.Tensor:
        """Return the bits of a mask for `x`, of the `Dropout` at a position; zeros in a dry run."""
        bits = self._next(Bits(place, tuple(x.shape)))
        return torch.zeros(x.shape, dtype=torch.int16, device=x.device) if bits is None else bits

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        replacement = self._replacement(func, kwargs)
        if replacement is None:
            return func(*args, **kwargs)
        self.intercepted = True
        return replacement(*args, **kwargs)

    def _replacement(self, func: Callable[..., Any], kwargs: Any) -> Callable[..., Any] | None:
        """Return the function to call in place of `func`; None = `func` itself."""
        if func is functional.dropout or func in _CHANNELS:
            return partial(self._dropout, func)
        smoothing = kwargs.get("label_smoothing")
        if func is functional.cross_entropy and isinstance(smoothing, torch.Tensor):
            return _smoothed_cross_entropy
        if func is functional.embedding and kwargs.get("padding_idx") is not None:
            return _padded_embedding
        if func in _RECURRENT:
            return partial(run_recurrent, _RECURRENT[func], self._recurrent_dropout)
        return None

    def _recurrent_dropout(self, x: torch.Tensor, p: float) -> torch.Tensor:
        return self._dropout(functional.dropout, x, p)

    def _dropout(
        self,
        func: Callable[..., Any],
        input: torch.Tensor,  # noqa: A002  # torch's name
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> torch.Tensor:
        """Call torch's dropout `func`, with a mask that was drawn beforehand."""
        if isinstance(p, torch.Tensor):
            raise TypeError(
                "dropout with a tensor as its rate, for which there is popgrad.nn.Dropout"
            )
        if not training or not 0.0 < p <= 1.0:
            return func(input, p, False, inplace)  # type: ignore[no-any-return]

        shape = tuple(input.shape)
        order = memory_order(shape, input.stride())
        if func in _CHANNELS:
            order = tuple(range(len(shape)))
            if len(shape) != _CHANNELS[func]:
                raise TypeError(
                    f"{func.__name__} of {len(shape)} dimensions instead of {_CHANNELS[func]}"
                )
            shape = (*shape[:2], *(1 for _ in shape[2:]))

        # At p = 1 torch draws nothing, and multiplies by zero.
        mask = 0.0 if p == 1.0 else self._next(Noise(shape, input.dtype, p, order))
        mask = 1.0 if mask is None else mask
        return input.mul_(mask) if inplace else input * mask

    def give(self, tensors: Sequence[torch.Tensor]) -> None:
        """Set the tensors drawn for this step, in order."""
        self._tensors = tensors

    def note(self, draw: Draw) -> int:
        """Note a draw, and return its position among all of the step."""
        self.draws.append(draw)
        return len(self.draws) - 1

    def _next(self, draw: Draw) -> torch.Tensor | None:
        """Note a draw, and return its tensor; None in a dry run."""
        number = self.note(draw)
        return None if self._tensors is None else self._tensors[number]


def _padded_embedding(
    input: torch.Tensor,  # noqa: A002  # torch's name
    weight: torch.Tensor,
    padding_idx: int,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    """Return rows of `weight`; that of the padding gets no gradient.

    vmap's rule for the gradient knows the padding of the first member only.
    """
    found = functional.embedding(
        input, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse
    )
    padding = input == (padding_idx if padding_idx >= 0 else len(weight) + padding_idx)
    return torch.where(padding[..., None], found.detach(), found)


def _smoothed_cross_entropy(
    input: torch.Tensor,  # noqa: A002  # torch's name
    target: torch.Tensor,
    *,
    label_smoothing: torch.Tensor,
    **others: Any,
) -> torch.Tensor:
    """Return (1 - s) cross entropy + s cross entropy with uniform targets (Szegedy et al. 2016)."""
    defaults = {
        "weight": None,
        "size_average": None,
        "ignore_index": -100,
        "reduce": None,
        "reduction": "mean",
    }
    if any(defaults[name] != value for name, value in others.items()) or target.is_floating_point():
        raise TypeError(
            "a tensor as label_smoothing beside other options of cross_entropy, or without classes"
        )

    # torch takes the number in double precision, not in that of a hyperparameter.
    label_smoothing = label_smoothing.to(input.dtype)
    log_p = input.log_softmax(1)
    hard = functional.nll_loss(log_p, target)
    return (1.0 - label_smoothing) * hard - label_smoothing * log_p.mean()


class Streams:
    """The draws of every step, made for each row from its own generators.

    Args:
        draws: Draws of each step, in order.
        layers: Generators of each row's `popgrad.nn.Dropout`, by position.
        rest: Global generator of each row; empty if nothing draws from it.
        rates: Rates of each row, by the place of a `Rate`.
        device: Device of the draws.
    """

    def __init__(
        self,
        draws: Sequence[Sequence[Draw]],
        layers: Sequence[Sequence[torch.Generator]],
        rest: Sequence[torch.Generator],
        rates: Sequence[Sequence[float]],
        device: torch.device,
    ) -> None:
        self._draws = draws
        self._layers = layers
        self._rest = rest
        self._rates = rates
        self._device = device
        self._words = [_count_words(step) for step in draws]  # of each step, by position
        self._blocks: dict[int, torch.Tensor] = {}  # [N, words] by position
        self._used: dict[int, int] = {}  # words of each block that have been used
        self._filled = 0  # steps whose words have been drawn

    def step(self, number: int) -> list[torch.Tensor]:
        """Return tensors [N, ...] for a step, in the order of its draws. Steps come in order."""
        if number >= self._filled:
            self._draw_words(number)

        tensors = []
        for draw in self._draws[number]:
            if isinstance(draw, Bits):
                begin = self._used[draw.place]
                end = begin + words(math.prod(draw.shape))
                self._used[draw.place] = end
                tensors.append(cut(self._blocks[draw.place][:, begin:end], draw.shape))
            elif isinstance(draw, Noise):
                tensors.append(self._noise(draw))
            else:
                tensors.append(self._fill(draw))
        return tensors

    def _draw_words(self, first: int) -> None:
        """Draw words for as many steps as fit: drawn together or one by one, they are the same."""
        most = max((sum(step.values()) for step in self._words), default=0)
        rows = len(self._layers)
        count = max(1, max(_WORDS, _MIN_WORDS * rows) // max(1, most * rows))
        steps = self._words[first : first + count]

        for place in sorted({place for step in steps for place in step}):
            size = sum(step.get(place, 0) for step in steps)
            block = torch.empty(rows, size, dtype=torch.int64, device=self._device)
            for row, generators in zip(block, self._layers, strict=True):
                row.random_(*WORD, generator=generators[place])
            self._blocks[place] = block
            self._used[place] = 0
        self._filled = first + len(steps)

    def _noise(self, noise: Noise) -> torch.Tensor:
        masks = self._empty(noise)
        if isinstance(noise.p, Rate):
            self._fill_masks(masks, noise.p, 1.0)
            return masks
        for mask, generator in zip(masks, self._rest, strict=True):
            mask.bernoulli_(1.0 - noise.p, generator=generator)
        return masks.div_(1.0 - noise.p)

    def _fill(self, fill: Fill) -> torch.Tensor:
        drawn = self._empty(fill)
        if fill.rate is not None:
            self._fill_masks(drawn, fill.rate, 1.0 - fill.rate)
            return drawn
        for row, generator in zip(drawn, self._rest, strict=True):
            getattr(row, fill.method)(*fill.args, generator=generator)
        return drawn

    def _empty(self, draw: Noise | Fill) -> torch.Tensor:
        """Return a tensor [N, ...] in which each row lies in memory as a draw of its member does."""
        shape = [draw.shape[dim] for dim in draw.order]
        empty = torch.empty(len(self._rest), *shape, dtype=draw.dtype, device=self._device)
        places = [draw.order.index(dim) for dim in range(len(shape))]
        return empty.permute(0, *(place + 1 for place in places))

    def _fill_masks(self, masks: torch.Tensor, rate: Rate, scale: float) -> None:
        """Fill each row's mask with 0, or scale / (1 - its own rate)."""
        rows = zip(masks, self._rest, self._rates[rate.place], strict=True)
        for mask, generator, p in rows:
            # At 0 and 1 torch draws nothing.
            if 0.0 < p < 1.0:
                mask.bernoulli_(1.0 - p, generator=generator).mul_(scale / (1.0 - p))
            else:
                mask.fill_(scale * (1.0 - p))


def _count_words(draws: Sequence[Draw]) -> dict[int, int]:
    """Count the words of a step, by position of the layer."""
    counts: dict[int, int] = {}
    for draw in draws:
        if isinstance(draw, Bits):
            counts[draw.place] = counts.get(draw.place, 0) + words(math.prod(draw.shape))
    return counts
