"""The live objects of a segment of a `TorchTask`: restored from a state, and saved as one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.population import Hparams
from popgrad.state import State, clone
from popgrad.tasks import binding, schedulers
from popgrad.tasks.construction import unfilled
from popgrad.tasks.tensors import load_tensors, state_tensors

Optimizers = Mapping[str, Optimizer]


class Learner:
    """Module, optimizers and schedulers of a segment, with the hyperparameters written.

    Hyperparameters are written after the state is loaded, over those that it brings. Schedulers are
    constructed last: their bases are the rates that they find.

    Args:
        model: hparams -> module.
        optimizer: (module, hparams) -> optimizer, or a mapping of several by name.
        scheduler: optimizer -> scheduler; None = constant rates.
        hparams: Complete hyperparameters.
        device: Device of the module.
        state: State to start from, which is not changed; None = a fresh member.

    Attributes:
        module: The module.
        optimizers: Optimizers by name; a single one is named "optimizer".
        schedulers: Schedulers by the names of their optimizers; empty without `scheduler`.
        reached: Names of the hyperparameters that live somewhere or have been read.
    """

    def __init__(
        self,
        model: Callable[[Hparams], nn.Module],
        optimizer: Callable[[nn.Module, Hparams], Optimizer | Optimizers],
        scheduler: Callable[[Optimizer], LRScheduler] | None,
        hparams: Hparams,
        device: torch.device,
        state: State | None = None,
    ) -> None:
        self._hparams = hparams
        self.reached = {"batch_size"}  # the task itself reads it
        tracked: Any = binding.TrackedHparams(hparams, self.reached)

        module = model(tracked) if state is None else unfilled(model, tracked)
        self.module = module.to(device)
        result = optimizer(self.module, tracked)
        self.optimizers = result if isinstance(result, Mapping) else {"optimizer": result}
        if state is not None:
            self._load(state)
        self.reached |= binding.write(self.module, self.optimizers, hparams)

        self.schedulers: dict[str, LRScheduler] = {}
        if scheduler is not None:
            self.schedulers = {name: scheduler(each) for name, each in self.optimizers.items()}
        if state is not None:
            for name, restored in self.schedulers.items():
                schedulers.restore(restored, self.optimizers[name], state["schedulers"][name])

    def _load(self, state: State) -> None:
        load_tensors(self.module, self._hparams, state["model"], "the state")
        for name, optimizer in self.optimizers.items():
            # Only moments and steps come from the state, as copies; rates and other options stay
            # those of the new optimizer.
            groups = optimizer.state_dict()["param_groups"]
            moments = _laid_out(state["optimizers"][name], optimizer)
            optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def step_schedulers(self) -> None:
        """Step every scheduler, after a training step."""
        for scheduler in self.schedulers.values():
            scheduler.step()

    def state(self, *, steps: int, position: int) -> State:
        """Return a copy of everything that an heir takes over.

        Args:
            steps: Training steps so far.
            position: Position in the data, in samples.
        """
        tensors = state_tensors(self.module, self._hparams)
        state: State = {
            "model": {name: tensor.detach().clone() for name, tensor in tensors},
            "optimizers": {
                name: clone(optimizer.state_dict()["state"])
                for name, optimizer in self.optimizers.items()
            },
            "steps": steps,
            "position": position,
        }
        if self.schedulers:
            state["schedulers"] = {
                name: schedulers.numbers(scheduler, self.optimizers[name])
                for name, scheduler in self.schedulers.items()
            }
        return state


def _laid_out(moments: dict[Any, Any], optimizer: Optimizer) -> dict[Any, Any]:
    """Return a copy of moments in the memory layout of their parameters.

    A fused optimizer relies on it.
    """
    parameters: list[torch.Tensor] = [
        parameter for group in optimizer.param_groups for parameter in group["params"]
    ]

    def like(parameter: torch.Tensor, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
            return clone(value)
        return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)

    return {
        i: {key: like(parameters[i], value) for key, value in values.items()}
        for i, values in moments.items()
    }
