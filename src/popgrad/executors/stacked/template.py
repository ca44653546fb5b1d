"""The shared part of the members of a stack, a module and its optimizers, and each member's own options."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment
from popgrad.executors.base import Part
from popgrad.executors.stacked.block import OptimizedParameter
from popgrad.executors.stacked.checks import (
    find_hook,
    find_override,
    find_shared_memory,
    find_unlike_optimizers,
    plain_tensors,
)
from popgrad.executors.stacked.optimizers import FLAGS, RULES, Options
from popgrad.executors.stacked.rates import Rates, find_rates
from popgrad.state import State
from popgrad.tasks import binding
from popgrad.tasks.base import Context, Task
from popgrad.tasks.construction import unfilled
from popgrad.tasks.learner import Optimizers
from popgrad.tasks.multipliers import Reads
from popgrad.tasks.optimizer_state import check_kinds, optimizer_kind
from popgrad.tasks.tensors import state_tensors
from popgrad.tasks.torch_task import TorchTask, plain_step


def refusal(reason: str) -> UsageError:
    """Return the error of members that cannot train as one model."""
    return UsageError(f"members cannot be stacked: {reason}; use the executor processes or serial")


@dataclass(frozen=True)
class RowStart:
    """A segment to train in a row, and the state that it starts from.

    Attributes:
        assignment: Segment to train.
        state: State that it starts from; not changed.
        ctx: Context of the segment.
    """

    assignment: Assignment
    state: State
    ctx: Context

    @property
    def hparams(self) -> Hparams:
        """Hyperparameters of the assignment."""
        return self.assignment.hparams

    def part(self, part: Part) -> "RowStart":
        """Return the start of a part of the segment."""
        first_step = self.ctx.first_step + part.begin
        steps = part.end - part.begin
        return RowStart(
            replace(self.assignment, first_step=first_step, steps=steps),
            self.state,
            replace(self.ctx, first_step=first_step, part=part.number),
        )


def stackable(task: Task) -> TorchTask:
    """Return the task if its static properties allow stacking.

    Raises:
        UsageError: The task cannot be stacked; names the reason.
    """
    if not isinstance(task, TorchTask):
        raise refusal(f"only those of a TorchTask can, and this is a {type(task).__name__}")
    if task.step is not plain_step:
        raise refusal("the task has a step of its own")
    override = find_override(task)
    if override is not None:
        raise refusal(f"the task has a method {override!r} of its own")
    if task.scheduler is not None:
        raise refusal("the task has a learning-rate scheduler")
    if len(task.data_parallel) > 1:
        raise refusal("data_parallel splits each batch over several devices")
    return task


@dataclass(frozen=True)
class Template:
    """A module that every member's tensors fit, and the hyperparameters written into it for each member.

    Attributes:
        module: Module in training mode; the values of its own tensors are not used.
        names: Names of the parameters and buffers that travel, in the order of a state.
        parameters: Parameters that optimizers hold, in the order of the optimizers.
        kinds: Type of each optimizer, by name.
        options: Parameter groups of each member's optimizers, by name.
        varied: Keys of options in which members can differ, whether these do or not.
        buffers: Each member's buffers that hold hyperparameters, by name.
        bindings: Places of the hyperparameters.
        read: Hyperparameters that the model has read, in which all members are equal.
        rates: Rates that the model has read, in which members differ.
        reached: Names of hyperparameters that are stored somewhere or were read.
    """

    module: nn.Module
    names: tuple[str, ...]
    parameters: tuple[OptimizedParameter, ...]
    kinds: Mapping[str, type[torch.optim.Optimizer]]
    options: Sequence[Mapping[str, Sequence[Options]]]
    varied: frozenset[str]
    buffers: Sequence[Mapping[str, torch.Tensor]]
    bindings: binding.Bindings
    read: Hparams
    rates: Rates
    reached: set[str]


def make_template(task: TorchTask, starts: Sequence[RowStart], device: torch.device) -> Template:
    """Return the template of members.

    Args:
        task: Task of the members.
        starts: Start of each row, at least one.
        device: Device of the module.

    Raises:
        UsageError: The members differ in something that one module cannot have several of.
    """
    first = starts[0].hparams
    read = set[str]()  # by the model
    chosen = set[str]()  # by the function that makes the optimizers
    tracked: Any = binding.TrackedHparams(first, read)
    module = unfilled(task.model, tracked).to(device)
    differing = _differing(read & first.keys(), starts)
    rates = _find_rates(task, module, starts, differing, device) if differing else Rates()
    rates.put(module)
    tracked_by_optimizer = binding.TrackedHparams(first, chosen)
    optimizers = _make_optimizers(task, module, tracked_by_optimizer)
    _check_parts(module, optimizers)
    parameters = _parameters(module, optimizers)
    trained = _trained(module)

    # Write each member's hyperparameters in turn, and note what they have changed.
    reached = {"batch_size", *read, *chosen}
    hparam_buffers = [
        (path, buffer)
        for path, buffer in module.named_buffers()
        if binding.is_hparam_buffer(path, buffer, first)
    ]
    reads = Reads(tracked_by_optimizer.read_by_name, tracked_by_optimizer.all_read)
    bindings = binding.Bindings(module, optimizers, first, reads)
    bindings.check_meaning(tracked.read_by_name, "the model")
    kinds = {name: optimizer_kind(optimizer) for name, optimizer in optimizers.items()}
    options = []
    buffers = []
    for start in starts:
        if chosen and start is not starts[0]:
            others = _make_optimizers(task, module, start.hparams)
            unlike = find_unlike_optimizers(optimizers, others)
            if unlike is not None or _trained(module) != trained:
                raise refusal(f"their optimizers differ in {unlike or 'what they train'}")
            optimizers = others
            bindings = binding.Bindings(module, optimizers, start.hparams, reads)
        check_kinds(start.state, kinds)
        reached |= bindings.write(start.hparams)
        options.append(
            {name: [dict(group) for group in o.param_groups] for name, o in optimizers.items()}
        )
        buffers.append({path: buffer.clone() for path, buffer in hparam_buffers})
    _check_flags(options)

    keys = {key for groups in options[0].values() for group in groups for key in group}
    return Template(
        module=module.train(),
        names=tuple(name for name, _ in state_tensors(module, first)),
        parameters=parameters,
        kinds={name: type(optimizer) for name, optimizer in optimizers.items()},
        options=options,
        varied=frozenset(keys if chosen else bindings.options()),
        buffers=buffers,
        bindings=bindings,
        read={name: first[name] for name in sorted(read & first.keys() - differing)},
        rates=rates,
        reached=reached,
    )


def _differing(names: Iterable[str], starts: Sequence[RowStart]) -> set[str]:
    """Return the names of hyperparameters in which members differ."""
    first = starts[0].hparams
    return {
        name for name in names if any(start.hparams.get(name) != first[name] for start in starts)
    }


def _find_rates(
    task: TorchTask,
    module: nn.Module,
    starts: Sequence[RowStart],
    differing: set[str],
    device: torch.device,
) -> Rates:
    """Return the rates of dropout that the model has made of hyperparameters.

    Args:
        task: Task of the members.
        module: Module of the first row.
        starts: Start of each row.
        differing: Hyperparameters that the model has read, in which members differ.
        device: Device of the module.

    Raises:
        UsageError: The modules of the members differ in something else.
    """
    names = sorted(differing)
    modules = {tuple(starts[0].hparams[name] for name in names): module}
    rows = []
    for start in starts:
        values = tuple(start.hparams[name] for name in names)
        if values not in modules:
            modules[values] = unfilled(task.model, start.hparams).to(device)
        rows.append(modules[values])

    rates = find_rates(rows)
    if rates is None:
        raise refusal(
            f"the model reads hyperparameter {', '.join(map(repr, names))}, in which they differ, for "
            "more than the rate of a dropout (a number can be a 0-d buffer of its name instead, as in "
            "popgrad.nn.Dropout)"
        )
    return rates


def _check_parts(module: nn.Module, optimizers: Optimizers) -> None:
    """Refuse members with parts that a stack does not use."""
    hook = find_hook(module, optimizers)
    if hook is not None:
        raise refusal(f"there is {hook}, which a stack does not call")
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    shared = find_shared_memory(tensors | plain_tensors(module))
    if shared is not None:
        raise refusal(
            f"{shared[0]!r} and {shared[1]!r} share memory, and would come apart (one parameter "
            "in both places can be stacked)"
        )


def _trained(module: nn.Module) -> list[str]:
    """Return the names of the parameters that require gradients."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def _make_optimizers(task: TorchTask, module: nn.Module, hparams: Any) -> Optimizers:
    optimizer = task.optimizer(module, hparams)
    optimizers: Optimizers = (
        optimizer if isinstance(optimizer, Mapping) else {"optimizer": optimizer}
    )
    for each in optimizers.values():
        if type(each) not in RULES:
            known = ", ".join(kind.__name__ for kind in RULES)
            raise refusal(f"the optimizer is {type(each).__qualname__}, of torch's {known} can be")
    return optimizers


def _parameters(module: nn.Module, optimizers: Optimizers) -> tuple[OptimizedParameter, ...]:
    """Return the parameters that the optimizers hold, in their order."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    parameters = []

    for owner, optimizer in optimizers.items():
        index = 0
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                if id(parameter) not in names:
                    raise refusal("an optimizer holds a tensor that is no parameter of the module")
                name = names.pop(id(parameter))
                parameters.append(OptimizedParameter(owner, number, index, name))
                index += 1

    return tuple(parameters)


def _check_flags(options: Sequence[Mapping[str, Sequence[Options]]]) -> None:
    """Refuse members whose optimizers differ in an option that one rule cannot vary."""
    for owner, groups in options[0].items():
        for number, group in enumerate(groups):
            for flag in FLAGS:
                if any(row[owner][number].get(flag) != group.get(flag) for row in options):
                    raise refusal(f"their optimizers differ in {flag}")
