"""A function of tensors recorded once, as the operations that it calls, and replayed with other tensors.

A training step calls the same operations each time, but finding them takes Python, vmap and
autograd longer than small matrices take to multiply. A tape calls the same kernels in the same
order, except for products whose transpose is requested, so that it gives the same bits. It is
compared with the function once, and if there is any doubt, there is no tape.
"""

import io
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

_NOT_REPLAYED = (
    torch.Tag.nondeterministic_seeded,
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
)
"""Tags of operations that draw, return a number to Python, or have shapes that depend on values."""

_PRODUCT = torch.ops.aten.bmm.default
_TRANSPOSE = torch.ops.aten.transpose.int


@dataclass(frozen=True)
class Tape:
    """A function of fixed and other tensors, in two parts: the first depends on the fixed ones alone.

    Attributes:
        prepare: Called with the fixed tensors, one by one; returns the first arguments of `replay`.
        replay: Called with these, then with the others; returns the results of the function, and
            changes the tensors in place that the function changes.
    """

    prepare: Callable[..., Flat]
    replay: Callable[..., Results]


def record(
    function: Callable[[Flat], Results], fixed: Flat, others: Flat, witness: object
) -> tuple[Results, Tape | None]:
    """Call a function, and record what it does.

    Args:
        function: Function of the fixed tensors and the others. It may change the others in place. A
            result may be None.
        fixed: Tensors that usually stay the same from one call to the next.
        others: Tensors that change from one call to the next.
        witness: What the function refers to, such as a module and a loss. If the call changes it (a
            module that counts its calls), the next call may do something else.

    Returns:
        The function's own results, and its tape; None if the tape would not do the same, or may
        not.
    """
    inputs = [*fixed, *others]
    copies = [x.detach().clone() for x in inputs]
    before = snapshot(witness)
    with _Recorder(fixed, others) as recorder:
        results = function(inputs)
    if before is None or snapshot(witness) != before or not recorder.finish(results):
        return results, None

    for shorter in (True, False):
        arguments = [x.clone() for x in copies]
        # A shorter way to a kernel may take its arguments differently.
        with suppress(Exception):
            tape = recorder.tape(shorter=shorter)
            prepared = tape.prepare(*arguments[: len(fixed)])
            replayed = tape.replay(*prepared, *arguments[len(fixed) :])
            if _equal(replayed, results) and _equal(arguments, inputs):
                return results, tape
    return results, None


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations below vmap and autograd, in two graphs.

    Views of fixed tensors are fixed too, so that an operation that changes one is noticed.
    """

    def __init__(self, fixed: Flat, others: Flat) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._prepare = fx.Graph()  # of the operations on fixed tensors alone
        self._replay = fx.Graph()  # of all others
        self._nodes: dict[int, fx.Node] = {}  # node of each tensor, by its id
        self._alive: list[torch.Tensor] = []  # while a tensor lives, no other one has its id
        self._carried: dict[fx.Node, fx.Node] = {}  # results of `_prepare` -> inputs of `_replay`
        self._complete = True  # whether the noted operations are all that happened

        for graph, tensors in ((self._prepare, fixed), (self._replay, others)):
            for number, tensor in enumerate(tensors):
                self._name(tensor, graph.placeholder(f"input{number}"))
        self._first = next(iter(self._replay.nodes))

    def _name(self, tensor: torch.Tensor, node: fx.Node) -> None:
        self._alive.append(tensor)
        self._nodes[id(tensor)] = node

    def _node(self, value: Any) -> Any:
        """Return the node of a tensor; another value as it is."""
        if not isinstance(value, torch.Tensor):
            return value
        # An unknown tensor comes from outside, and may be another one in the next call.
        self._complete &= id(value) in self._nodes
        return self._nodes.get(id(value))

    def _carry(self, value: Any) -> Any:
        """Return the node of `_replay` for a node of either graph; another value as it is."""
        if not isinstance(value, fx.Node) or value.graph is self._replay:
            return value
        if value not in self._carried:
            with self._replay.inserting_before(self._first):
                self._carried[value] = self._replay.placeholder(f"fixed{len(self._carried)}")
        return self._carried[value]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if _returns_first(func, args, result):
            self._name(result, self._node(args[0]))
        else:
            nodes = map_aggregate(args, self._node)
            self._note(func, nodes, map_aggregate(kwargs, self._node), result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: object) -> None:
        """Add an operation to the graph that it belongs to."""
        replayable = isinstance(func, torch._ops.OpOverload) and not any(
            tag in func.tags for tag in _NOT_REPLAYED
        )
        changed = _changed(func, args, kwargs) if replayable else []
        self._complete &= replayable and not any(
            node.graph is self._prepare for node in _nodes(changed)
        )

        varies = bool(changed) or any(node.graph is self._replay for node in _nodes([args, kwargs]))
        graph = self._prepare
        if varies:
            graph = self._replay
            args = map_aggregate(args, self._carry)
            kwargs = map_aggregate(kwargs, self._carry)

        node = graph.call_function(func, args, kwargs)
        if isinstance(result, torch.Tensor):
            self._name(result, node)
        elif isinstance(result, tuple | list):
            for number, part in enumerate(result):
                if isinstance(part, torch.Tensor):
                    self._name(part, graph.call_function(operator.getitem, (node, number)))

    def finish(self, results: Results) -> bool:
        """Note the results, and return whether the noted operations are all that happened."""
        nodes = tuple(map(self._node, results))
        if self._complete:
            self._replay.output(tuple(map(self._carry, nodes)))
            self._prepare.output(tuple(self._carried))
        return self._complete

    def tape(self, *, shorter: bool) -> Tape:
        """Return the noted operations as a tape.

        Args:
            shorter: Call them in ways that take less time, and should give the same bits.
        """
        return Tape(
            _compile(self._prepare, shorter=shorter), _compile(self._replay, shorter=shorter)
        )


# --- from a graph to a function -----------------------------------------------------------------


def _compile(noted: fx.Graph, *, shorter: bool) -> Callable[..., Any]:
    """Return a function that calls the operations of a graph."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(noted, {}))
    if shorter:
        _transpose_products(graph)
    graph.eliminate_dead_code()

    # Shortcuts come last: torch does not know what they change, and so which code is dead.
    if shorter:
        for node in graph.nodes:
            node.target = _shortcut(node.target)
    return torch.no_grad()(fx.GraphModule(nn.Module(), graph).forward)


