"""What a configuration names, made and checked before anything is written: task, strategy, executor, device."""

import dataclasses
import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.space import Space, dimension
from popgrad.executors import EXECUTORS
from popgrad.executors.base import Executor, resolve_devices
from popgrad.strategies import STRATEGIES
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task
from popgrad.tasks.reference import check_options, resolve
from popgrad.tasks.torch import TorchTask
from popgrad.winner import load_weights


@dataclass(frozen=True)
class Parts:
    """Attributes as the engine takes them.

    Attributes:
        task: What is trained, with the configured space and weights.
        strategy: Makes the plans.
        executor: (save=...) -> the executor, started.
        device: The device that "auto" stands for here, in words that `resolve_devices` reads.
    """

    task: Task
    strategy: Strategy
    executor: Callable[..., Executor]
    device: str


def make_parts(config: RunConfig, task: Task | None = None, strategy: Strategy | None = None) -> Parts:
    """The parts of a run; a task and a strategy that are given stand for what the configuration cannot name.

    Raises:
        UsageError: The configuration asks for what cannot be had.
    """
    if config.executor not in EXECUTORS:
        raise UsageError(f"executor: given {config.executor!r}; there is {', '.join(EXECUTORS)}")
    devices = resolve_devices(config.device)
    device = str(devices[0]) if config.device == "auto" else config.device
    made = make_task(config, task)

    def executor(**kwargs: object) -> Executor:
        if config.executor == "processes":
            kwargs["workers"] = config.workers
        return EXECUTORS[config.executor](made, devices, **kwargs)

    return Parts(made, strategy or _make_strategy(config, made.space), executor, device)


def make_task(config: RunConfig, given: Task | None = None) -> Task:
    """The task that a configuration names, or the given one, with the configured space and weights.

    Raises:
        UsageError: There is no such task, or it cannot be changed as configured.
    """
    if given is not None and config.options:
        raise UsageError("options: they are for a task that is given by name; this one is made already")
    task = given if given is not None else resolve(config.task, config.options, config.data_dir)
    if config.space:
        added = {name: dimension(spec, f"space.{name}") for name, spec in config.space.items()}
        task = _replace(task, "space", task.space.with_(added))
    if config.weights is not None:
        if not isinstance(task, TorchTask):
            raise UsageError(f"weights: a {type(task).__name__} has none to start from; only a TorchTask has")
        task = _replace(task, "weights", load_weights(Path(config.weights)))
    return task


def _replace(task: Task, name: str, value: object) -> Task:
    if not dataclasses.is_dataclass(task) or isinstance(task, type):
        raise UsageError(f"{name}: a {type(task).__name__} cannot be changed, it is no dataclass; change it in its code")
    return dataclasses.replace(task, **{name: value})  # type: ignore[return-value]


def _make_strategy(config: RunConfig, space: Space) -> Strategy:
    name, options = config.strategy.name, config.strategy.options()
    if name not in STRATEGIES:
        raise UsageError(f"strategy: given {name!r}; there is {', '.join(STRATEGIES)}")
    if name == "pbt" and config.population < 2:
        raise UsageError("population: given 1; pbt copies between members and needs at least 2 (or use random-search)")
    return STRATEGIES[name](space, **check_options(STRATEGIES[name], options, f"strategy {name}"))


def versions() -> dict[str, str]:
    """Versions that results depend on."""
    names = ("popgrad", "torch", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
