"""A function of tensors taken down once, as the operations that it comes to, and played with other tensors.

What a training step calls is the same each time, but finding out takes Python, vmap and autograd longer than
small matrices take to multiply. A tape calls the same kernels in the same order, so that it gives the same
bits; it is compared once with the function, and where there is any doubt there is no tape.
"""

import io
import operator
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode

from popgrad.state import raw

Flat = Sequence[torch.Tensor]
Results = Sequence[torch.Tensor | None]
Play = Callable[..., Results]
"""Of tensors like those that it was recorded with, one by one; it changes those that the function changes."""

_NOT_PLAYED = (
    torch.Tag.nondeterministic_seeded,
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
)
"""Operations that draw, give Python a number, or whose shapes depend on values."""


class _Recorder(TorchDispatchMode):
    """Notes the operations below vmap and autograd.

    Attributes:
        certain: Whether what was noted is all that happened.
    """

    def __init__(self, inputs: Flat) -> None:
        super().__init__()
        self._graph, self.certain = fx.Graph(), True
        self._nodes: dict[int, fx.Node] = {}
        self._alive: list[torch.Tensor] = []  # while a tensor lives, no other one has its id
        for number, tensor in enumerate(inputs):
            self._name(tensor, self._graph.placeholder(f"input{number}"))

    def _name(self, tensor: torch.Tensor, node: fx.Node) -> None:
        self._alive.append(tensor)
        self._nodes[id(tensor)] = node

    def _node(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        self.certain &= id(value) in self._nodes  # else it is from outside, and may be another one next time
        return self._nodes.get(id(value))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.ops.aten.detach.default:
            self._name(result, self._node(args[0]))  # nothing is differentiated when it is played
            return result
        known = isinstance(func, torch._ops.OpOverload)
        self.certain &= known and not any(tag in func.tags for tag in _NOT_PLAYED)
        node = self._graph.call_function(
            func, map_aggregate(args, self._node), map_aggregate(kwargs, self._node)
        )
        if isinstance(result, torch.Tensor):
            self._name(result, node)
        elif isinstance(result, tuple | list):
            for number, each in enumerate(result):
                if isinstance(each, torch.Tensor):
                    self._name(each, self._graph.call_function(operator.getitem, (node, number)))
        return result

    def play(self, results: Results) -> Play | None:
        """What was noted, as a function; None where it would not be the same."""
        nodes = tuple(map(self._node, results))
        if not self.certain:
            return None
        self._graph.output(nodes)
        self._graph.eliminate_dead_code()
        made = fx.GraphModule(nn.Module(), self._graph).forward
        return torch.no_grad()(made)


def record(
    function: Callable[[Flat], Results], inputs: Flat, witness: object
) -> tuple[Results, Play | None]:
    """Call a function, and take down what it does.

    Args:
        function: Of tensors alone; it may change them in place. A result may be None.
        inputs: What it is called with.
        witness: What the function refers to, e.g. a module and a loss: where that is another one afterwards
            (a module that counts its calls), the next call may do something else.

    Returns:
        The function's own results; and its tape, None where it cannot be told or would not be the same.
    """
    copies, before = [x.detach().clone() for x in inputs], _attributes(witness)
    with _Recorder(inputs) as recorder:
        results = function(inputs)
    play = recorder.play(results) if before is not None and _attributes(witness) == before else None
    if play is not None and not (_equal(play(*copies), results) and _equal(copies, inputs)):
        play = None
    return results, play


def _equal(some: Results, others: Results) -> bool:
    """Whether they are the same bits."""
    return all(
        a is b is None
        or (a is not None and b is not None and a.dtype == b.dtype and raw(a).equal(raw(b)))
        for a, b in zip(some, others, strict=True)
    )


def _attributes(witness: object) -> bytes | None:
    """All that an object holds but for the content of its tensors and arrays; None = it cannot be told."""
    written = io.BytesIO()
    try:
        _Attributes(written).dump(witness)
    except Exception:  # whatever its parts raise
        return None
    return written.getvalue()


class _Attributes(cloudpickle.Pickler):  # type: ignore[misc]
    def persistent_id(self, value: object) -> int | None:
        """By which object it is, where its content does not count or cannot be told."""
        return id(value) if isinstance(value, torch.Tensor | np.ndarray | torch.Generator) else None
