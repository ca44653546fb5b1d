"""The functions that start, continue and open runs."""

import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.space import DIMENSIONS, Dimension, Space
from popgrad.engine.callbacks import Callbacks, OnInterval, OnSegment
from popgrad.gates.code import recorded_code
from popgrad.hardware import versions
from popgrad.record.check import check_record
from popgrad.record.record import Record
from popgrad.record.timings import controller_seconds
from popgrad.runs.build import CUSTOM, build
from popgrad.runs.caller import Caller
from popgrad.runs.check import check_task
from popgrad.runs.components import Components
from popgrad.runs.display import Display, ProgressKind
from popgrad.runs.keywords import ResumeKeywords, RunKeywords
from popgrad.runs.reopen import (
    check_address,
    check_given,
    check_intervals,
    check_same_task,
    code_of,
    describe_resize,
    recorded_config,
    reopen_task,
)
from popgrad.runs.result import Result
from popgrad.runs.reuse import reuse_of
from popgrad.runs.session import run_session
from popgrad.runs.signature import accepted_keywords, check_keywords, takes_keywords
from popgrad.runs.study_task import StudyTask
from popgrad.runs.tracked import Trackers, make_trackers, split_trackers
from popgrad.store.directory import Directory, open_record
from popgrad.store.journal import Journal
from popgrad.store.mirror import claim_storage, confirm_storage
from popgrad.strategies import STRATEGIES, StrategyName
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task
from popgrad.tasks.reference import full_reference, source_digest, task_instance
from popgrad.trackers.base import Tracker

log = logging.getLogger("popgrad")


@takes_keywords("run")
def run(
    task: str | Task,
    *,
    space: Mapping[str, Dimension | Mapping[str, Any]] | Space | None = None,
    strategy: StrategyName | Strategy = "pbt",
    initial: Sequence[Hparams] = (),
    tracker: Trackers = (),
    directory: str | Path | None = None,
    on_segment: OnSegment | None = None,
    on_interval: OnInterval | None = None,
    progress: ProgressKind = True,
    **keywords: Unpack[RunKeywords],
) -> Result:
    """Train a population.

    Args:
        task: A task, or the name of one: built-in, "module:Name" or "file.py:Name"; the name may be left out
            if the file or module holds a single task. A class that needs no argument is made into a task.
        space: Dimensions, or their specs, by the names of hyperparameters; each replaces that of the task,
            or adds to its space.
        strategy: "pbt", "random-search", "schedule", or a `Strategy`.
        initial: Hyperparameters of the first members; missing names are sampled.
        tracker: "tensorboard", "mlflow", "wandb" or a `Tracker`, or a list of several: the run is logged
            to them. Each name needs the extra of that name.
        directory: Directory to create for the run; None = in memory only: nothing is written, the run cannot
            be resumed, and of the final states only the winner's is kept.
        on_segment: Called with each finished `Segment`, in the order of finishing. If it returns True,
            the run stops.
        on_interval: Called with an `IntervalEnd` after each interval. If it returns True, the run stops.
        progress: Progress on standard error: True = a table in a terminal or a notebook, elsewhere a line
            for each interval; "lines" or "table" = that one; False = nothing.
        **keywords: Keys of the configuration, and settings of the strategy.

    Returns:
        The result: the winner, its schedule, and the record of all members.

    Raises:
        UsageError: An argument is wrong; nothing was written.
        RunError: The run cannot continue; what is recorded stays.
        KeyboardInterrupt: Ctrl-C. The message states how to resume.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=4, intervals=5, executor="serial", seed=1)
        >>> len(result.segments), result.stopped
        (20, 'finished')
    """
    check_keywords(run, keywords)
    names = {keyword.name for keyword in accepted_keywords("run")} & RunConfig.model_fields.keys()
    settings = {name: value for name, value in keywords.items() if name not in names}

    # The configuration holds only the names; an object is passed beside it.
    task = full_reference(task) if isinstance(task, str) else task_instance(task)
    task_name, own_task = (task, None) if isinstance(task, str) else (type(task).__name__, task)
    strategy_name, own_strategy = (
        (strategy, None) if isinstance(strategy, str) else (CUSTOM, check_strategy(strategy))
    )
    if space is not None and not isinstance(space, Mapping | Space):
        raise UsageError(
            'space: expected dimensions by name, such as {"lr": LogUniform(1e-4, 1e-1)}, '
            f"got {space!r:.100}"
        )

    tracker_names, own_trackers = split_trackers(tracker)
    values: dict[str, Any] = {
        **{name: value for name, value in keywords.items() if name in names},
        "task": task_name,
        "space": {name: dimension_spec(dimension) for name, dimension in (space or {}).items()},
        "strategy": {"name": strategy_name, **settings},
        "initial": initial,
        "tracker": tracker_names,
    }
    path = None if directory is None else _path(directory).absolute()
    caller = Caller(path, given_task=own_task is not None)
    try:
        return start(
            configuration.parse(values),
            task=own_task,
            strategy=own_strategy,
            trackers=own_trackers,
            directory=path,
            callbacks=caller.callbacks(on_segment, on_interval),
            display=Display(progress),
        )
    except KeyboardInterrupt:
        raise caller.interrupt() from None


