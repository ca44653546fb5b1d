"""States as plain data: everything that an heir inherits.

A state consists of nested dictionaries (string or integer keys), lists and tuples of tensors, NumPy
arrays, numbers, strings, booleans and None. It is flattened into a *tree* (plain JSON) and *leaves*
(tensors), and restored from these two; copies, digests, checkpoints and shared memory all use them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from popgrad.core.errors import UsageError

State = dict[str, Any]
Tree = Any
"""JSON: scalars as they are, {"f": hex} floats, {"t": i} and {"n": i} the i-th leaf as a tensor or an
array, {"d": [[key, tree], ...]} dictionaries, {"l": [tree, ...]} lists, {"u": [tree, ...]}
tuples."""

_LARGEST_BITS = 8192
"""Bits of the largest integer: Python reads back about 14,000 of them from text."""

_DEEPEST = 100
"""Levels of nesting; Python's JSON reads about 1,000."""


def flatten(state: object) -> tuple[Tree, list[torch.Tensor]]:
    """Split a state into its tree and its leaves; tensors among the leaves alias the state's memory.

    Raises:
        UsageError: An entry is not plain data; the message names its position.

    Example:
        >>> flatten({"weight": torch.ones(2), "steps": 3})
        ({'d': [['weight', {'t': 0}], ['steps', 3]]}, [tensor([1., 1.])])
    """
    leaves: list[torch.Tensor] = []
    return _flatten(state, leaves, "state", ()), leaves


def _flatten(
    node: object, leaves: list[torch.Tensor], path: str, above: tuple[object, ...]
) -> Tree:
    """Return the tree of a node and append its leaves; `above` are the containers around it."""
    if isinstance(node, torch.Tensor):
        leaves.append(_plain_tensor(node, path))
        return {"t": len(leaves) - 1}

    if isinstance(node, np.ndarray):
        leaves.append(_from_numpy(node, path))
        return {"n": len(leaves) - 1}

    if node is None or isinstance(node, bool | int | float | str):
        return _scalar(node, path)

    if isinstance(node, Mapping | list | tuple):
        _check_nesting(node, path, above)
        above = (*above, node)
    if isinstance(node, Mapping):
        for key in node:
            if type(key) not in (str, int):
                raise UsageError(
                    f"{path} has the key {key!r:.80}: keys of a state are strings or integers"
                )
        return {
            "d": [
                [key, _flatten(value, leaves, f"{path}[{key!r}]", above)]
                for key, value in node.items()
            ]
        }
    if isinstance(node, list | tuple):
        items = [_flatten(value, leaves, f"{path}[{i}]", above) for i, value in enumerate(node)]
        return {"l" if isinstance(node, list) else "u": items}

    raise UsageError(
        f"{path} is a {type(node).__module__}.{type(node).__qualname__}: a state holds dictionaries, lists, "
        "tensors, arrays, numbers, strings, booleans and None (turn NumPy scalars into Python numbers)"
    )


def _plain_tensor(tensor: torch.Tensor, path: str) -> torch.Tensor:
    """Return a tensor without its history, whose memory holds its values.

    Raises:
        UsageError: Its values cannot be read from memory and written back.
    """
    if is_lazy(tensor):
        raise UsageError(
            f"{path} belongs to a lazy module and has no shape yet; run one batch through the module "
            "before its state is returned"
        )
    if tensor.is_meta:
        raise UsageError(f"{path} is a tensor on meta, which has no values; make it on ctx.device")
    if tensor.is_quantized:
        raise UsageError(
            f"{path} is a quantised tensor; a state holds plain ones: keep x.int_repr(), x.q_scale() and "
            "x.q_zero_point()"
        )
    if tensor.layout != torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else tensor.layout
        raise UsageError(f"{path} is a tensor of layout {layout}: a state holds dense tensors")
    # A conjugate view holds the values of another tensor.
    return tensor.detach().resolve_conj().resolve_neg()


