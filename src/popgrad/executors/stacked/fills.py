"""Draws of torch below vmap: numbers of one distribution that fill a tensor.

They are found and replaced where vmap has already added the dimension of the members, so every way
that leads to such a draw is covered: attention, a loss that adds noise, torch.distributions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from popgrad.executors.stacked.draws import DrawInterceptor, Fill, memory_order
from popgrad.executors.stacked.rates import Rate

_aten = torch.ops.aten

_Distribution = tuple[str, tuple[float, ...]]

_IN_PLACE = {
    _aten.bernoulli_.float,
    _aten.normal_.default,
    _aten.uniform_.default,
    _aten.exponential_.default,
    _aten.cauchy_.default,
    _aten.log_normal_.default,
    _aten.geometric_.default,
    _aten.random_.default,
    _aten.random_.to,
    getattr(_aten.random_, "from"),
}
"""Operations that fill their first operand."""

_LIKE: Mapping[Any, Callable[..., _Distribution]] = {
    _aten.bernoulli.p: lambda _, p: ("bernoulli_", (p,)),
    _aten.rand_like.default: lambda _: ("uniform_", ()),
    _aten.randn_like.default: lambda _: ("normal_", ()),
    _aten.randint_like.default: lambda _, high: ("random_", (0, high)),
    _aten.randint_like.low_dtype: lambda _, low, high: ("random_", (low, high)),
}
"""Operations that return a tensor like their first operand, with the method that draws the same."""

_NEW: Mapping[Any, Callable[..., _Distribution]] = {
    _aten.rand.default: lambda _: ("uniform_", ()),
    _aten.randn.default: lambda _: ("normal_", ()),
    _aten.randint.default: lambda high, _: ("random_", (0, high)),
    _aten.randint.low: lambda low, high, _: ("random_", (low, high)),
    _aten.normal.float_float: lambda mean, std, _: ("normal_", (mean, std)),
}
"""Operations whose last operand is the shape of their result."""


class FillInterceptor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Replaces draws by given tensors, in a step of N members.

    Args:
        interceptor: Interceptor of the same step, whose order of draws this one shares.
        rows: Number of members, N.
        given: [N, ...] tensors drawn for this step, in order; None = a dry run, which notes the
            draws.
        rates: Rates of layers that differ between members.

    Raises:
        TypeError: A draw of another kind.
    """

    def __init__(
        self,
        interceptor: DrawInterceptor,
        rows: int,
        given: list[torch.Tensor] | None,
        rates: tuple[Rate, ...],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._interceptor = interceptor
        self._rows = rows
        self._given = given
        self._kept = {1.0 - float(rate): rate for rate in rates}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not _draws(func, args, kwargs):
            return func(*args, **kwargs)

        number = self._interceptor.note(self._fill(func, args, kwargs))
        if self._given is None:
            return func(*args, **kwargs)
        return args[0].copy_(self._given[number]) if func in _IN_PLACE else self._given[number]

    def _fill(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Fill:
        """Return the draw of one member."""
        like = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if func in _IN_PLACE:
            method, numbers = func._schema.name.removeprefix("aten::"), args[1:]
        elif func in _LIKE:
            method, numbers = _LIKE[func](*args)
        elif func in _NEW:
            method, numbers = _NEW[func](*args)
        else:
            raise TypeError(f"{func} draws random numbers that depend on its operands")

        shape = tuple(args[-1] if like is None else like.shape)
        if kwargs.get("generator") is not None or shape[0] != self._rows:
            raise TypeError(f"{func} does not draw for each member from the global generator")
        dtype = kwargs.get("dtype") or (_default_dtype(method) if like is None else like.dtype)
        order = tuple(range(len(shape) - 1))
        if like is not None:
            order = memory_order(shape[1:], like.stride()[1:])
        rate = self._kept.get(numbers[0]) if method == "bernoulli_" else None
        return Fill(method, tuple(numbers), shape[1:], dtype, order, rate)


def _draws(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call draws. Attention is among the operations that can, but does so for dropout only."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    names = [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return given.get("dropout_p", None if "dropout_p" not in names else 0.0) != 0.0


def _default_dtype(method: str) -> torch.dtype:
    return torch.int64 if method == "random_" else torch.get_default_dtype()