def check_strategy(strategy: object) -> Strategy:
    """Return an object that was passed as the strategy, if it is one."""
    if isinstance(strategy, Strategy):
        return strategy

    names = ", ".join(map(repr, STRATEGIES))
    message = f"strategy: expected {names} or a Strategy"
    if callable(strategy):
        name = getattr(strategy, "__name__", "function")
        raise UsageError(
            f"{message}, got the function {name}: call it with the space, {name}(space)"
        )
    raise UsageError(f"{message}, got {strategy!r:.100}; its settings are keywords: fraction=0.25")


def _path(directory: object) -> Path:
    """Return the directory that was passed for a run."""
    if isinstance(directory, str | os.PathLike):
        return Path(directory)
    raise UsageError(f'directory: expected a path such as "runs/first", got {directory!r:.100}')


def dimension_spec(value: object) -> Any:
    """Return a dimension as plain data; leave anything else to `parse`, which checks it."""
    if isinstance(value, tuple(DIMENSIONS.values())):
        return cast(Dimension, value).spec()
    return value


def start(
    config: RunConfig,
    *,
    task: Task | None = None,
    strategy: Strategy | None = None,
    trackers: Sequence[Tracker] = (),
    components: Components | None = None,
    directory: Path | None = None,
    callbacks: Callbacks | None = None,
    display: Display | None = None,
) -> Result:
    """Start the run that a configuration describes.

    Args:
        config: Requested configuration.
        task: Task that takes the place of the configured one.
        strategy: Strategy that takes the place of the configured one.
        trackers: Trackers beside those of the configuration.
        components: Components of the configuration, if they are built already.
        directory: Directory to create; None = in memory only.
        callbacks: Functions to call as segments and intervals finish.
        display: Display of the run; None = nothing is shown.

    Raises:
        UsageError: The configuration requests something impossible; nothing was written.
        RunError: The run cannot continue; what is recorded stays.
    """
    if config.load is not None:
        raise UsageError(
            f"load: the run in {config.load} is continued by `popgrad resume`, not started"
        )
    run_id = uuid.uuid4().hex
    if config.storage is not None:
        if directory is None:
            raise UsageError("storage: the run is kept in memory only; choose a directory for it")
        claim_storage(config.storage, run_id)

    components = components or build(config, task, strategy)
    config = components.config.model_copy(update={"made_with": versions()})
    made = make_trackers(config.tracker, trackers, directory)
    components = replace(components, config=config, trackers=made)
    check_task(components.task, config, components.ranking)
    facts = {
        "config": config.model_dump(mode="json"),
        "space": components.task.space.spec(),
        "score": components.ranking.text,
        "given_task": task is not None,
        "task_digest": source_digest(
            task or components.task, None if task is not None else config.task
        ),
        "code": dict(components.code),
        "run_id": run_id,
        "sizes": [components.strategy.started(config.population)],
        "shared_budget": components.strategy.shares_budget,
        "reuse": reuse_of(components.task),
        "stopped": "unfinished",
    }
    if directory is None:
        journal = Journal(None, create=True, about=facts)
        return run_session(components, journal, None, callbacks, display)

    durable = config.durability == "power"
    created = Directory.create(directory, durable=durable)
    with created.locked():
        journal = Journal(created.journal, create=True, about=facts, durable=durable)
        with closing(journal):
            return run_session(components, journal, created, callbacks, display)


