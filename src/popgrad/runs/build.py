"""A configuration with every key decided, and the components that it names.

Nothing is written here.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from popgrad.config import RunConfig, StrategyConfig
from popgrad.core.errors import UsageError
from popgrad.core.initial import first_hparams
from popgrad.core.interval import parse_interval
from popgrad.core.population import Hparams
from popgrad.core.score import Score, check_direction
from popgrad.core.seeding import Rng
from popgrad.core.segment import Assignment
from popgrad.core.spelling import did_you_mean
from popgrad.executors.auto import fastest
from popgrad.gates.code import imported_code
from popgrad.hardware import available_cores
from popgrad.runs.check import check_task
from popgrad.runs.components import (
    Components,
    components,
    executor_factory,
    make_strategy,
    make_task,
    resolve_device,
    score_text,
)
from popgrad.runs.reuse import settle_reuse
from popgrad.strategies import STRATEGIES
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Epochal, Reporting, Task, epoch_steps
from popgrad.tasks.reference import check_options, defaults

log = logging.getLogger("popgrad")

CUSTOM = "custom"
"""Name of the strategy in the configuration of a run that was given a `Strategy`."""

_LOCAL = ("serial", "processes", "vectorised")
"""Executors that "auto" chooses from; a cluster has to be requested by name."""


def build(
    config: RunConfig,
    task: Task | None = None,
    strategy: Strategy | None = None,
    *,
    sizes: Sequence[int] = (),
    reuse: bool | None = None,
) -> Components:
    """Build the components of a run.

    Args:
        config: Requested configuration; it may leave keys open.
        task: Task to train; None = the one that the configuration names.
        strategy: Strategy to use; None = the one that the configuration names.
        sizes: Sizes that the population of a resumed run has had.
        reuse: Whether the loops of a resumed run are used again; None = not recorded.

    Raises:
        UsageError: The configuration requests something that does not exist or does not fit
            together.
    """
    with imported_code() as code:
        task = make_task(config, task)
    score = score_text(config, task)
    if not sizes:
        # A recorded run continues with the direction that it began with.
        check_direction(score)
    Score.parse(score).target(config.target_score)
    config = resolve(config, task, strategy, sizes=sizes)
    task = settle_reuse(task, config, reuse)
    return replace(components(config, task, strategy, sizes=sizes), code=code)


def resolve(
    config: RunConfig, task: Task, strategy: Strategy | None = None, *, sizes: Sequence[int] = ()
) -> RunConfig:
    """Return the configuration with every key that was left open decided.

    Args:
        config: Requested configuration.
        task: Task to train; its data may be read to count the steps of an epoch.
        strategy: Strategy that takes the place of the configured one.
        sizes: Sizes that the population of a resumed run has had.

    Raises:
        UsageError: A key does not fit the task or another key.
    """
    size = [*sizes, config.population][0]
    hparams, _ = first_hparams(task.space, Rng(config.seed), size, config.initial)
    interval = config.interval or _default_interval(task)
    if parse_interval(interval).reports and not isinstance(task, Reporting):
        raise UsageError(
            f"interval: a {type(task).__name__} makes no reports, only a training loop does (popgrad.loop); "
            "give a number of steps or of epochs"
        )
    config = config.model_copy(
        update={
            "interval": interval,
            "device": resolve_device(config),
            "intervals": _count_intervals(config, interval, task, hparams[0]),
            "epochs": None,
            "strategy": _resolve_strategy(config, task, strategy, hparams[0]),
            "task": _absolute_reference(config.task),
            "weights": _absolute(config.weights),
            "data_dir": _absolute(config.data_dir),
        }
    )
    made = strategy or make_strategy(config, task.space)
    _check_growth(config, made)
    if strategy is None and made.copies and config.population < 2:
        raise UsageError(
            f"population: expected at least 2, got 1: {config.strategy.name} copies between members (or use "
            "random-search)"
        )
    _check_mode(config, made)
    if not sizes:
        started = made.started(config.population)
        hparams, _ = first_hparams(task.space, Rng(config.seed), started, config.initial)

    if config.executor == "auto":
        # Executors are timed by training it; a loop is not timed.
        if not isinstance(task, Reporting):
            check_task(task, config, Score.parse(score_text(config, task)))
        config = config.model_copy(update={"executor": _choose_executor(config, task, hparams)})
    return config


def _default_interval(task: Task) -> str:
    if isinstance(task, Reporting):
        return "1 report"
    return "1 epoch" if isinstance(task, Epochal) else "10 steps"


def _count_intervals(config: RunConfig, interval: str, task: Task, hparams: Hparams) -> int:
    """Return the number of intervals, also if it is configured in epochs."""
    length = parse_interval(interval)
    in_epochs = config.epochs is not None or length.epochs or length.within_epochs
    if not in_epochs and not isinstance(task, Epochal):
        return config.intervals

    # This reads the data. If it is missing, nothing has been written yet.
    steps = epoch_steps(task, hparams)
    return config.intervals if config.epochs is None else length.per(config.epochs, steps)


def _resolve_strategy(
    config: RunConfig, task: Task, strategy: Strategy | None, hparams: Hparams
) -> StrategyConfig:
    """Return the strategy's name with all its settings, defaults included."""
    name = config.strategy.name
    options = config.strategy.options()
    if strategy is not None:
        if options:
            raise UsageError(
                f"strategy: got {', '.join(options)} beside a Strategy object; set them where it is created"
            )
        return config.strategy

    _check_strategy(config)
    if isinstance(options.get("phases"), list):
        options["phases"] = [_phase_in_steps(phase, task, hparams) for phase in options["phases"]]
    checked = check_options(STRATEGIES[name], options, f"strategy {name}")
    settings = {**defaults(STRATEGIES[name]), **checked}
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()
    }
    return StrategyConfig(name=name, **plain)


