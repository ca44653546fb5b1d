"""One module called with the tensors of many members at once, and the profile of such a call."""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.func import vmap

from popgrad.core.errors import PopgradError
from popgrad.executors.stacked.draws import Draw, DrawInterceptor, Fill
from popgrad.executors.stacked.fills import FillInterceptor
from popgrad.executors.stacked.rates import Rate
from popgrad.executors.stacked.template import refusal
from popgrad.nn import dropouts
from popgrad.tasks import binding
from popgrad.tasks.torch_task import Batch, TorchTask

Tensors = dict[str, torch.Tensor]
_DRAWN_PREDICTION = "the prediction draws random numbers"

Holder = dict[str, torch.Tensor | None]


class ParameterSwap:
    """Exchanges the parameters and buffers of a module for other tensors, for a while.

    It is `torch.func.functional_call` for a function that may use any part of the module, at a
    tenth of the time: what that finds out at each call is found out once here.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        # A tensor that the module has in two places has one name.
        named = [*module.named_parameters(), *module.named_buffers()]
        names = {id(tensor): name for name, tensor in named}
        self._places: list[tuple[Holder, str, str]] = [  # (holder, key in it, name of the tensor)
            (holder, key, names[id(tensor)])
            for layer in module.modules()
            for holder in cast(tuple[Holder, Holder], (layer._parameters, layer._buffers))
            for key, tensor in holder.items()
            if tensor is not None
        ]

    @contextmanager
    def swapped(self, tensors: Tensors) -> Iterator[Tensors]:
        """Put tensors into the module, and take them out at the end.

        Args:
            tensors: Parameters and buffers, by name.

        Yields:
            At the end, the tensors by which the module has replaced given ones, by name.
        """
        before = [holder[key] for holder, key, _ in self._places]
        replaced: Tensors = {}
        for holder, key, name in self._places:
            holder[key] = tensors[name]

        try:
            yield replaced
            for holder, key, name in self._places:
                now = holder[key]
                if now is not None and now is not tensors[name]:
                    replaced[name] = now
        finally:
            for (holder, key, _), tensor in zip(self._places, before, strict=True):
                holder[key] = tensor


@dataclass(frozen=True)
class StepProfile:
    """Profile of a training step.

    Attributes:
        draws: Draws of the step, in order.
        used: Names of the parameters that the loss depends on.
        intercepts: Whether the step needs a `DrawInterceptor`.
    """

    draws: tuple[Draw, ...]
    used: frozenset[str]
    intercepts: bool

    @property
    def fills(self) -> bool:
        """Whether the step needs a `FillInterceptor`."""
        return any(isinstance(draw, Fill) for draw in self.draws)


class Losses:
    """The losses of members on a batch each.

    Args:
        task: Task with the loss.
        module: Module in training mode.
        strings: Hyperparameters that are no numbers, equal for all members.
        reached: Names of hyperparameters; those that the loss reads are added.
        rates: Rates in which members differ, which are in the module.
        intercepts: Whether the step needs a `DrawInterceptor`.
        fills: Whether the step needs a `FillInterceptor`.
    """

    def __init__(
        self,
        task: TorchTask,
        module: nn.Module,
        strings: Mapping[str, str],
        reached: set[str],
        rates: tuple[Rate, ...],
        *,
        intercepts: bool = True,
        fills: bool = True,
    ) -> None:
        self._loss = task.loss
        self._module = module
        self._swap = ParameterSwap(module)
        self._dropouts = dropouts(module)
        self._strings = strings
        self._reached = reached
        self._rates = rates
        self._intercepts = intercepts
        self._fills = fills

    @property
    def witness(self) -> tuple[object, ...]:
        """Objects that a call refers to, besides tensors."""
        return self._loss, self._module

    def __call__(
        self,
        tensors: Tensors,
        hparams: Tensors,
        batch: Batch,
        dims: tuple[int | None, ...],
        draws: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, Tensors]:
        """Compute [N] losses, and the buffers [N, ...] by which the module has replaced given ones.

        Args:
            tensors: [N, ...] parameters and buffers, by name.
            hparams: [N] numbers, by name.
            batch: Tensors [N, b, ...] or [b, ...].
            dims: Dimension of the members in each tensor of the batch: 0, or None.
            draws: [N, ...] each, from `Streams`.
        """
        interceptor = DrawInterceptor()
        rows = len(next(iter(tensors.values())))
        given = list(draws)
        if self._fills:
            # What is drawn like a batch has to be drawn for each member.
            batch = tuple(
                x if dim == 0 else x.expand(rows, *x.shape)
                for x, dim in zip(batch, dims, strict=True)
            )
            dims = tuple(0 for _ in dims)

        def one(*args: Any) -> tuple[torch.Tensor, Tensors]:
            interceptor.give(args[3])
            return self._one(args[0], args[1], args[2], interceptor)

        function = vmap(one, in_dims=(0, 0, dims, 0), randomness=_randomness(self._fills))
        if not self._fills:
            return function(tensors, hparams, batch, given)
        with FillInterceptor(interceptor, rows, given, self._rates):
            return function(tensors, hparams, batch, given)

    def _one(
        self,
        tensors: Tensors,
        hparams: Tensors,
        batch: Batch,
        interceptor: DrawInterceptor | None,
    ) -> tuple[torch.Tensor, Tensors]:
        """Compute the loss of one member, and the buffers that its module has replaced."""
        tracked = binding.TrackedHparams({**hparams, **self._strings}, self._reached)
        for place, layer in enumerate(self._dropouts):
            layer.given = None if interceptor is None else partial(interceptor.bits, place)
        interception = interceptor if interceptor and self._intercepts else nullcontext()
        with self._swap.swapped(tensors) as replaced, interception:
            value = self._loss(self._module, batch, tracked)
        for layer in self._dropouts:
            layer.given = None
        return value.reshape(()), replaced

    def profile(
        self, tensors: Tensors, hparams: Tensors, batch: Batch, parameters: Collection[str]
    ) -> StepProfile:
        """Return the profile of a step: a dry run of one member, without an update.

        Args:
            tensors: [1, ...] parameters and buffers, by name. Not changed.
            hparams: [1] numbers, by name.
            batch: Tensors [b, ...].
            parameters: Names of the parameters that require gradients.

        Raises:
            PopgradError: The step works for a member that is alone, but cannot be stacked.
            Exception: An error of the step for a member that is alone.
        """
        interceptor = DrawInterceptor()

        def stacked(*args: Any) -> torch.Tensor:
            def member(own: Tensors, numbers: Tensors, samples: Batch) -> Any:
                return self._one(own, numbers, samples, interceptor)

            one: Callable[..., tuple[torch.Tensor, Tensors]] = vmap(member, randomness="different")
            with FillInterceptor(interceptor, 1, None, self._rates):
                values, _ = one(*args, tuple(x[None] for x in batch))
            return values.sum()

        def alone(*args: Any) -> torch.Tensor:
            first = [{name: x[0] for name, x in mapping.items()} for mapping in args]
            return self._one(first[0], first[1], batch, None)[0]

        before = _other_generators()
        try:
            used = _used(stacked, tensors, hparams, parameters)
        except PopgradError:
            raise
        except Exception as error:
            _used(alone, tensors, hparams, parameters)  # raises if the task itself is at fault
            raise refusal(_first_line(error)) from error
        if _other_generators() != before:
            raise refusal(
                "the model or the loss draws from the global generator of Python or NumPy"
            )
        return StepProfile(tuple(interceptor.draws), used, interceptor.intercepted)


def _randomness(fills: bool) -> str:
    """Return what vmap does with draws that nothing replaces: with `fills` there are none."""
    return "different" if fills else "error"


def _used(
    loss: Callable[[Tensors, Tensors], torch.Tensor],
    tensors: Tensors,
    hparams: Tensors,
    parameters: Collection[str],
) -> frozenset[str]:
    """Return the names of the parameters that a loss depends on."""
    copies = {
        name: x.detach().clone().requires_grad_(name in parameters) for name, x in tensors.items()
    }
    names = [name for name in copies if name in parameters]
    gradients = torch.autograd.grad(
        loss(copies, hparams), [copies[name] for name in names], allow_unused=True
    )
    pairs = zip(names, gradients, strict=True)
    return frozenset(name for name, gradient in pairs if gradient is not None)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _other_generators() -> tuple[object, ...]:
    """Return the state of Python's and NumPy's global generators."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, bytes(keys), *rest  # type: ignore[arg-type]


