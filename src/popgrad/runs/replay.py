"""Replays: a lineage retrained, bit for bit; or a new model trained under a recorded schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from popgrad.config import RunConfig, StrategyConfig, parse
from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams, SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.engine.callbacks import Callbacks
from popgrad.engine.restore import compare
from popgrad.executors.base import Executor
from popgrad.gates.code import recorded_code
from popgrad.record.check import check_record
from popgrad.record.record import Record
from popgrad.runs.api import start
from popgrad.runs.build import build
from popgrad.runs.components import executor_factory, score_text
from popgrad.runs.display import Display, ProgressKind
from popgrad.runs.reopen import check_same_task, code_of, recorded_config, reopen_task
from popgrad.runs.result import Result
from popgrad.runs.winner import Winner
from popgrad.store.directory import open_record
from popgrad.tasks.base import Task
from popgrad.tasks.reference import task_instance


@dataclass(frozen=True)
class Replay:
    """A model that was retrained along its lineage.

    Attributes:
        winner: Recorded segment and lineage, with the state that retraining them has given.
        differing: First segment whose final state differs from the record; None = all are equal,
            bit for bit.
        machine: Parts of this machine's arithmetic that differ from the run's, as
            "name: recorded -> now".

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "quadratic", population=4, intervals=3, directory="runs/retrained", executor="serial"
        ... )
        >>> replay = popgrad.replay("runs/retrained")
        >>> replay.differing is None, replay.winner.score == result.winner.score
        (True, True)
    """

    winner: Winner
    differing: SegmentId | None
    machine: tuple[str, ...] = field(default=())

    @property
    def identical(self) -> bool:
        """Whether every state along the lineage equals the record, bit for bit."""
        return self.differing is None


def replay(
    directory: str | Path,
    member: int | None = None,
    *,
    interval: int | None = None,
    task: Task | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    allow_changed_task: bool = False,
    on_segment: Callable[[Segment], None] | None = None,
) -> Replay:
    """Retrain a lineage with its recorded hyperparameters and seeds; no checkpoint is read.

    Args:
        directory: Directory of the run; it is not changed.
        member: Member whose state is wanted; None = the winner.
        interval: Interval of that member, from 0, whose final state is wanted; None = its last one.
        task: The task, if the run was given an instance.
        data_dir: Directory of the data, if it has moved.
        device: Another device; bits are promised on the recorded kind only.
        allow_changed_task: Whether to continue if the source of the task has changed.
        on_segment: Called with each recorded segment once it is retrained.

    Raises:
        UsageError: An argument is wrong, the record has no such segment, or the task has changed or
            has to be passed.
        RunError: There is no run, or a segment fails that did not before.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "quadratic", population=4, intervals=3, directory="runs/replayed", executor="serial"
        ... )
        >>> popgrad.replay("runs/replayed").identical
        True
        >>> popgrad.replay("runs/replayed", 1, interval=1).winner.segment.id
        (1, 1)
    """
    task = task_instance(task)
    record, config, task = reopen(directory, task, data_dir, device, allow_changed_task)
    lineage = record.lineage(record.leaf(member, interval))
    if lineage[-1].broke:
        raise UsageError(
            f"member {lineage[-1].member} crashed in interval {lineage[-1].interval} and has no last state; "
            "choose another member, or an earlier interval"
        )

    # The bits of `vectorised` are those of a stack; all other executors train like serial.
    if config.executor != "vectorised":
        config = config.model_copy(update={"executor": "serial"})

    executor = executor_factory(config, task, record.sizes)(save=None)
    try:
        recorded = record.fingerprint
        machine = tuple(
            f"{key}: {recorded.get(key)!r} -> {value!r}"
            for key, value in executor.fingerprint.items()
            if recorded.get(key) != value
        )
        differing = _train(executor, lineage, on_segment)
        state = executor.state(lineage[-1].id)
    finally:
        executor.close()
    return Replay(
        Winner(lineage[-1], lineage, state, task, ranking=record.ranking), differing, machine
    )


def _train(
    executor: Executor, lineage: Sequence[Segment], on_segment: Callable[[Segment], None] | None
) -> SegmentId | None:
    """Train a lineage, and return the first segment that differs from the record."""
    differing = None
    for segment in lineage:
        executor.submit([segment.assignment])
        equal = compare(segment, executor.next(), exact=False)
        if not equal and differing is None:
            differing = segment.id

        executor.retain([segment.id])
        if on_segment is not None:
            on_segment(segment)
    return differing


def replay_schedule(
    directory: str | Path,
    seed: int,
    member: int | None = None,
    *,
    interval: int | None = None,
    keep: str | Path | None = None,
    task: Task | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    allow_changed_task: bool = False,
    callbacks: Callbacks | None = None,
    progress: ProgressKind | Display = True,
) -> Result:
    """Train one new model under a recorded schedule, to see whether the schedule alone helps.

    Weights, order of data and all other draws come from `seed`; no member copies another.

    Args:
        directory: Directory of the run; it is not changed.
        seed: Seed of the new run, at least 0.
        member: Member whose schedule is used; None = the winner.
        interval: Interval of that member, from 0, that the schedule ends with; None = its last one.
        keep: Directory of the new run; None = in memory only.
        task: The task, if the run was given an instance.
        data_dir: Directory of the data, if it has moved.
        device: Another device.
        allow_changed_task: Whether to continue if the source of the task has changed.
        callbacks: Functions to call as segments and intervals finish.
        progress: Progress on standard error, as that of `run`.

    Raises:
        UsageError: An argument is wrong, or the task has changed or has to be passed.
        RunError: There is no run, or the new one cannot continue.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "quadratic", population=4, intervals=3, directory="runs/donor", executor="serial"
        ... )
        >>> popgrad.replay_schedule("runs/donor", seed=1).size
        1
    """
    task = task_instance(task)
    record, config, _ = reopen(directory, task, data_dir, device, allow_changed_task)
    lineage = record.lineage(record.leaf(member, interval))

    # The first segment's values are the initial ones, so that the phases need not start at step 0.
    changes = [(segment.first_step, segment.hparams) for segment in lineage[1:]]
    intervals = sum(segment.length for segment in lineage)
    config = alone(config, lineage[0].hparams, changes, intervals=intervals, seed=seed)
    path = Path(directory).absolute()
    with recorded_code(code_of(record, path, allow_changed=allow_changed_task)):
        components = build(config, task)
    return start(
        config,
        task=task,
        components=components,
        directory=None if keep is None else Path(keep),
        callbacks=callbacks,
        display=progress if isinstance(progress, Display) else Display(progress),
    )


def alone(
    config: RunConfig,
    hparams: Hparams,
    changes: Sequence[tuple[int, Hparams]],
    *,
    intervals: int,
    seed: int,
) -> RunConfig:
    """Return the configuration of a run that trains one model under a given schedule, to its end.

    Args:
        config: Configuration of the run that the schedule is from, as `reopen` returns it.
        hparams: Hyperparameters from the first step on.
        changes: (step, hyperparameters) of each later phase.
        intervals: Intervals to train.
        seed: Seed of the new run.
    """
    phases = [{"step": step, **values} for step, values in changes]
    changed = config.model_copy(
        update={
            "population": 1,
            "intervals": intervals,
            "seed": seed,
            "strategy": StrategyConfig(name="schedule", phases=phases),  # type: ignore[call-arg]
            "initial": [dict(hparams)],
            "executor": "serial",
            "max_time": None,
            "target_score": None,
            "patience": None,
        }
    )
    return parse(changed.model_dump(mode="json"))


def reopen(
    directory: str | Path,
    task: Task | None,
    data_dir: str | Path | None,
    device: str | None,
    allow_changed_task: bool,
) -> tuple[Record, RunConfig, Task]:
    """Read a record, its configuration as a replay needs it, and its task."""
    path = Path(directory).absolute()
    record = open_record(path)

    check_record(replace(record, decisions=()))

    changes = {"data_dir": None if data_dir is None else str(data_dir), "device": device}
    config = recorded_config(record, changes)
    # A single model: no member to wait for or to abandon. The copy in storage belongs to the run.
    config = config.model_copy(update={"mode": "sync", "deadline": None, "storage": None})

    reopened = reopen_task(record, config, path, task, "replay", allow_changed=allow_changed_task)
    ranking = Score.parse(score_text(config, reopened))
    check_same_task(reopened, ranking, task, record, allow=allow_changed_task)
    return record, config, reopened
