"""Comparison of two states of a loop, part by part."""

from collections.abc import Mapping
from typing import Any

import torch

from popgrad.state import State
from popgrad.tasks.comparison import differences


def differing_parts(some: State, other: State, device: torch.device) -> list[str]:
    """Return the parts in which two states differ, each with the number of its differing leaves.

    Args:
        some: A state.
        other: Another one, of the same task.
        device: Device that they were trained on. Kernels of a GPU may add in any order, so that a
            difference of a rounding is none there.

    Example:
        >>> differing_parts({"w": [1.0, 2.0]}, {"w": [1.0, 3.0]}, torch.device("cpu"))
        ['w: 1 of 2']
    """
    found = []
    own, others = _parts(some), _parts(other)
    for name in {**own, **others}:
        if name not in own or name not in others:
            found.append(f"{name}: in one of the two only")
            continue
        unequal = [
            each
            for each in differences(own[name], others[name])
            if device.type == "cpu" or not each.is_rounding(1e-5)
        ]
        if unequal:
            found.append(f"{name}: {len(unequal)} of {max(_leaves(own[name]), len(unequal))}")
    return found


def _parts(state: State) -> dict[str, Any]:
    """Return a state by the names that the user knows: those of tracked objects, "m.state", "metrics"."""
    parts: dict[str, Any] = {}
    for key, value in state.items():
        if key == "tracked" and isinstance(value, Mapping):
            for name, tracked in value.items():
                if name == "model" and "model" in parts:
                    parts[name] = {"tensors": parts[name], **tracked}
                else:
                    parts[name] = tracked
        else:
            parts["m.state" if key == "values" and "tracked" in state else key] = value
    return {name: value for name, value in parts.items() if not isinstance(value, Mapping) or value}


def _leaves(node: Any) -> int:
    if isinstance(node, Mapping):
        return sum(map(_leaves, node.values()))
    if isinstance(node, list | tuple):
        return sum(map(_leaves, node))
    return 1