class Outputs:
    """The outputs of members on a batch that is the same for all of them.

    Args:
        task: Task with the prediction.
        module: Module in evaluation mode.
    """

    def __init__(self, task: TorchTask, module: nn.Module) -> None:
        self._predict = task.predict
        self._module = module
        self._swap = ParameterSwap(module)

    def __call__(self, tensors: Tensors, batch: Batch) -> torch.Tensor:
        """Compute [N, b, ...] outputs.

        Args:
            tensors: [N, ...] parameters and buffers, by name.
            batch: Tensors [b, ...].

        Raises:
            PopgradError: The prediction works for a member that is alone, but cannot be stacked.
            Exception: An error of the prediction for a member that is alone.
        """

        def one(own: Tensors) -> torch.Tensor:
            with self._swap.swapped(own):
                return self._predict(self._module, batch)

        try:
            with DrawInterceptor() as interceptor:
                outputs = vmap(one)(tensors)
        except PopgradError:
            raise
        except Exception as error:
            # This raises the task's own exception if the task is at fault.
            one({name: x[0] for name, x in tensors.items()})
            if "random operation" in str(error):
                raise refusal(_DRAWN_PREDICTION) from error
            raise refusal(_first_line(error)) from error
        if interceptor.draws:
            raise refusal(_DRAWN_PREDICTION)
        return outputs
