"""The components of a run: task, strategy and executor, made from a resolved configuration."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.interval import parse_interval
from popgrad.core.score import Score, named_score
from popgrad.core.seeding import Rng
from popgrad.core.space import Space, dimension
from popgrad.executors import EXECUTORS
from popgrad.executors.base import Executor
from popgrad.executors.processes.limits import check_file_limit
from popgrad.hardware import available_cores, resolve_devices
from popgrad.runs.winner import load_weights
from popgrad.strategies import STRATEGIES
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Reporting, Task, network_bytes
from popgrad.tasks.copies import pickle_task
from popgrad.tasks.reference import check_options, resolve_task
from popgrad.tasks.torch_task import TorchTask
from popgrad.trackers.base import Tracker

_TASK_PARTS = ("space", "init", "train", "evaluate")


@dataclass(frozen=True)
class Components:
    """The components that the engine joins.

    Attributes:
        config: Resolved configuration.
        task: Task to train, with the configured space and weights.
        ranking: Metric that ranks, with its direction.
        strategy: Makes the plans.
        make_executor: Starts the executor; called with `save`, the function that writes a
            checkpoint.
        code: SHA-256 of each source that was imported by name for the task, by that name.
        trackers: Trackers that the run is logged to, by name.
    """

    config: RunConfig
    task: Task
    ranking: Score
    strategy: Strategy
    make_executor: Callable[..., Executor]
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    trackers: Mapping[str, Tracker] = dataclasses.field(default_factory=dict)


def components(
    config: RunConfig, task: Task, strategy: Strategy | None = None, *, sizes: Sequence[int] = ()
) -> Components:
    """Build the components that a resolved configuration names.

    Args:
        config: Resolved configuration.
        task: Task to train, from `make_task`.
        strategy: Strategy that takes the place of the configured one.
        sizes: Sizes that the population of a resumed run has had.

    Raises:
        UsageError: There is no such executor or device, the task cannot be sent to its workers, or
            they need more open files than the system permits.
    """
    strategy = strategy or make_strategy(config, task.space)
    sizes = [*sizes, strategy.started(config.population)]
    if config.executor == "processes":
        check_file_limit(max(sizes), config.workers or available_cores())
    return Components(
        config=config,
        task=_spread(task, config, sizes),
        ranking=Score.parse(score_text(config, task)),
        strategy=strategy,
        make_executor=executor_factory(config, task, sizes),
    )


def make_task(config: RunConfig, task: Task | None = None) -> Task:
    """Return the task of a configuration, with the configured space, weights and logging.

    Args:
        config: Requested configuration.
        task: Task that takes the place of the one that the configuration names.

    Raises:
        UsageError: There is no such task, or it cannot be changed as configured.
    """
    if task is not None and config.options:
        raise UsageError(
            "options: they are for a task that is named; this run is given a task object"
        )
    if task is None:
        keys = RunConfig.model_fields
        task = resolve_task(config.task, config.options, config.data_dir, similar=keys)

    if isinstance(task, type):
        raise UsageError(
            f"task: expected a task, got the class {task.__name__}; create one: {task.__name__}(...)"
        )
    missing = [name for name in _TASK_PARTS if not hasattr(task, name)]
    if not hasattr(task, "score") and not hasattr(task, "minimize"):
        missing.append("score")
    if missing:
        raise UsageError(
            f"task: {config.task} is a {type(task).__name__}, not a task: it lacks {', '.join(missing)}"
        )
    if not isinstance(task.space, Space):
        raise UsageError(
            f"space: expected a Space, got a {type(task.space).__name__}; write Space({{name: dimension}}) "
            "in the task"
        )
    if isinstance(task, Reporting):
        task = task.in_unit("reports" if _counts_reports(config) else "batches")
    if config.space:
        added = {name: dimension(spec, f"space.{name}") for name, spec in config.space.items()}
        task = _replace(task, "space", task.space.with_(added))
    if config.log_every is not None and isinstance(task, TorchTask):
        task = _replace(task, "log_every", config.log_every)
    if config.weights is not None:
        if not isinstance(task, TorchTask):
            raise UsageError(
                f"weights: only a TorchTask can start from weights, got a {type(task).__name__}"
            )
        task = _replace(task, "weights", _read_weights(config, task))
    return task


def _counts_reports(config: RunConfig) -> bool:
    """Whether intervals are counted in the reports of a training loop."""
    return config.interval is None or parse_interval(config.interval).reports


def _read_weights(config: RunConfig, task: Task) -> dict[str, torch.Tensor]:
    """Return the configured weights, which are compared with the network of the first member."""

    def size() -> int | None:
        hparams, _ = first_hparams(task.space, Rng(config.seed), 1, config.initial[:1])
        return network_bytes(task, hparams[0])

    assert config.weights is not None
    return load_weights(Path(config.weights), size)


def score_text(config: RunConfig, task: Task) -> str:
    """Return the metric that ranks, for `Score.parse`: the configured one, else that of the task.

    Raises:
        UsageError: `score` and `minimize` differ, or one is not the name of a metric.
    """
    own = named_score(
        getattr(task, "score", None), getattr(task, "minimize", None), f"{type(task).__name__}: "
    )
    text = named_score(config.score, config.minimize) or own
    if text is None:
        raise UsageError(
            f"score: expected the name of the metric that ranks, but {type(task).__name__} has score=None"
        )
    return text


def make_strategy(config: RunConfig, space: Space) -> Strategy:
    """Return the strategy that a resolved configuration names.

    Raises:
        UsageError: A setting is not allowed.
    """
    name = config.strategy.name
    factory = STRATEGIES[name]
    return factory(space, **check_options(factory, config.strategy.options(), f"strategy {name}"))


def executor_factory(
    config: RunConfig, task: Task, sizes: Sequence[int]
) -> Callable[..., Executor]:
    """Return a function that starts the executor of a configuration.

    The function takes `save`, which writes a checkpoint. What cannot work is refused here, before
    anything is written.

    Args:
        config: Resolved configuration.
        task: Task to train.
        sizes: Sizes of the population, from the first to the requested one.

    Raises:
        UsageError: There is no such executor or device, or the task cannot be sent to its workers.
    """
    name = config.executor
    if name not in EXECUTORS:
        raise UsageError(f"executor: expected auto, {', '.join(EXECUTORS)}, got {name!r}")

    devices = _devices(config)
    if max(sizes) == 1:
        # A single member has all devices: see `_spread`.
        devices = devices[:1]
    task = _spread(task, config, sizes)
    options: dict[str, Any] = {"workers": config.workers}

    if config.deadline is not None:
        if name in ("serial", "vectorised"):
            raise UsageError(
                f"deadline: the executor {name} cannot abandon a segment; use processes"
            )
        options["deadline"] = config.deadline

    if name == "vectorised":
        if config.mode == "async":
            raise UsageError(
                "mode: async needs members that train independently; use the executor processes"
            )
        # Bits depend on the width, so it stays: a larger population is trained in several stacks.
        options["width"] = sizes[0]

    if name in ("processes", "ray"):
        options["pickled"] = pickle_task(task)
        options["max_time"] = config.max_time
    if name == "ray":
        options |= {"address": config.address, "cpus": config.cpus, "gpus": config.gpus}
        options["members"] = max(sizes)
    return partial(EXECUTORS[name], task, devices, **options)


def resolve_device(config: RunConfig) -> str:
    """Return the configured device; "auto" is the first GPU if there is one.

    On a cluster, "auto" is what a member takes of it.
    """
    if config.device != "auto":
        return config.device
    if config.executor == "ray":
        return "cuda" if config.gpus else "cpu"
    return str(resolve_devices("auto")[0])


def _spread(task: Task, config: RunConfig, sizes: Sequence[int]) -> Task:
    """Return the task over all devices if a single member has several; else the task as it is."""
    devices = _devices(config)
    if max(sizes) > 1 or len(devices) == 1:
        return task
    return _replace(task, "data_parallel", tuple(map(str, devices)))


def _devices(config: RunConfig) -> list[torch.device]:
    """Return the devices that members share in turn; on a cluster, the single GPU of an actor.

    Raises:
        UsageError: There is no such device, or members on a cluster take no GPU.
    """
    if config.executor != "ray":
        return resolve_devices(config.device)

    device = resolve_device(config)
    if device == "cpu":
        return [torch.device("cpu")]
    if device != "cuda" or not config.gpus:
        raise UsageError(
            "device: on a cluster, expected cpu, or cuda with the GPUs that a member takes, such as "
            f"gpus=0.25; got {config.device!r} with gpus={config.gpus:g}"
        )
    return [torch.device("cuda:0")]


def _replace(task: Any, name: str, value: object) -> Task:
    """Return the task with another value of a dataclass field."""
    fields = dataclasses.fields(task) if dataclasses.is_dataclass(task) else ()
    if not any(field.name == name and field.init for field in fields):
        raise UsageError(
            f"{name}: a {type(task).__name__} is not a dataclass with a field {name!r} to replace; change it "
            "in the task's code"
        )
    return cast(Task, dataclasses.replace(task, **{name: value}))
