"""One module called with the tensors of many members at once, and what it asks for when it is."""

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
from popgrad.executors.stacked.draws import Draw, Draws
from popgrad.executors.stacked.template import refusal
from popgrad.nn import dropouts
from popgrad.tasks import binding
from popgrad.tasks.torch_task import Batch, TorchTask

Tensors = dict[str, torch.Tensor]
Holder = dict[str, torch.Tensor | None]


class Sockets:
    """The places of a module's parameters and buffers, to put others there for a while.

    It is `torch.func.functional_call` for a function that may use any part of the module, at a tenth of the
    time: what is found out there at each call is found out once here.
    """

    def __init__(self, module: nn.Module) -> None:
        own = [*module.named_parameters(), *module.named_buffers()]
        names = {id(tensor): name for name, tensor in own}  # what is in two places has one name
        self._places: list[tuple[Holder, str, str]] = [
            (holder, key, names[id(tensor)])
            for layer in module.modules()
            for holder in cast(tuple[Holder, Holder], (layer._parameters, layer._buffers))
            for key, tensor in holder.items()
            if tensor is not None
        ]

    @contextmanager
    def holding(self, tensors: Tensors) -> Iterator[Tensors]:
        """With these tensors in place. What the module has replaced is in what this gives, at the end."""
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
class Asked:
    """What a step asks for.

    Attributes:
        draws: In order.
        used: Names of the parameters that the loss depends on.
        caught: Whether `Draws` has to be entered.
    """

    draws: tuple[Draw, ...]
    used: frozenset[str]
    caught: bool


class Losses:
    """The losses of members on a batch each.

    Args:
        task: Whose loss.
        module: In training mode.
        texts: Hyperparameters that are no numbers, alike in all members.
        reached: Names of hyperparameters that the loss asks for are added.
        catch: Whether `Draws` has to be entered.
    """

    def __init__(
        self,
        task: TorchTask,
        module: nn.Module,
        texts: Mapping[str, str],
        reached: set[str],
        *,
        catch: bool = True,
    ) -> None:
        self._loss, self._module, self._sockets = task.loss, module, Sockets(module)
        self._texts, self._reached, self._catch = texts, reached, catch
        self._dropouts = dropouts(module)

    @property
    def parts(self) -> tuple[object, ...]:
        """What is called."""
        return self._loss, self._module

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
            return self._one(args[0], args[1], args[2], Draws(args[3]))

        return vmap(one, in_dims=(0, 0, dims, 0))(tensors, hparams, batch, list(draws))

    def _one(
        self, tensors: Tensors, hparams: Tensors, batch: Batch, draws: Draws | None
    ) -> tuple[torch.Tensor, Tensors]:
        given = binding.TrackedHparams({**hparams, **self._texts}, self._reached)
        for place, layer in enumerate(self._dropouts):
            layer.given = None if draws is None else partial(draws.bits, place)
        with (
            self._sockets.holding(tensors) as replaced,
            draws if draws and self._catch else nullcontext(),
        ):
            value = self._loss(self._module, batch, given)
        for layer in self._dropouts:
            layer.given = None
        return value.reshape(()), replaced

    def dry(
        self, tensors: Tensors, hparams: Tensors, batch: Batch, leaves: Collection[str]
    ) -> Asked:
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
        draws = Draws()

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
            _used(
                alone, tensors, hparams, leaves
            )  # raises by itself where it is the task's own fault
            raise refusal(
                f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            ) from error
        if _other_generators() != before:
            raise refusal(
                "the model or the loss draws from the global generator of Python or NumPy"
            )
        return Asked(tuple(draws.noted), used, draws.needed)


def _used(
    loss: Callable[[Tensors, Tensors], torch.Tensor],
    tensors: Tensors,
    hparams: Tensors,
    leaves: Collection[str],
) -> frozenset[str]:
    own = {name: x.detach().clone().requires_grad_(name in leaves) for name, x in tensors.items()}
    trained = [name for name in own if name in leaves]
    gradients = torch.autograd.grad(
        loss(own, hparams), [own[name] for name in trained], allow_unused=True
    )
    return frozenset(
        name for name, found in zip(trained, gradients, strict=True) if found is not None
    )


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
        self._predict, self._module, self._sockets = task.predict, module, Sockets(module)

    def __call__(self, tensors: Tensors, batch: Batch) -> torch.Tensor:
        """[N, b, ...] from tensors [N, ...] by name, and a batch of tensors [b, ...].

        Raises:
            PopgradError: It works for a member that is alone, but cannot be stacked.
            Exception: What it raises for a member that is alone.
        """

        def one(own: Tensors) -> torch.Tensor:
            with self._sockets.holding(own):
                return self._predict(self._module, batch)

        try:
            with Draws():
                return vmap(one)(tensors)
        except PopgradError:
            raise
        except Exception as error:
            one({name: tensor[0] for name, tensor in tensors.items()})
            raise refusal(
                f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            ) from error
