"""A function of tensors taken down once, as the operations that it comes to, and played with other tensors.

What a training step calls is the same each time, but finding out takes Python, vmap and autograd longer than
small matrices take to multiply. A tape calls the same kernels in the same order, but for products whose
transpose is asked for, so that it gives the same bits; it is compared once with the function, and where there
is any doubt there is no tape.
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

_NOT_PLAYED = (
    torch.Tag.nondeterministic_seeded,
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
)
"""Operations that draw, give Python a number, or whose shapes depend on values."""

_PRODUCT, _TRANSPOSE = torch.ops.aten.bmm.default, torch.ops.aten.transpose.int


@dataclass(frozen=True)
class Tape:
    """A function of two groups of tensors, in two parts: what depends on the first one alone is apart.

    Attributes:
        once: Called with the fixed tensors, one by one; gives what `each` is called with first.
        each: Called with that, and with the others; gives the function's results. It changes in place those
            that the function changes.
    """

    once: Callable[..., Flat]
    each: Callable[..., Results]


def record(
    function: Callable[[Flat], Results], fixed: Flat, others: Flat, witness: object
) -> tuple[Results, Tape | None]:
    """Call a function, and take down what it does.

    Args:
        function: Of the fixed tensors and the others. It may change the others in place. Results may be None.
        fixed: What stays the same from one call to the next, usually.
        others: What does not.
        witness: What the function refers to, e.g. a module and a loss: where that is another one afterwards
            (a module that counts its calls), the next call may do something else.

    Returns:
        The function's own results; and its tape, None where it cannot be told or would not be the same.
    """
    inputs = [*fixed, *others]
    copies, before = [x.detach().clone() for x in inputs], _attributes(witness)
    with _Recorder(fixed, others) as recorder:
        results = function(inputs)
    if before is None or _attributes(witness) != before or not recorder.finish(results):
        return results, None
    for shorter in (True, False):
        given = [x.clone() for x in copies]
        with suppress(Exception):  # a shorter way to a kernel may take its arguments differently
            tape = recorder.tape(shorter=shorter)
            again = tape.each(*tape.once(*given[: len(fixed)]), *given[len(fixed) :])
            if _equal(again, results) and _equal(given, inputs):
                return results, tape
    return results, None


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations below vmap and autograd.

    Views of what is fixed are fixed too, so that whatever changes it is seen.
    """

    def __init__(self, fixed: Flat, others: Flat) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._once, self._each = fx.Graph(), fx.Graph()
        self._nodes: dict[int, fx.Node] = {}
        self._alive: list[torch.Tensor] = []  # while a tensor lives, no other one has its id
        # Of what is made once: its place among what is given to each.
        self._carried: dict[fx.Node, fx.Node] = {}
        self._certain = True  # that what was noted is all that happens
        for graph, tensors in ((self._once, fixed), (self._each, others)):
            for number, tensor in enumerate(tensors):
                self._name(tensor, graph.placeholder(f"input{number}"))
        self._first = next(iter(self._each.nodes))

    def _name(self, tensor: torch.Tensor, node: fx.Node) -> None:
        self._alive.append(tensor)
        self._nodes[id(tensor)] = node

    def _node(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        self._certain &= (
            id(value) in self._nodes
        )  # else it is from outside, and may be another one next time
        return self._nodes.get(id(value))

    def _carry(self, value: Any) -> Any:
        """The node in the part that is played each time."""
        if not isinstance(value, fx.Node) or value.graph is self._each:
            return value
        if value not in self._carried:
            with self._each.inserting_before(self._first):
                self._carried[value] = self._each.placeholder(f"fixed{len(self._carried)}")
        return self._carried[value]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if _is_first(func, args, result):
            self._name(result, self._node(args[0]))
        else:
            self._note(
                func, map_aggregate(args, self._node), map_aggregate(kwargs, self._node), result
            )
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: object) -> None:
        known = isinstance(func, torch._ops.OpOverload) and not any(
            tag in func.tags for tag in _NOT_PLAYED
        )
        changed = _changed(func, args, kwargs) if known else []
        self._certain &= known and not any(node.graph is self._once for node in _nodes(changed))
        varies = bool(changed) or any(node.graph is self._each for node in _nodes([args, kwargs]))
        graph = self._each if varies else self._once
        if varies:
            args, kwargs = map_aggregate(args, self._carry), map_aggregate(kwargs, self._carry)
        node = graph.call_function(func, args, kwargs)
        if isinstance(result, torch.Tensor):
            self._name(result, node)
        elif isinstance(result, tuple | list):
            for number, each in enumerate(result):
                if isinstance(each, torch.Tensor):
                    self._name(each, graph.call_function(operator.getitem, (node, number)))

    def finish(self, results: Results) -> bool:
        """Note what the results are. Whether what was noted is all that happens."""
        nodes = tuple(map(self._node, results))
        if self._certain:
            self._each.output(tuple(map(self._carry, nodes)))
            self._once.output(tuple(self._carried))
        return self._certain

    def tape(self, *, shorter: bool) -> Tape:
        """What was noted; `shorter`: in ways that take less time, and are to give the same bits."""
        return Tape(_made(self._once, shorter=shorter), _made(self._each, shorter=shorter))