@takes_keywords("resume")
def resume(
    directory: str | Path,
    *,
    task: Task | None = None,
    strategy: Strategy | None = None,
    tracker: Trackers | None = None,
    allow_changed_task: bool = False,
    on_segment: OnSegment | None = None,
    on_interval: OnInterval | None = None,
    progress: ProgressKind = True,
    **keywords: Unpack[ResumeKeywords],
) -> Result:
    """Continue a run: after an interruption, for more intervals, or with another population.

    The record becomes that of a run that never stopped, or that requested all intervals at once.

    Args:
        directory: Directory of the run.
        task: The task, if the run was given an instance.
        strategy: The strategy, if the run was given a `Strategy`.
        tracker: Trackers in place of the recorded names, as those of `run`; None = the recorded names. A
            `Tracker` object has to be passed again.
        allow_changed_task: Whether to continue although the source of the task has changed.
        on_segment: Called with each finished `Segment`, in the order of finishing. If it returns True,
            the run stops.
        on_interval: Called with an `IntervalEnd` after each interval. If it returns True, the run stops.
        progress: Progress on standard error, as that of `run`.
        **keywords: New values of keys; None leaves a key as it is recorded.

    Returns:
        The result of the whole run.

    Raises:
        UsageError: An argument is wrong, or the task has changed or has to be passed.
        RunError: There is no run, another process works on it, or it cannot continue.
        KeyboardInterrupt: Ctrl-C. The message states how to resume.

    Example:
        >>> import popgrad
        >>> keys = {"population": 4, "intervals": 3, "executor": "serial"}
        >>> stopped = popgrad.run("quadratic", directory="runs/longer", **keys)
        >>> result = popgrad.resume("runs/longer", intervals=5)
        >>> result.segments[: len(stopped.segments)] == stopped.segments, len(result.segments)
        (True, 20)
    """
    check_keywords(resume, keywords)
    if strategy is not None:
        check_strategy(strategy)

    task = task_instance(task)
    tracker_names, own_trackers = (None, []) if tracker is None else split_trackers(tracker)
    path = _path(directory).absolute()
    caller = Caller(path, given_task=task is not None)
    try:
        return restart(
            path,
            {**keywords, "tracker": tracker_names},
            task=task,
            strategy=strategy,
            trackers=own_trackers,
            allow_changed_task=allow_changed_task,
            callbacks=caller.callbacks(on_segment, on_interval),
            display=Display(progress),
        )
    except KeyboardInterrupt:
        raise caller.interrupt() from None


