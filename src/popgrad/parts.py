"""What a configuration names, made and checked before anything is written: task, strategy, executor."""

import dataclasses
import importlib.metadata
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from popgrad.config import RunConfig, StrategyConfig
from popgrad.core.errors import UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.population import Assignment, Hparams
from popgrad.core.seeding import Rng
from popgrad.core.space import dimension
from popgrad.executors import EXECUTORS
from popgrad.executors.base import Executor, resolve_devices
from popgrad.executors.processes import available_cores, pickled
from popgrad.probe import fastest
from popgrad.strategies import STRATEGIES
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Epochal, Task, epoch_steps
from popgrad.tasks.reference import check_options, defaults, resolve
from popgrad.tasks.torch import TorchTask
from popgrad.winner import load_weights

log = logging.getLogger("popgrad")
_HERE = ("serial", "processes", "vectorised")
"""Executors among which "auto" chooses; a cluster is asked for by name."""
CUSTOM = "custom"
"""The strategy's name in the configuration of a run that was given a `Strategy`."""


@dataclass(frozen=True)
class Parts:
    """Attributes as the engine takes them.

    Attributes:
        task: What is trained, with the configured space and weights.
        strategy: Makes the plans.
        executor: (save=...) -> the executor, started.
        config: The configuration with what was left open: device, intervals, the strategy's settings.
    """

    task: Task
    strategy: Strategy
    executor: Callable[..., Executor]
    config: RunConfig


def make_parts(
    config: RunConfig,
    task: Task | None = None,
    strategy: Strategy | None = None,
    *,
    sizes: Sequence[int] = (),
) -> Parts:
    """The parts of a run; a task and a strategy that are given stand for what the configuration cannot name.

    Args:
        config: What is wanted.
        task: Stands for the one that it names.
        strategy: Likewise.
        sizes: That the population has had, of a run that goes on.

    Raises:
        UsageError: The configuration asks for what cannot be had.
    """
    made = make_task(config, task)
    if config.interval is None:
        config = config.model_copy(
            update={"interval": "1 epoch" if isinstance(made, Epochal) else "10 steps"}
        )
    sizes = [*sizes, config.population]
    hparams, _ = first_hparams(made.space, Rng(config.seed), sizes[0], config.initial)
    config = config.model_copy(
        update={
            "device": _device(config),
            "intervals": _intervals(config, made, hparams[0]),
            "epochs": None,
            "task": _absolute_task(config.task),
            "weights": _absolute(config.weights),
            "data_dir": _absolute(config.data_dir),
        }
    )
    if strategy is None:
        strategy, settings = _make_strategy(config, made, hparams[0])
        config = config.model_copy(update={"strategy": settings})
    elif config.strategy.options():
        raise UsageError(
            f"strategy: given {', '.join(config.strategy.options())} beside a Strategy that is made already; "
            "set them where it is made"
        )
    if config.grow == "clone" and not strategy.copies:
        raise UsageError(
            f"grow: given 'clone', but the strategy {config.strategy.name} copies nobody; give sample"
        )
    if config.executor == "auto":
        config = config.model_copy(update={"executor": _choose_executor(config, made, hparams)})
    made, _, executor = make_executor(config, made, sizes)
    return Parts(made, strategy, executor, config)


def make_executor(
    config: RunConfig, task: Task, sizes: Sequence[int]
) -> tuple[Task, list[torch.device], Callable[..., Executor]]:
    """The executor that a configuration names, not started yet: (save=...) -> it.

    Args:
        config: What is wanted.
        task: What is trained.
        sizes: Of the population: the first one first, what it is to have at last.

    Returns:
        The task as it is trained (over several devices, where one member has them all), the devices that
        members take turns over, and the executor.

    Raises:
        UsageError: There is no such executor or device, or the task cannot be sent to its workers.
    """
    if config.executor not in EXECUTORS:
        raise UsageError(f"executor: given {config.executor!r}; there is auto, {', '.join(EXECUTORS)}")
    devices = _devices(config)
    if max(sizes) == 1 and len(devices) > 1:  # one member has all of them
        task = _replace(task, "data_parallel", tuple(map(str, devices)))
        devices = devices[:1]
    if config.executor in ("processes", "ray"):
        pickled(task)  # what cannot be sent is refused before anything is written
    if config.deadline is not None and config.executor in ("serial", "vectorised"):
        raise UsageError(
            f"deadline: the executor {config.executor} cannot give up what it trains; use processes"
        )
    if config.mode == "async" and config.executor == "vectorised":
        raise UsageError("mode: async needs members that train by themselves; use the executor processes")
    more: dict[str, Any] = {"workers": config.workers}
    if config.executor == "vectorised":
        more["width"] = sizes[0]  # bits depend on it: a larger population is in several stacks
    if config.deadline is not None:
        more["deadline"] = config.deadline
    if config.executor == "ray":
        more |= {"address": config.address, "cpus": config.cpus, "gpus": config.gpus}
        more["members"] = max(sizes)
    return task, devices, partial(EXECUTORS[config.executor], task, devices, **more)


def _device(config: RunConfig) -> str:
    """The device, also where it is left open. On a cluster it is what a member takes, not what is here."""
    if config.device != "auto":
        return config.device
    if config.executor == "ray":
        return "cuda" if config.gpus else "cpu"
    return str(resolve_devices("auto")[0])


