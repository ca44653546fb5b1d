"""Start a run, go on with one, open one: where configuration, task, engine and directory are joined."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams, Segment
from popgrad.core.space import DIMENSIONS, Dimension, Space
from popgrad.mirror import check_storage, make_mirror
from popgrad.parts import CUSTOM, Parts, make_parts, versions
from popgrad.recorded import about_run, check_given, check_resize, check_same_task, task_again
from popgrad.result import Result, result_of
from popgrad.session import go
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.rows import check_record
from popgrad.store.standing import present_in
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task
from popgrad.tasks.reference import source_digest
from popgrad.watch import IntervalEnd, Watch

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
        watch=Watch(on_segment, on_interval),
    )


def _spec(given: object) -> object:
    """A dimension as plain data; whatever else it is, `parse` says what is allowed."""
    return cast(Dimension, given).spec() if isinstance(given, tuple(DIMENSIONS.values())) else given


def start(
    config: RunConfig,
    *,
    task: Task | None = None,
    strategy: Strategy | None = None,
    parts: Parts | None = None,
    directory: Path | None = None,
    watch: Watch | None = None,
) -> Result:
    """Start the run that a configuration describes; `task` and `strategy` stand for what it cannot name.

    `parts` are the configuration's, where they are made already.

    Raises:
        UsageError: The configuration asks for what cannot be had; nothing was written.
        RunError: The run cannot go on; what is recorded stays.
    """
    if config.load is not None:
        raise UsageError(f"load: the run in {config.load} is gone on with by `popgrad resume`, not started")
    parts = parts or make_parts(config, task, strategy)
    config = parts.config.model_copy(update={"made_with": versions()})
    about = {
        "config": config.model_dump(mode="json"),
        "space": parts.task.space.spec(),
        "score": parts.task.score,
        "given_task": task is not None,
        "task_digest": source_digest(task or parts.task, None if task is not None else config.task),
        "sizes": [config.population],
        "stopped": "unfinished",
    }
    if directory is None:
        make_mirror(config, None)
        return go(parts, config, Journal(None, create=True, about=about), None, watch)
    if config.storage is not None:
        check_storage(config.storage)
    durable = config.durability == "power"
    place = Directory.create(directory, durable=durable)
    with place.locked():
        journal = Journal(place.journal, create=True, about=about, durable=durable)
        try:
            return _go(parts, config, journal, place, watch)
        finally:
            journal.close()


def _go(
    parts: Parts,
    config: RunConfig,
    journal: Journal,
    place: Directory,
    watch: Watch | None,
) -> Result:
    """The session, with a copy in storage where one is wanted."""
    mirror = make_mirror(config, place)
    if mirror is None:
        return go(parts, config, journal, place, watch)
    mirror.update()
    result = go(parts, config, journal, place, mirror.listening(watch))
    mirror.update()
    return result


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
    place = Directory(Path(directory).absolute())
    looked = Journal(place.journal, readonly=True)  # refuses what is no run before anything is touched
    durable = about_run(looked, place)["config"].get("durability") == "power"
    looked.close()
    place = Directory(place.path, durable)
    with place.locked():
        journal = Journal(place.journal, durable=durable)
        try:
            about = about_run(journal, place)
            changes = {
                "intervals": intervals, "population": population, "grow": grow,
                "executor": executor, "workers": workers, "device": device,
                "address": address, "storage": storage, "max_time": max_time, "target_score": target_score,
                "data_dir": None if data_dir is None else str(data_dir),
            }  # fmt: skip
            config = configuration.parse(
                about["config"] | {k: v for k, v in changes.items() if v is not None}
            )
            segments, sizes = journal.segments(), journal.sizes()
            recorded = 1 + max((segment.interval for segment in segments), default=-1)
            if config.intervals < recorded:
                raise UsageError(f"intervals: given {config.intervals}, but {recorded} are recorded already")
            check_record(segments, journal.decisions(), names=about["space"], sizes=sizes)
            check_given(about, task, "resume")
            weights, options = config.weights, config.options
            if task is not None:  # they were for the task that is named
                config = config.model_copy(update={"options": {}})
            if len(present_in(journal, segments).last) == max(sizes[-1], config.population):
                config = config.model_copy(update={"weights": None})  # nobody starts from them any more
            parts = make_parts(config, task, strategy, sizes=sizes)
            check_same_task(parts.task, task, about, allow=allow_changed_task)
            config = parts.config.model_copy(update={"weights": weights, "options": options})
            coming = check_resize(config, journal, segments, parts.strategy, grow=grow is not None)
            if coming:
                log.info("%s", coming)
            journal.set_about(config=config.model_dump(mode="json"), sizes=sizes, stopped="unfinished")
            return _go(parts, config, journal, place, Watch(on_segment, on_interval))
        finally:
            journal.close()


def load(directory: str | Path, *, task: Task | None = None, data_dir: str | Path | None = None) -> Result:
    """The result of a run as far as it has come, without disturbing it; task code runs only when needed.

    Args:
        directory: The run's.
        task: The task again, where the run was given an instance; needed for the winner and for `test`.
        data_dir: Where data lies now.

    Raises:
        RunError: There is no run, or its journal cannot be read.
    """
    place = Directory(Path(directory).absolute())
    journal = Journal(place.journal, readonly=True)
    try:
        about = about_run(journal, place)
        if data_dir is not None:
            about["config"]["data_dir"] = str(data_dir)
        result = result_of(journal, place, about, partial(task_again, about, task), {})
        check_record(result.segments, (), names=result.space, sizes=journal.sizes())
        return result
    finally:
        journal.close()
