"""Tracked modules and single tensors."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.state import State
from popgrad.tasks.tensors import extra_states, load_extra_states, load_tensors, state_tensors


class ModulePart:
    """Parameters and all buffers of a module, and the modes that training may have changed.

    Args:
        name: Name that the module is tracked by.
        module: Module as the function made it.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self._name = name
        self.module = module
        self._made = _modes(module)

    def capture(self, hparams: Hparams) -> State:
        """Return the tensors, what layers return from `get_extra_state`, and changed modes.

        Raises:
            UsageError: A tensor of a lazy module has no shape yet.
        """
        self._check_shapes(hparams)
        # In one order of memory, as a checkpoint gives it back.
        tensors = {
            path: tensor.detach().clone(memory_format=torch.contiguous_format)
            for path, tensor in state_tensors(self.module, hparams)
        }
        modes = _modes(self.module)
        entries: State = {
            "tensors": tensors,
            "extra_states": extra_states(self.module),
            "modes": {key: value for key, value in modes.items() if value != self._made[key]},
        }
        return {key: entry for key, entry in entries.items() if entry}

    def _check_shapes(self, hparams: Hparams) -> None:
        for path, tensor in state_tensors(self.module, hparams):
            if is_lazy(tensor):
                raise UsageError(
                    f"m.track: {self._name!r}: {path} of a lazy module has no shape before its first batch; "
                    "pass one batch through it in setup, before the optimizer is made"
                )

    def load(self, saved: State, hparams: Hparams) -> None:
        """Copy tensors into those of the module, and clear the gradients."""
        what = f"the state of {self._name!r}"
        load_tensors(self.module, hparams, saved.get("tensors", {}), what)
        load_extra_states(self.module, saved.get("extra_states", {}))
        _set_modes(self.module, {**self._made, **saved.get("modes", {})})
        for parameter in self.module.parameters():
            parameter.grad = None


def _modes(module: nn.Module) -> dict[str, list[str]]:
    """Return the layers in evaluation mode and the frozen parameters, by their paths."""
    return {
        "evaluating": [path for path, layer in module.named_modules() if not layer.training],
        "frozen": [path for path, each in module.named_parameters() if not each.requires_grad],
    }


def _set_modes(module: nn.Module, modes: dict[str, list[str]]) -> None:
    evaluating = set(modes["evaluating"])
    frozen = set(modes["frozen"])
    for path, layer in module.named_modules():
        layer.training = path not in evaluating
    for path, parameter in module.named_parameters():
        if parameter.requires_grad == (path in frozen):
            parameter.requires_grad_(path not in frozen)


class TensorPart:
    """A single tensor, such as a temperature that is trained.

    Args:
        name: Name that the tensor is tracked by.
        tensor: The tensor.
    """

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self._name = name
        self.tensor = tensor

    def capture(self, hparams: Hparams) -> State:
        """Return a copy."""
        del hparams
        return {"tensor": self.tensor.detach().clone(memory_format=torch.contiguous_format)}

    @torch.no_grad()
    def load(self, saved: State, hparams: Hparams) -> None:
        """Copy the values into the tensor, and clear its gradient."""
        del hparams
        given = saved["tensor"]
        if given.shape != self.tensor.shape:
            raise UsageError(
                f"the state holds {self._name!r} of shape {list(given.shape)}, the loop's is "
                f"{list(self.tensor.shape)}; hyperparameters that change shapes must be init-only"
            )
        self.tensor.copy_(given)
        self.tensor.grad = None
