"""One module called with the tensors of many members at once, and what it asks for when it is."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap

from popgrad.core.errors import PopgradError
from popgrad.executors.draws import Draw, Draws
from popgrad.executors.template import refusal
from popgrad.nn import dropouts, seed_streams
from popgrad.tasks import live
from popgrad.tasks.torch import Batch, TorchTask

Tensors = dict[str, torch.Tensor]


class _Called(nn.Module):
    """A module and what is done with it: called as one, since a loss may use any part of the module."""

    def __init__(self, module: nn.Module, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, *args: Any) -> torch.Tensor:
        return self._function(self.module, *args)

    def with_tensors(self, tensors: Tensors, *args: Any) -> tuple[torch.Tensor, Tensors]:
        """What comes out, and the buffers that were put in the places of those given."""
        given = {f"module.{name}": tensor for name, tensor in tensors.items()}
        value = functional_call(self, given, args)  # which writes into `given` what is in its places then
        after = {name: given[f"module.{name}"] for name in tensors}
        return value, {name: tensor for name, tensor in after.items() if tensor is not tensors[name]}


@dataclass(frozen=True)
class Asked:
    """What a step asks for.

    Attributes:
        draws: In order.
        used: Names of the parameters that the loss depends on.
    """

    draws: tuple[Draw, ...]
    used: frozenset[str]


class Losses:
    """The losses of members on a batch each.

    Args:
        task: Whose loss.
        module: In training mode. Its `popgrad.nn.Dropout` get generators to be told by.
        texts: Hyperparameters that are no numbers, alike in all members.
        reached: Names of hyperparameters that the loss asks for are added.
    """

    def __init__(
        self, task: TorchTask, module: nn.Module, texts: Mapping[str, str], reached: set[str]
    ) -> None:
        self._called, self._texts, self._reached = _Called(module, task.loss), texts, reached
        seed_streams(module, 0)
        self._places = {id(layer.generator): place for place, layer in enumerate(dropouts(module))}

    def __call__(
        self,
        tensors: Tensors,
        hparams: Tensors,
        batch: Batch,
        dims: tuple[int | None, ...],
        draws: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, Tensors]:
        """[N] losses, and the buffers [N, ...] that the module has put in the places of those given.

        Args:
            tensors: [N, ...] parameters and buffers, by name.
            hparams: [N] numbers, by name.
            batch: Tensors [N, b, ...] or [b, ...].
            dims: Of each, 0 or None.
            draws: [N, ...] each, as `Streams` makes them.
        """

        def one(*args: Any) -> tuple[torch.Tensor, Tensors]:
            return self._one(args[0], args[1], args[2], Draws(self._places, args[3]))

        return vmap(one, in_dims=(0, 0, dims, 0))(tensors, hparams, batch, list(draws))

    def _one(
        self, tensors: Tensors, hparams: Tensors, batch: Batch, draws: Draws | None
    ) -> tuple[torch.Tensor, Tensors]:
        given = live.Reads({**hparams, **self._texts}, self._reached)
        with draws or nullcontext():
            value, changed = self._called.with_tensors(tensors, batch, given)
        return value.reshape(()), changed

    def dry(self, tensors: Tensors, hparams: Tensors, batch: Batch, leaves: Collection[str]) -> Asked:
        """A step of one member without an update, to learn what it asks for.

        Args:
            tensors: [1, ...] parameters and buffers, by name. Not changed.
            hparams: [1] numbers, by name.
            batch: Tensors [b, ...].
            leaves: Names of the parameters that are trained.

        Raises:
            PopgradError: The step works for a member that is alone, but cannot be stacked.
            Exception: What it raises for a member that is alone.
        """
        draws = Draws(self._places)

        def stacked(*args: Any) -> torch.Tensor:
            values, _ = vmap(lambda own, given: self._one(own, given, batch, draws))(*args)
            return values.sum()

        def alone(*args: Any) -> torch.Tensor:
            first = [{name: tensor[0] for name, tensor in each.items()} for each in args]
            return self._one(first[0], first[1], batch, None)[0]

        before = _other_generators()
        try:
            used = _used(stacked, tensors, hparams, leaves)
        except PopgradError:
            raise
        except Exception as error:
            _used(alone, tensors, hparams, leaves)  # raises by itself where it is the task's own fault
            raise refusal(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
        if _other_generators() != before:
            raise refusal("the model or the loss draws from the global generator of Python or NumPy")
        return Asked(tuple(draws.noted), used)


def _used(
    loss: Callable[[Tensors, Tensors], torch.Tensor],
    tensors: Tensors,
    hparams: Tensors,
    leaves: Collection[str],
) -> frozenset[str]:
    own = {name: x.detach().clone().requires_grad_(name in leaves) for name, x in tensors.items()}
    trained = [name for name in own if name in leaves]
    gradients = torch.autograd.grad(loss(own, hparams), [own[name] for name in trained], allow_unused=True)
    return frozenset(name for name, found in zip(trained, gradients, strict=True) if found is not None)


def _other_generators() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, bytes(keys), *rest  # type: ignore[arg-type]


class Outputs:
    """The outputs of members on a batch that is the same for all of them.

    Args:
        task: Whose `predict`.
        module: In evaluation mode.
    """

    def __init__(self, task: TorchTask, module: nn.Module) -> None:
        self._called = _Called(module, task.predict)

    def __call__(self, tensors: Tensors, batch: Batch) -> torch.Tensor:
        """[N, b, ...] from tensors [N, ...] by name, and a batch of tensors [b, ...].

        Raises:
            PopgradError: It works for a member that is alone, but cannot be stacked.
            Exception: What it raises for a member that is alone.
        """

        def one(own: Tensors) -> torch.Tensor:
            return self._called.with_tensors(own, batch)[0]

        try:
            with Draws({}):
                return vmap(one)(tensors)
        except PopgradError:
            raise
        except Exception as error:
            one({name: tensor[0] for name, tensor in tensors.items()})
            raise refusal(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