def _shortcut(target: Any) -> Any:
    """Return torch's own Python function for an operation, if it has one: a call takes half the time."""
    if not isinstance(target, torch._ops.OpOverload):
        return target
    name = target._schema.name.removeprefix("aten::")
    return getattr(torch._C._VariableFunctions, name, None) or getattr(torch.Tensor, name, target)


def _transpose_products(graph: fx.Graph) -> None:
    """Compute (A B)' as B' A' if nothing else uses A B.

    The gradient of a linear layer's weights then has the layout of the weights, and need not be
    copied.
    """
    for node in graph.find_nodes(op="call_function", target=_TRANSPOSE):
        product, *dims = node.args
        if dims == [1, 2] and product.target is _PRODUCT and len(product.users) == 1:
            with graph.inserting_before(node):
                operands = tuple(_transposed(x) for x in reversed(product.args))
                node.replace_all_uses_with(graph.call_function(_PRODUCT, operands))


def _transposed(node: fx.Node) -> fx.Node:
    if node.target is _TRANSPOSE and node.args[1:] == (1, 2):
        return node.args[0]  # type: ignore[return-value]
    return node.graph.call_function(_TRANSPOSE, (node, 1, 2))


# --- what an operation does ---------------------------------------------------------------------


def _nodes(values: Any) -> list[fx.Node]:
    """Return all nodes in nested values."""
    nodes: list[fx.Node] = []
    fx.node.map_arg(values, lambda node: nodes.append(node))
    return nodes


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the operands that an operation changes in place."""
    return [
        args[number] if number < len(args) else kwargs.get(argument.name)
        for number, argument in enumerate(func._schema.arguments)
        if argument.is_write
    ]


def _returns_first(func: Any, args: tuple[Any, ...], result: object) -> bool:
    """Return whether an operation returns its first operand, given that a tape differentiates nothing."""
    if not (args and isinstance(args[0], torch.Tensor) and isinstance(result, torch.Tensor)):
        return False
    # Autograd multiplies the bias of a linear layer by one.
    if func is torch.ops.aten.mul.Scalar:
        return type(args[1]) is int and args[1] == 1 and result.dtype == args[0].dtype
    return _view(args[0]) == _view(result) and not func._schema.is_mutable


def _view(x: torch.Tensor) -> tuple[object, ...]:
    """Return an identity of the elements that a tensor views: equal for two views of the same."""
    return x.data_ptr(), x.shape, x.stride(), x.dtype, x.is_conj(), x.is_neg()


# --- comparison ---------------------------------------------------------------------------------


def _equal(some: Results, others: Results) -> bool:
    """Return whether results have the same bits."""
    return all(
        a is b is None
        or (a is not None and b is not None and a.dtype == b.dtype and raw(a).equal(raw(b)))
        for a, b in zip(some, others, strict=True)
    )


def snapshot(witness: object) -> bytes | None:
    """Return all that an object holds except the content of tensors and arrays; None = not possible."""
    written = io.BytesIO()
    try:
        _AttributePickler(written).dump(witness)
    except Exception:
        # The object's parts may raise anything.
        return None
    return written.getvalue()


class _AttributePickler(cloudpickle.Pickler):  # type: ignore[misc]
    def persistent_id(self, value: object) -> int | None:
        """Return the identity of an object whose content does not count or cannot be pickled."""
        return id(value) if isinstance(value, torch.Tensor | np.ndarray | torch.Generator) else None