def _check_strategy(config: RunConfig) -> None:
    name = config.strategy.name
    if name == CUSTOM:
        raise UsageError(
            "strategy: the run was given a Strategy object; pass it again, strategy=..."
        )

    if name not in STRATEGIES:
        similar = did_you_mean(name, STRATEGIES)
        raise UsageError(f"strategy: expected {', '.join(STRATEGIES)}, got {name!r}{similar}")


def _check_mode(config: RunConfig, strategy: Strategy) -> None:
    if config.mode == "async" and strategy.together:
        raise UsageError(
            f"mode: got async, but the strategy {config.strategy.name} decides for all members at once; "
            "use mode sync"
        )


def _check_growth(config: RunConfig, strategy: Strategy) -> None:
    if config.grow == "clone" and not strategy.copies:
        raise UsageError(
            f"grow: expected sample, got 'clone': the strategy {config.strategy.name} copies no members"
        )


def _phase_in_steps(phase: Any, task: Task, hparams: Hparams) -> Any:
    """Convert a phase of a schedule that starts with an epoch to the step that it starts with."""
    if not isinstance(phase, Mapping) or "epoch" not in phase:
        return phase

    epoch = phase["epoch"]
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1 or "step" in phase:
        raise UsageError(
            "strategy.phases: expected either an epoch or a step, an integer of at least 1, "
            f"got {dict(phase)!r}"
        )
    values = {key: value for key, value in phase.items() if key != "epoch"}
    return {"step": epoch * epoch_steps(task, hparams), **values}


def _choose_executor(config: RunConfig, task: Task, hparams: Sequence[Hparams]) -> str:
    """Time the executors on the start of the run, and return the fastest; the reason is logged."""
    if config.deadline is not None or config.mode == "async":
        log.info("executor processes: the only choice with a deadline or in mode async")
        return "processes"

    if isinstance(task, Reporting):
        # Its steps are whole rounds of training, which are too long to be timed.
        log.info(
            "executor processes: a training loop is not timed; for short rounds: --executor serial"
        )
        return "processes"

    length = config.interval_length
    depends_on_epochs = length.epochs or length.within_epochs
    first = [
        Assignment(
            member=member,
            interval=0,
            source=None,
            hparams=own,
            seed=config.seed,
            first_step=0,
            steps=length.steps(0, epoch_steps(task, own) if depends_on_epochs else 1),
        )
        for member, own in enumerate(hparams)
    ]
    factories = {
        name: executor_factory(config.model_copy(update={"executor": name}), task, [len(first)])
        for name in _LOCAL
    }
    at_once = {
        "processes": min(config.workers or available_cores(), len(first)),
        "vectorised": len(first),
    }
    name, reason = fastest(factories, at_once, first, config.intervals)
    log.info("executor %s, %s", name, reason)
    return name


def _absolute(path: str | None) -> str | None:
    """Return the path in a form that holds in any working directory."""
    return None if path is None else str(Path(path).absolute())


def _absolute_reference(reference: str) -> str:
    """Return a task reference in which the path of a file is absolute."""
    module, colon, name = reference.rpartition(":")
    return f"{_absolute(module)}{colon}{name}" if module.endswith(".py") else reference