def _made(noted: fx.Graph, *, shorter: bool) -> Callable[..., Any]:
    graph = fx.Graph()
    graph.output(graph.graph_copy(noted, {}))
    if shorter:
        _turn(graph)
    graph.eliminate_dead_code()
    if shorter:  # from here on nobody can tell what an operation changes
        for node in graph.nodes:
            node.target = _bound(node.target)
    return torch.no_grad()(fx.GraphModule(nn.Module(), graph).forward)


def _bound(target: Any) -> Any:
    """Torch's own Python function for an operation, where there is one: a call takes half the time."""
    if not isinstance(target, torch._ops.OpOverload):
        return target
    name = target._schema.name.removeprefix("aten::")
    return getattr(torch._C._VariableFunctions, name, None) or getattr(torch.Tensor, name, target)


def _turn(graph: fx.Graph) -> None:
    """Compute (A B)' as B' A' where nobody else asks for A B.

    So the gradient of a linear layer's weights lies as they do, and need not be copied.
    """
    for node in graph.find_nodes(op="call_function", target=_TRANSPOSE):
        product, *dims = node.args
        if dims == [1, 2] and product.target is _PRODUCT and len(product.users) == 1:
            with graph.inserting_before(node):
                turned = tuple(_transposed(x) for x in reversed(product.args))
                node.replace_all_uses_with(graph.call_function(_PRODUCT, turned))


def _transposed(node: fx.Node) -> fx.Node:
    if node.target is _TRANSPOSE and node.args[1:] == (1, 2):
        return node.args[0]  # type: ignore[return-value]
    return node.graph.call_function(_TRANSPOSE, (node, 1, 2))


def _nodes(values: Any) -> list[fx.Node]:
    """All that are in nested values."""
    found: list[fx.Node] = []
    fx.node.map_arg(values, lambda node: found.append(node))
    return found


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The operands that an operation changes in place."""
    places = [*enumerate(func._schema.arguments)]
    return [
        args[number] if number < len(args) else kwargs.get(argument.name)
        for number, argument in places
        if argument.is_write
    ]


def _is_first(func: Any, args: tuple[Any, ...], result: object) -> bool:
    """Whether an operation gives its first operand as it is: nothing is differentiated when it is played."""
    if not (args and isinstance(args[0], torch.Tensor) and isinstance(result, torch.Tensor)):
        return False
    if func is torch.ops.aten.mul.Scalar:  # of the bias of a linear layer
        return type(args[1]) is int and args[1] == 1 and result.dtype == args[0].dtype
    some, others = (
        (x.data_ptr(), x.shape, x.stride(), x.dtype, x.is_conj(), x.is_neg())
        for x in (args[0], result)
    )
    return some == others and not func._schema.is_mutable


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