def restart(
    path: Path,
    keywords: Mapping[str, Any],
    *,
    task: Task | None = None,
    strategy: Strategy | None = None,
    trackers: Sequence[Tracker] = (),
    allow_changed_task: bool = False,
    callbacks: Callbacks | None = None,
    display: Display | None = None,
) -> Result:
    """Continue the run in a directory.

    Args:
        path: Directory of the run.
        keywords: New values of keys; None leaves a key as it is recorded.
        task: The task, if the run was given an instance.
        strategy: The strategy, if the run was given a `Strategy`.
        trackers: Trackers beside those of the configuration.
        allow_changed_task: Whether to continue although the source of the task has changed.
        callbacks: Functions to call as segments and intervals finish.
        display: Display of the run; None = nothing is shown.

    Raises:
        UsageError: An argument is wrong, or the task has changed or has to be passed.
        RunError: There is no run, another process works on it, or it cannot continue.
    """
    durable = open_record(path).config.get("durability") == "power"  # refuses what is not a run
    opened = Directory(path, durable)
    with opened.locked(), closing(Journal(opened.journal, durable=durable)) as journal:
        record = journal.record(all_decisions=True)
        check_record(record)
        config = recorded_config(record, keywords)
        check_given(record, config, path, task, "resume")
        check_intervals(config, record)
        check_address(config, named=keywords.get("address") is not None)

        with recorded_code(code_of(record, path, allow_changed=allow_changed_task)):
            components = _rebuild(config, record, task, strategy)
        made = make_trackers(components.config.tracker, trackers, path)
        components = replace(components, trackers=made)
        check_same_task(components.task, components.ranking, task, record, allow=allow_changed_task)
        growth_given = keywords.get("grow") is not None
        resize = describe_resize(components.config, record, components.strategy, grow=growth_given)
        if resize:
            log.info("%s", resize)

        # A run of an earlier version has no random name yet.
        run_id = record.run_id or uuid.uuid4().hex
        if components.config.storage is not None:
            named = keywords.get("storage") is not None
            confirm_storage(components.config.storage, run_id, named=named)

        facts = {"config": components.config.model_dump(mode="json"), "sizes": list(record.sizes)}
        journal.set_about(**facts, run_id=run_id, stopped="unfinished")
        return run_session(components, journal, opened, callbacks, display)


def _rebuild(
    config: RunConfig, record: Record, task: Task | None, strategy: Strategy | None
) -> Components:
    """Build the components of a resumed run; the configuration keeps what only its start needed."""
    unneeded: dict[str, Any] = {}
    if task is not None:
        unneeded["options"] = {}  # they were for the task that is named
    if len(record.last) >= max(record.size, config.population):
        # No member starts from them any more, and their file may be gone.
        unneeded["weights"] = None

    config_now = config.model_copy(update=unneeded)
    components = build(config_now, task, strategy, sizes=record.sizes, reuse=record.reuse)
    kept = {"weights": config.weights, "options": config.options}
    return replace(components, config=components.config.model_copy(update=kept))


def load(
    directory: str | Path,
    *,
    task: Task | None = None,
    data_dir: str | Path | None = None,
    allow_changed_task: bool = False,
) -> Result:
    """Open the result of a run as far as it has come; a run in progress is not disturbed.

    Args:
        directory: Directory of the run.
        task: The task, if the run was given an instance; needed for the winner and for `test`.
        data_dir: Directory of the data, if it has moved.
        allow_changed_task: Whether to make the task, for the winner and for `test`, although its source
            has changed.

    Raises:
        RunError: There is no run, or its journal cannot be read.

    Example:
        >>> import popgrad
        >>> keys = {"population": 4, "intervals": 3, "executor": "serial"}
        >>> result = popgrad.run("quadratic", directory="runs/toy", **keys)
        >>> popgrad.load("runs/toy").segments == result.segments
        True
    """
    opened = Directory(_path(directory).absolute())
    # Read before the record: a run that ends in between is finished, and not interrupted.
    process = opened.holder()
    with opened.reading() as journal:
        record = journal.record()
        telemetry = journal.telemetry()
        spent = controller_seconds(journal.about())

    check_record(replace(record, decisions=()))
    config = recorded_config(record, {"data_dir": data_dir})
    task = task_instance(task)
    if record.study is not None and task is None:
        task = StudyTask(record.space, record.score_name)
    elif task is not None:
        # The initial weights are part of the states since then, and their file may be gone.
        task = reopen_task(
            record, config.model_copy(update={"weights": None}), opened.path, task, "load"
        )
    return Result(
        record=record,
        telemetry=telemetry,
        config=config,
        run_directory=opened,
        trained_task=task,
        allow_changed_task=allow_changed_task,
        process=process,
        controller_seconds=spent,
    )