def _devices(config: RunConfig) -> list[torch.device]:
    """The devices that members take turns over; on a cluster, the one GPU that an actor sees.

    Raises:
        UsageError: There is no such device, or members on a cluster take no GPU.
    """
    if config.executor != "ray":
        return resolve_devices(config.device)
    if _device(config) == "cpu":
        return [torch.device("cpu")]
    if _device(config) != "cuda" or not config.gpus:
        raise UsageError(
            f"device: given {config.device!r} with gpus={config.gpus:g} on a cluster; give cpu, or cuda with "
            "the GPUs that a member takes, such as gpus=0.25"
        )
    return [torch.device("cuda:0")]


def _choose_executor(config: RunConfig, task: Task, hparams: Sequence[Hparams]) -> str:
    """The executor that turns out to be the fastest; says which, and why."""
    if config.deadline is not None or config.mode == "async":
        log.info("executor processes: with a deadline, or in mode async, none other is tried")
        return "processes"
    each = config.each
    counted = each.epochs or each.within_epochs
    first = [
        Assignment(m, 0, None, h, config.seed, 0, each.steps(0, epoch_steps(task, h) if counted else 1))
        for m, h in enumerate(hparams)
    ]
    made = {
        name: make_executor(config.model_copy(update={"executor": name}), task, [len(first)])[2]
        for name in _HERE
    }
    together = {"processes": min(config.workers or available_cores(), len(first)), "vectorised": len(first)}
    name, why = fastest(made, together, first, config.intervals)
    log.info("executor %s, %s", name, why)
    return name


def _absolute(path: str | None) -> str | None:
    """A path that still leads there from another working directory."""
    return None if path is None else str(Path(path).absolute())


def _absolute_task(reference: str) -> str:
    place, colon, name = reference.rpartition(":")
    return f"{_absolute(place)}{colon}{name}" if place.endswith(".py") else reference


def _intervals(config: RunConfig, task: Task, hparams: Hparams) -> int:
    """Intervals in all, also where they are given as epochs."""
    counted = config.epochs is not None or config.each.epochs or config.each.within_epochs
    if not counted and not isinstance(task, Epochal):
        return config.intervals
    steps = epoch_steps(task, hparams)  # reads the data: where it is missing, nothing has been written yet
    return config.intervals if config.epochs is None else config.each.per(config.epochs, steps)


def make_task(config: RunConfig, given: Task | None = None) -> Task:
    """The task that a configuration names, or the given one, with the configured space and weights.

    Raises:
        UsageError: There is no such task, or it cannot be changed as configured.
    """
    if given is not None and config.options:
        raise UsageError("options: they are for a task that is given by name; this one is made already")
    task = given if given is not None else resolve(config.task, config.options, config.data_dir)
    if missing := [
        name for name in ("space", "score", "init", "train", "evaluate") if not hasattr(task, name)
    ]:
        raise UsageError(
            f"task: {config.task} is a {type(task).__name__}, no task: it has no {', '.join(missing)}"
        )
    if config.space:
        added = {name: dimension(spec, f"space.{name}") for name, spec in config.space.items()}
        task = _replace(task, "space", task.space.with_(added))
    if config.log_every is not None and isinstance(task, TorchTask):
        task = _replace(task, "log_every", config.log_every)
    if config.weights is not None:
        if not isinstance(task, TorchTask):
            raise UsageError(f"weights: a {type(task).__name__} has none to start from; only a TorchTask has")
        task = _replace(task, "weights", load_weights(Path(config.weights)))
    return task


def _replace(task: Any, name: str, value: object) -> Task:
    fields = dataclasses.fields(task) if dataclasses.is_dataclass(task) else ()
    if not any(field.name == name and field.init for field in fields):
        raise UsageError(
            f"{name}: a {type(task).__name__} is no dataclass with a field {name!r}, to replace; "
            "change it in the task's code"
        )
    return cast(Task, dataclasses.replace(task, **{name: value}))


def _make_strategy(config: RunConfig, task: Task, hparams: Hparams) -> tuple[Strategy, StrategyConfig]:
    """The strategy, and its name with all of its settings."""
    name, options = config.strategy.name, config.strategy.options()
    if name == CUSTOM:
        raise UsageError("strategy: the run was given a Strategy of its own: give it again, strategy=...")
    if name not in STRATEGIES:
        raise UsageError(f"strategy: given {name!r}; there is {', '.join(STRATEGIES)}")
    if name == "pbt" and config.population < 2:
        raise UsageError(
            "population: given 1; pbt copies between members and needs at least 2 (or use random-search)"
        )
    if isinstance(options.get("phases"), list):
        options["phases"] = [_in_steps(phase, task, hparams) for phase in options["phases"]]
    checked = check_options(STRATEGIES[name], options, f"strategy {name}")
    settings = {**defaults(STRATEGIES[name]), **checked}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return STRATEGIES[name](task.space, **checked), StrategyConfig(name=name, **plain)


def _in_steps(phase: Any, task: Task, hparams: Hparams) -> Any:
    """A phase of a schedule that begins with an epoch, by the step it begins with."""
    if not isinstance(phase, Mapping) or "epoch" not in phase:
        return phase
    epoch, rest = phase["epoch"], {key: value for key, value in phase.items() if key != "epoch"}
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1 or "step" in phase:
        raise UsageError(
            f"strategy.phases: given {dict(phase)!r}; a phase has an epoch or a step, a whole number "
            "of at least 1"
        )
    return {"step": epoch * epoch_steps(task, hparams), **rest}


def versions() -> dict[str, str]:
    """Versions that results depend on."""
    names = ("popgrad", "torch", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