def _scalar(node: bool | float | str | None, path: str) -> Tree:
    """Return the tree of a scalar.

    Raises:
        UsageError: It would come back as another type, or is too large.
    """
    if isinstance(node, np.float64 | np.str_):  # plain but for their type
        node = node.item()
    if node is not None and type(node) not in (bool, int, float, str):
        base = next(kind for kind in (int, float, str) if isinstance(node, kind)).__name__
        name = type(node).__name__
        raise UsageError(
            f"{path} is a {name}, which would come back as a plain {base}; keep {base}(...) of it in the "
            f"state, and make the {name} again where it is used"
        )
    if isinstance(node, int) and node.bit_length() > _LARGEST_BITS:
        raise UsageError(
            f"{path} is an integer of {node.bit_length()} bits; a state holds integers of at most "
            f"{_LARGEST_BITS}"
        )
    return {"f": node.hex()} if isinstance(node, float) else node


def _check_nesting(node: object, path: str, above: tuple[object, ...]) -> None:
    """Refuse a container that holds itself, or lies too deep for JSON.

    Raises:
        UsageError: It does.
    """
    if any(node is container for container in above):
        raise UsageError(f"{path:.80} holds itself; a state is a tree")
    if len(above) >= _DEEPEST:
        raise UsageError(f"{path:.80}... is nested deeper than {_DEEPEST} levels")


def _from_numpy(array: np.ndarray[Any, Any], path: str) -> torch.Tensor:
    try:
        # A copy, since the array may be read-only.
        return torch.from_numpy(np.array(array, order="C"))
    except (TypeError, ValueError):
        raise UsageError(
            f"{path} is an array of {array.dtype!r}: a state holds arrays of numbers and booleans that torch "
            "knows, in this machine's byte order"
        ) from None


def unflatten(tree: Tree, leaves: Sequence[torch.Tensor]) -> Any:
    """Restore a state from its tree and its leaves; it aliases the leaves."""
    if not isinstance(tree, dict):
        return tree

    ((kind, content),) = tree.items()
    match kind:
        case "t":
            return leaves[content]
        case "n":
            # An array is never on another device.
            return leaves[content].cpu().numpy()
        case "f":
            return float.fromhex(content)
        case "d":
            return {key: unflatten(value, leaves) for key, value in content}
        case "l":
            return [unflatten(value, leaves) for value in content]
        case "u":
            return tuple(unflatten(value, leaves) for value in content)
    raise ValueError(f"not a state's tree: {kind!r}")


def clone(state: Any) -> Any:
    """Return a copy that shares no memory, in torch's own (64-byte aligned) allocations."""
    tree, leaves = flatten(state)
    return unflatten(tree, [leaf.clone() for leaf in leaves])


def to(state: Any, device: torch.device | str) -> Any:
    """Return the state with every tensor on `device`; those already on it are shared, not copied."""
    tree, leaves = flatten(state)
    return unflatten(tree, [leaf.to(device) for leaf in leaves])


def raw(leaf: torch.Tensor) -> torch.Tensor:
    """Return the leaf's bytes, a flat uint8 tensor on the CPU; a view if possible."""
    dense = leaf.cpu().contiguous()
    # With at most one element any stride counts as contiguous, but only a stride of 1 can be viewed
    # as bytes.
    return dense.as_strided((dense.numel(),), (1,)).view(torch.uint8)


def digest(state: Any) -> str:
    """Return the SHA-256 (hex) of a state: structure, keys and their order, types, shapes and bits.

    Example:
        >>> digest({"weight": torch.zeros(2)})[:12]
        '89bb58ed63f7'
        >>> digest({"weight": torch.zeros(2)}) == digest({"weight": -torch.zeros(2)})
        False
    """
    tree, leaves = flatten(state)
    return digest_leaves(tree, leaves)


def digest_leaves(tree: Tree, leaves: Sequence[torch.Tensor]) -> str:
    """Return the `digest` of a flattened state."""
    sha = hashlib.sha256(json.dumps(tree).encode())
    for leaf in leaves:
        sha.update(f"{leaf.dtype} {list(leaf.shape)}".encode())
        sha.update(raw(leaf).numpy().data)
    return sha.hexdigest()
