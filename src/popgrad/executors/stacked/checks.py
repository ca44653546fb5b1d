"""Parts of a member that a stack would not use, found without a step: hooks, shared memory, overrides.

A step may show none of them, such as a hook that clips gradients that are small at first.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_hooks

from popgrad.tasks.torch_task import TorchTask

_METHODS = ("init", "train", "evaluate", "module", "split", "samples_a_step", "epoch_steps")
"""Methods of a `TorchTask` that a stack replaces or relies on."""


def find_override(task: TorchTask) -> str | None:
    """Return the name of a method of `TorchTask` that the task replaces; None = it has all of them."""
    for name in _METHODS:
        if getattr(type(task), name) is not getattr(TorchTask, name):
            return name
    return None


def find_hook(module: nn.Module, optimizers: Mapping[str, Optimizer]) -> str | None:
    """Return a hook that a stack does not call, in words; None = there is none.

    Forward hooks are called.
    """
    return next(_hooks(module, optimizers), None)


def _hooks(module: nn.Module, optimizers: Mapping[str, Optimizer]) -> Iterator[str]:
    if module_hooks._global_backward_hooks or module_hooks._global_backward_pre_hooks:
        yield "backward hooks of all modules"
    if optimizer_hooks._global_optimizer_pre_hooks or optimizer_hooks._global_optimizer_post_hooks:
        yield "step hooks of all optimizers"

    for path, layer in module.named_modules():
        if layer._backward_hooks or layer._backward_pre_hooks:
            yield f"a backward hook of module {path!r}" if path else "a backward hook of the model"
    for name, parameter in module.named_parameters():
        # torch has no public way to ask.
        tensor: Any = parameter
        if tensor._backward_hooks:
            yield f"a gradient hook of parameter {name!r}"
        if tensor._post_accumulate_grad_hooks:
            yield f"a post-accumulate-gradient hook of parameter {name!r}"

    for name, optimizer in optimizers.items():
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            yield f"a step hook of the optimizer {name!r}"
        if "step" in vars(optimizer):
            yield f"a step function that was put into the optimizer {name!r}"


def find_shared_memory(tensors: Mapping[str, torch.Tensor]) -> tuple[str, str] | None:
    """Return the names of two tensors that share memory; None = each has its own.

    Example:
        >>> weights = torch.zeros(3, 2)
        >>> find_shared_memory({"encoder": weights, "decoder": weights.t(), "bias": torch.zeros(2)})
        ('encoder', 'decoder')
    """
    spans = sorted(_spans(tensors), key=lambda span: span[:3])
    for (place, _, end, name), (other_place, begin, _, other) in pairwise(spans):
        if place == other_place and begin < end:
            return name, other
    return None


def plain_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that are plain attributes of a module or of its parts, by name.

    One that is a view of a parameter would not follow the stack's parameter. A proof may miss it, since
    its memory may happen to hold the right numbers.
    """
    return {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Tensor)
    }


def _spans(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, int, int, str]]:
    """Yield the device, the first and the last address of each tensor that has any, and its name."""
    for name, x in tensors.items():
        if x.numel() and x.layout is torch.strided and x.device.type != "meta":
            begin = x.data_ptr()
            length = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
            yield str(x.device), begin, begin + length * x.element_size(), name


def find_unlike_optimizers(
    first: Mapping[str, Optimizer], other: Mapping[str, Optimizer]
) -> str | None:
    """Return in what the optimizers of two members differ besides their options; None = in nothing.

    Both hold parameters of the same module.
    """
    if list(first) != list(other):
        return "their names"
    for name, optimizer in first.items():
        if type(optimizer) is not type(other[name]):
            return f"the kind of {name!r}"
        if _held(optimizer.param_groups) != _held(other[name].param_groups):
            return f"the parameters of {name!r}"
    return None


def _held(groups: Sequence[Mapping[str, Any]]) -> list[list[tuple[int, bool]]]:
    """Return the identity of each parameter, and whether it is trained."""
    return [[(id(p), p.requires_grad) for p in group["params"]] for group in groups]
