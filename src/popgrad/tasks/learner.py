"""The live objects of a segment of a `TorchTask`: restored from a state, and saved as one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.state import State
from popgrad.tasks import binding, schedulers
from popgrad.tasks.construction import unfilled
from popgrad.tasks.multipliers import Reads
from popgrad.tasks.optimizer_state import (
    OptimizerState,
    check_kinds,
    optimizer_kind,
    parameter_names,
)
from popgrad.tasks.tensors import extra_states, load_extra_states, load_tensors, state_tensors

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
        schedules: Schedulers by the names of their optimizers; empty without `scheduler`.
        bindings: Places of the hyperparameters.
        inherits: Whether an optimizer has moments from the state.
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
        by_model: Any = binding.TrackedHparams(hparams, set())
        by_optimizer: Any = binding.TrackedHparams(hparams, set())
        module = model(by_model) if state is None else unfilled(model, by_model)
        self.module = module.to(device)
        self.optimizers = as_optimizers(optimizer(self.module, by_optimizer))
        read = by_model.seen | by_optimizer.seen
        self.reached |= read
        # Names and counts can choose between optimizers; a rate does not.
        self._may_vary = any(not isinstance(hparams.get(name, 0.0), float) for name in read)

        self._names = {
            owner: parameter_names(self.module, owner, each)
            for owner, each in self.optimizers.items()
        }
        self._saved = {
            owner: OptimizerState(owner, each, self._names[owner])
            for owner, each in self.optimizers.items()
        }
        if state is not None:
            self._load(state)
        reads = Reads(by_optimizer.read_by_name, by_optimizer.all_read)
        self.bindings = binding.Bindings(self.module, self.optimizers, hparams, reads)
        self.bindings.check_meaning(by_model.read_by_name, "the model")
        self.reached |= self.bindings.write(hparams)

        self.schedules = self._make_schedules(scheduler, state)
        self.inherits = state is not None and any(
            any(moments.values()) for moments in state["optimizers"].values()
        )
        for saved in self._saved.values():
            saved.begin()

    def _load(self, state: State) -> None:
        load_tensors(self.module, self._hparams, state["model"], "the state")
        load_extra_states(self.module, state.get("extra_states", {}))
        check_kinds(state, self._kinds())
        for saved in self._saved.values():
            saved.load(state)

    def _make_schedules(
        self, scheduler: schedulers.Factory | None, state: State | None
    ) -> dict[str, schedulers.Schedule]:
        if scheduler is None:
            return {}
        if state is None:
            for optimizer in self.optimizers.values():
                schedulers.check_scheduler(scheduler, optimizer, self.bindings.by_group())

        made = {
            owner: schedulers.Schedule(scheduler, optimizer, self._saved[owner].running)
            for owner, optimizer in self.optimizers.items()
        }
        if state is not None:
            for owner, schedule in made.items():
                schedule.restore(state.get("schedulers", {}).get(owner), state["steps"])
        return made

    def _kinds(self) -> dict[str, str]:
        return {owner: optimizer_kind(each) for owner, each in self.optimizers.items()}

    def step_schedulers(self) -> None:
        """Step every scheduler, after a training step."""
        for schedule in self.schedules.values():
            schedule.step()

    def state(self, *, steps: int, position: int) -> State:
        """Return a copy of everything that an heir takes over.

        Args:
            steps: Training steps so far.
            position: Position in the data, in samples.
        """
        tensors = state_tensors(self.module, self._hparams)
        moments = {owner: saved.moments() for owner, saved in self._saved.items()}
        extras = {owner: extra for owner, (_, extra) in moments.items() if extra}
        state: State = {
            "model": {name: tensor.detach().clone() for name, tensor in tensors},
            "optimizers": {owner: own for owner, (own, _) in moments.items()},
            "steps": steps,
            "position": position,
        }
        if self.schedules:
            state["schedulers"] = {
                owner: schedule.state() for owner, schedule in self.schedules.items()
            }
        return state | self._unusual(extras)

    def _unusual(self, extras: State) -> State:
        """Return the entries that most states do not need, as copies."""
        usual = [name for name, _ in self.module.named_parameters()]
        bound = self.bindings.by_group()
        scheduled = {owner: each.changed for owner, each in self.schedules.items()}
        numbers = {
            owner: saved.numbers(scheduled.get(owner, set()), bound)
            for owner, saved in self._saved.items()
        }
        entries: State = {
            "parameters": {o: names for o, names in self._names.items() if names != usual},
            "kinds": self._kinds() if self._may_vary else {},
            "numbers": {owner: groups for owner, groups in numbers.items() if any(groups)},
            "extras": extras,
            "extra_states": extra_states(self.module),
        }
        return {name: entry for name, entry in entries.items() if entry}


def as_optimizers(result: Any) -> Optimizers:
    """Return the optimizers of a task by name; a single one is named "optimizer".

    Raises:
        UsageError: It is no optimizer, or holds none.
    """
    optimizers = result if isinstance(result, Mapping) else {"optimizer": result}
    for each in optimizers.values():
        lacking = [name for name in _OPTIMIZER if not hasattr(each, name)]
        if lacking or isinstance(each, type):
            raise UsageError(
                "optimizer: expected a function that returns an optimizer, or a mapping of several by name, "
                f"got a {type(each).__name__}" + (f" without {lacking[0]}" if lacking else "")
            )
    return optimizers


_OPTIMIZER = ("param_groups", "zero_grad", "step", "state_dict", "load_state_dict")
"""Attributes of an optimizer that are used."""
