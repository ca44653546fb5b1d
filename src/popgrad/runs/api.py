"""The functions that start, continue and open runs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams, Segment
from popgrad.core.space import DIMENSIONS, Dimension, Space
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.hardware import versions
from popgrad.record.check import check_record
from popgrad.record.record import Record
from popgrad.runs.build import CUSTOM, build
from popgrad.runs.components import Components
from popgrad.runs.reopen import (
    check_given,
    check_intervals,
    check_same_task,
    describe_resize,
    recorded_config,
    reopen_task,
)
from popgrad.runs.result import Result
from popgrad.runs.session import run_session
from popgrad.store.directory import Directory, open_record
from popgrad.store.journal import Journal
from popgrad.store.mirror import check_storage
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task
from popgrad.tasks.reference import source_digest

log = logging.getLogger("popgrad")


def run(
    task: str | Task,
    *,
    population: int = 10,
    intervals: int = 20,
    interval: int | str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    space: Mapping[str, Dimension | Mapping[str, Any]] | Space | None = None,
    strategy: str | Strategy = "pbt",
    executor: str = "processes",
    workers: int | None = None,
    mode: str = "sync",
    deadline: float | str | None = None,
    device: str = "auto",
    address: str | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    max_time: float | str | None = None,
    target_score: float | None = None,
    initial: Sequence[Hparams] = (),
    weights: str | Path | None = None,
    data_dir: str | Path | None = None,
    directory: str | Path | None = None,
    storage: str | None = None,
    checkpoint_every: int = 1,
    durability: str = "process",
    log_every: int | None = None,
    events: bool = False,
    outputs: bool = True,
    on_segment: Callable[[Segment], None] | None = None,
    on_interval: Callable[[IntervalEnd], None] | None = None,
    **strategy_options: Any,
) -> Result:
    """Train a population.

    Args:
        task: A task, or the name of one: built-in, "module:Name" or "file.py:Name".
        population: Members, at least 1 (at least 2 where the strategy copies).
        intervals: Intervals that each member trains, at least 1.
        interval: Training between two decisions: steps (275 or "275") or epochs ("1 epoch"); None = 1 epoch,
            or 10 steps of a task that counts no epochs.
        epochs: Epochs in all, in place of `intervals`.
        seed: Every random stream derives from it; same seed, same run.
        options: Arguments of a task that is given by name.
        space: Dimensions (or their specs) that replace or add to the task's, by name.
        strategy: "pbt", "random-search", or a `Strategy` of one's own.
        executor: "processes", "serial", "vectorised" (all as one stacked model), "ray" (on a cluster), or
            "auto": whichever turns out to be the fastest here.
        workers: Worker processes, or threads of the stacked model; None = one per core. With "ray" actors at
            most; None = as many as the cluster has room for.
        mode: "sync": all decide once all have trained an interval; "async": each as soon as it has.
        deadline: Seconds (or "10m") that an interval of a member may take, after which it has failed.
        device: "cpu", "cuda", "cuda:0,1" or "auto".
        address: Of the cluster of "ray", "auto" or "local"; None = RAY_ADDRESS, else "local".
        cpus: That a member takes of the cluster.
        gpus: Likewise; 0.25 lets four share one.
        max_time: Seconds (or "10m", "2h") after which no further interval is started.
        target_score: Score at which no further interval is started.
        initial: Hyperparameters of the first members; names may be missing.
        weights: File of weights (or a run directory) that every member starts from.
        data_dir: Where data lies, for a task that is given by name.
        directory: Where the run is kept; None = in memory only, nothing is written.
        storage: URL of a folder that has a copy of the run after each interval, for when this machine is
            lost: `fetch` brings it back.
        checkpoint_every: Intervals between two checkpoints of a member. More save time, and cost a run that
            was stopped the intervals since; they never change a result.
        durability: What the record survives: "process", any kill; "power", a failure of power too.
        log_every: Steps between two points of the training curve; None = one an interval.
        events: Write TensorBoard events into the directory (needs the extra tensorboard).
        outputs: Write tables, figures and events into the directory, beside the record and the winner.
        on_segment: Called with each finished `Segment`.
        on_interval: Called with an `IntervalEnd` after each interval.
        **strategy_options: The strategy's own: fraction, factors, resample_probability, burn_in.

    Raises:
        UsageError: An argument is wrong; nothing was written.
        RunError: The run cannot go on; what is recorded stays.
    """
    values: dict[str, Any] = {
        "task": task if isinstance(task, str) else type(task).__name__,
        "options": options or {},
        "space": {name: _spec(each) for name, each in (space or {}).items()},
        "population": population, "intervals": intervals, "interval": interval, "epochs": epochs,
        "seed": seed,
        "checkpoint_every": checkpoint_every, "durability": durability,
        "log_every": log_every, "events": events, "outputs": outputs,
        "strategy": {"name": strategy if isinstance(strategy, str) else CUSTOM, **strategy_options},
        "executor": executor, "workers": workers, "device": device,
        "mode": mode, "deadline": deadline,
        "address": address, "cpus": cpus, "gpus": gpus, "storage": storage,
        "max_time": max_time, "target_score": target_score, "initial": initial,
        "weights": None if weights is None else str(weights),
        "data_dir": None if data_dir is None else str(data_dir),
    }  # fmt: skip
    return start(
        configuration.parse(values),
        task=None if isinstance(task, str) else task,
        strategy=None if isinstance(strategy, str) else strategy,
        directory=None if directory is None else Path(directory),
        callbacks=Callbacks(on_segment, on_interval),
    )


def _spec(given: object) -> object:
    """A dimension as plain data; anything else is left to `parse`, which says what is allowed."""
    return cast(Dimension, given).spec() if isinstance(given, tuple(DIMENSIONS.values())) else given


def start(
    config: RunConfig,
    *,
    task: Task | None = None,
    strategy: Strategy | None = None,
    components: Components | None = None,
    directory: Path | None = None,
    callbacks: Callbacks | None = None,
) -> Result:
    """Start the run that a configuration describes.

    Args:
        config: Requested configuration.
        task: Task that takes the place of the configured one.
        strategy: Strategy that takes the place of the configured one.
        components: Components of the configuration, if they are built already.
        directory: Directory to create; None = in memory only.
        callbacks: Functions to call as segments and intervals finish.

    Raises:
        UsageError: The configuration requests something impossible; nothing was written.
        RunError: The run cannot continue; what is recorded stays.
    """
    if config.load is not None:
        raise UsageError(
            f"load: the run in {config.load} is continued by `popgrad resume`, not started"
        )
    if config.storage is not None:
        if directory is None:
            raise UsageError("storage: the run is kept in memory only; choose a directory for it")
        check_storage(config.storage)

    components = components or build(config, task, strategy)
    config = components.config.model_copy(update={"made_with": versions()})
    components = replace(components, config=config)
    facts = {
        "config": config.model_dump(mode="json"),
        "space": components.task.space.spec(),
        "score": components.task.score,
        "given_task": task is not None,
        "task_digest": source_digest(
            task or components.task, None if task is not None else config.task
        ),
        "sizes": [config.population],
        "stopped": "unfinished",
    }
    if directory is None:
        return run_session(components, Journal(None, create=True, about=facts), None, callbacks)

    durable = config.durability == "power"
    created = Directory.create(directory, durable=durable)
    with created.locked():
        journal = Journal(created.journal, create=True, about=facts, durable=durable)
        with closing(journal):
            return run_session(components, journal, created, callbacks)


def resume(
    directory: str | Path,
    *,
    intervals: int | None = None,
    population: int | None = None,
    grow: str | None = None,
    task: Task | None = None,
    strategy: Strategy | None = None,
    executor: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    address: str | None = None,
    storage: str | None = None,
    max_time: float | str | None = None,
    target_score: float | None = None,
    data_dir: str | Path | None = None,
    allow_changed_task: bool = False,
    on_segment: Callable[[Segment], None] | None = None,
    on_interval: Callable[[IntervalEnd], None] | None = None,
) -> Result:
    """Go on with a run: after an interruption, for more intervals, with more members or with fewer.

    The record becomes what it would be had the run never stopped, or had it asked for all intervals at once.

    Args:
        directory: The run's.
        intervals: Intervals in all, at least as many as are recorded; None = as configured.
        population: Members from the next decision on: where there are too many of them the best stay.
        grow: How new members begin: "clone", with a donor's state and hyperparameters that are explored;
            "sample", fresh. None = "clone" where the strategy copies.
        task: The task again, where the run was given an instance.
        strategy: The strategy again, where the run was given one.
        executor: Another executor than before; the record does not depend on it.
        workers: Another number of workers.
        device: Another device; bits are promised on the recorded kind only.
        address: Another cluster.
        storage: Another place for the copy of the run.
        max_time: Seconds (or "10m", "2h") of this session after which no further interval is started.
        target_score: Another target.
        data_dir: Where data lies now.
        allow_changed_task: Go on although the source of the task has changed.
        on_segment: Called with each finished `Segment`.
        on_interval: Called with an `IntervalEnd` after each interval.

    Raises:
        UsageError: An argument is wrong, or the task has changed or has to be given.
        RunError: There is no run, another process works on it, or it cannot go on.
    """
    path = Path(directory).absolute()
    durable = open_record(path).config.get("durability") == "power"  # refuses what is not a run
    opened = Directory(path, durable)
    with opened.locked(), closing(Journal(opened.journal, durable=durable)) as journal:
        record = journal.record(all_decisions=True)
        check_record(record)
        changes = {
            "intervals": intervals, "population": population, "grow": grow,
            "executor": executor, "workers": workers, "device": device,
            "address": address, "storage": storage, "max_time": max_time, "target_score": target_score,
            "data_dir": None if data_dir is None else str(data_dir),
        }  # fmt: skip
        config = recorded_config(record, changes)
        check_intervals(config, record)
        check_given(record, config, path, task, "resume")

        components = _rebuild(config, record, task, strategy)
        check_same_task(components.task, task, record, allow=allow_changed_task)
        resize = describe_resize(
            components.config, record, components.strategy, grow=grow is not None
        )
        if resize:
            log.info("%s", resize)

        facts = {"config": components.config.model_dump(mode="json"), "sizes": list(record.sizes)}
        journal.set_about(**facts, stopped="unfinished")
        return run_session(components, journal, opened, Callbacks(on_segment, on_interval))


def _rebuild(
    config: RunConfig, record: Record, task: Task | None, strategy: Strategy | None
) -> Components:
    """Build the components of a resumed run; the configuration keeps what only its start needed."""
    unneeded: dict[str, Any] = {}
    if task is not None:
        unneeded["options"] = {}  # they were for the task that is named
    if len(record.last) == max(record.size, config.population):
        unneeded["weights"] = (
            None  # no member starts from them any more, and their file may be gone
        )

    components = build(config.model_copy(update=unneeded), task, strategy, sizes=record.sizes)
    kept = {"weights": config.weights, "options": config.options}
    return replace(components, config=components.config.model_copy(update=kept))


def load(
    directory: str | Path, *, task: Task | None = None, data_dir: str | Path | None = None
) -> Result:
    """Open the result of a run as far as it has come; a run in progress is not disturbed.

    Args:
        directory: Directory of the run.
        task: The task, if the run was given an instance; needed for the winner and for `test`.
        data_dir: Directory of the data, if it has moved.

    Raises:
        RunError: There is no run, or its journal cannot be read.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=4, intervals=3, directory="runs/toy")
        >>> popgrad.load("runs/toy").segments == result.segments
        True
    """
    opened = Directory(Path(directory).absolute())
    with opened.reading() as journal:
        record = journal.record()
        telemetry = journal.telemetry()

    check_record(replace(record, decisions=()))
    config = recorded_config(record, {"data_dir": None if data_dir is None else str(data_dir)})
    if task is not None:
        # The initial weights are part of the states since then, and their file may be gone.
        task = reopen_task(
            record, config.model_copy(update={"weights": None}), opened.path, task, "load"
        )
    return Result(
        record=record, telemetry=telemetry, config=config, run_directory=opened, trained_task=task
    )
