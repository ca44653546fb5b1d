"""What the members of a stack have in common, a module and its optimizers; and what each has of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Assignment, Hparams
from popgrad.executors.stacked.block import Slot
from popgrad.executors.stacked.optimizers import FLAGS, RULES, Options
from popgrad.state import State
from popgrad.tasks import binding
from popgrad.tasks.base import Context, Task
from popgrad.tasks.construction import unfilled
from popgrad.tasks.torch_task import Optimizers, TorchTask, plain_step, travelling


def refusal(reason: str) -> UsageError:
    """What is raised where members cannot train as one model."""
    return UsageError(f"members cannot be stacked: {reason}; use the executor processes or serial")


@dataclass(frozen=True)
class Start:
    """A segment to train, and where it starts.

    Attributes:
        assignment: What to train.
        state: What it starts from; not changed.
        ctx: What the task is told.
    """

    assignment: Assignment
    state: State
    ctx: Context

    @property
    def hparams(self) -> Hparams:
        """Of the assignment."""
        return self.assignment.hparams


def stackable(task: Task) -> TorchTask:
    """The task, where its members can be stacked as far as it can be told before one is made.

    Raises:
        UsageError: They cannot; says why.
    """
    if not isinstance(task, TorchTask):
        raise refusal(f"only those of a TorchTask can, and this is a {type(task).__name__}")
    if task.step is not plain_step:
        raise refusal("the task has a step of its own")
    if task.scheduler is not None:
        raise refusal("the task has a learning-rate scheduler")
    if len(task.data_parallel) > 1:
        raise refusal("data_parallel splits each batch over several devices")
    return task


@dataclass(frozen=True)
class Template:
    """A module that every member's tensors fit, and what each member has written into it.

    Attributes:
        module: In training mode; its own tensors hold nothing that counts.
        names: Of the parameters and buffers that travel, in the order of a state.
        slots: The parameters that optimizers hold, in their order.
        kinds: Each optimizer's type, by name.
        options: Of each member, the parameter groups of each optimizer, by name.
        varied: Keys of options in which members can differ, whether these do or not.
        buffers: Of each member, the buffers that hold hyperparameters, by name.
        read: What the model has read: hyperparameters in which all members are alike.
        reached: Names of hyperparameters that live somewhere or were read.
    """

    module: nn.Module
    names: tuple[str, ...]
    slots: tuple[Slot, ...]
    kinds: Mapping[str, type[torch.optim.Optimizer]]
    options: Sequence[Mapping[str, Sequence[Options]]]
    varied: frozenset[str]
    buffers: Sequence[Mapping[str, torch.Tensor]]
    read: Hparams
    reached: set[str]


def make_template(task: TorchTask, starts: Sequence[Start], device: torch.device) -> Template:
    """The template of members, at least one.

    Raises:
        UsageError: They differ in what one module cannot have of several members.
    """
    first, read, chosen = starts[0].hparams, set[str](), set[str]()
    given: Any = binding.TrackedHparams(first, read)
    module = unfilled(task.model, given).to(device)
    _check_equal(sorted(read & first.keys()), starts)
    optimizers = _optimizers(task, module, binding.TrackedHparams(first, chosen))
    slots = _slots(module, optimizers)
    reached = {"batch_size", *read, *chosen}
    own = [each for each in module.named_buffers() if binding.is_hparam_buffer(*each, first)]
    places = binding.Bindings(module, optimizers, first)
    options, buffers = [], []
    for start in starts:
        if chosen and start is not starts[0]:
            optimizers = _optimizers(task, module, start.hparams)
            places = binding.Bindings(module, optimizers, start.hparams)
        reached |= places.write(start.hparams)
        options.append(
            {name: [dict(group) for group in o.param_groups] for name, o in optimizers.items()}
        )
        buffers.append({path: buffer.clone() for path, buffer in own})
    _check_flags(options)
    every = {key for groups in options[0].values() for group in groups for key in group}
    return Template(
        module.train(),
        tuple(name for name, _ in travelling(module, first)),
        slots,
        {name: type(optimizer) for name, optimizer in optimizers.items()},
        options,
        frozenset(every if chosen else places.options()),
        buffers,
        {name: first[name] for name in sorted(read & first.keys())},
        reached,
    )


def _check_equal(names: Sequence[str], starts: Sequence[Start]) -> None:
    for name in names:
        if any(start.hparams.get(name) != starts[0].hparams[name] for start in starts):
            raise refusal(
                f"the model reads hyperparameter {name!r}, in which they differ (a rate or the like can live "
                "in a 0-d buffer of its name instead, as in popgrad.nn.Dropout)"
            )


def _optimizers(task: TorchTask, module: nn.Module, hparams: Any) -> Optimizers:
    made = task.optimizer(module, hparams)
    optimizers: Optimizers = made if isinstance(made, Mapping) else {"optimizer": made}
    for optimizer in optimizers.values():
        if type(optimizer) not in RULES:
            known = ", ".join(kind.__name__ for kind in RULES)
            raise refusal(
                f"the optimizer is {type(optimizer).__qualname__}, of torch's {known} can be"
            )
    return optimizers


def _slots(module: nn.Module, optimizers: Optimizers) -> tuple[Slot, ...]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    slots = []
    for owner, optimizer in optimizers.items():
        index = 0
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                if id(parameter) not in names:
                    raise refusal("an optimizer holds a tensor that is no parameter of the module")
                slots.append(Slot(owner, number, index, names.pop(id(parameter))))
                index += 1
    return tuple(slots)


def _check_flags(options: Sequence[Mapping[str, Sequence[Options]]]) -> None:
    for owner, groups in options[0].items():
        for number, group in enumerate(groups):
            for flag in FLAGS:
                if any(each[owner][number].get(flag) != group.get(flag) for each in options):
                    raise refusal(f"their optimizers differ in {flag}")
