"""Training again what a run has trained: exactly, along a lineage; or anew, under its schedule alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from popgrad import config as configuration
from popgrad.config import RunConfig, StrategyConfig
from popgrad.core.errors import UsageError
from popgrad.core.population import Segment, SegmentId
from popgrad.executors.base import Executor
from popgrad.parts import make_executor, make_task
from popgrad.recorded import about_run, check_given, check_same_task
from popgrad.restore import compare
from popgrad.result import Result
from popgrad.run import start
from popgrad.store import lineage
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.rows import check_record
from popgrad.store.standing import present_in
from popgrad.tasks.base import Task
from popgrad.watch import Watch
from popgrad.winner import Winner


@dataclass(frozen=True)
class Replay:
    """A model that was trained again along its lineage.

    Attributes:
        winner: The recorded segment and lineage, with the state that training them again has given.
        differing: The first segment whose final state is not what the record says; None = all are, bit for
            bit.
        machine: What of this machine's arithmetic differs from that of the run, as "name: then -> now".
    """

    winner: Winner
    differing: SegmentId | None
    machine: tuple[str, ...] = field(default=())

    @property
    def identical(self) -> bool:
        """Whether every state along the lineage is, bit for bit, what the record says."""
        return self.differing is None


def replay(
    directory: str | Path,
    member: int | None = None,
    *,
    task: Task | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    allow_changed_task: bool = False,
    on_segment: Callable[[Segment], None] | None = None,
) -> Replay:
    """Train along a lineage again, with the recorded hyperparameters and seeds; no checkpoint is read.

    Args:
        directory: The run's; it is not changed.
        member: Whose last state is wanted; None = the winner's.
        task: The task again, where the run was given an instance.
        data_dir: Where data lies now.
        device: Another device; bits are promised on the recorded kind only.
        allow_changed_task: Go on although the source of the task has changed.
        on_segment: Called with each recorded segment once it is trained again.

    Raises:
        UsageError: An argument is wrong, or the task has changed or has to be given.
        RunError: There is no run, or a segment fails that did not.
    """
    recorded = _read(directory, task, data_dir, device, allow_changed_task)
    chain = recorded.chain(member)
    if chain[-1].broke:
        raise UsageError(
            f"member {chain[-1].member} broke in interval {chain[-1].interval} and has no last state; "
            "name another member"
        )
    config = recorded.config
    if config.executor != "vectorised":  # whose bits are those of a stack; all others train like serial
        config = config.model_copy(update={"executor": "serial"})
    _, _, make = make_executor(config, recorded.task, recorded.sizes)
    executor = make(save=None)
    try:
        then, now = recorded.fingerprint, executor.fingerprint
        machine = tuple(f"{k}: {then.get(k)!r} -> {v!r}" for k, v in now.items() if then.get(k) != v)
        differing = _train(executor, chain, on_segment)
        state = executor.state(chain[-1].id)
    finally:
        executor.close()
    return Replay(Winner(chain[-1], chain, state, recorded.task), differing, machine)


def _train(
    executor: Executor, chain: Sequence[Segment], on_segment: Callable[[Segment], None] | None
) -> SegmentId | None:
    """Train a lineage; returns the first segment that differs from the record."""
    differing = None
    for segment in chain:
        executor.submit([segment.assignment])
        if not compare(segment, executor.next(), exact=False) and differing is None:
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
    keep: str | Path | None = None,
    task: Task | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    allow_changed_task: bool = False,
    watch: Watch | None = None,
) -> Result:
    """Train one new model under a recorded schedule: was it the schedule that helped?

    Weights, order of data and all else that is drawn come from `seed`; nobody is copied.

    Args:
        directory: The run's; it is not changed.
        seed: Of the new run, at least 0.
        member: Whose schedule; None = the winner's.
        keep: Directory of the new run; None = in memory only.
        task: The task again, where the run was given an instance.
        data_dir: Where data lies now.
        device: Another device.
        allow_changed_task: Go on although the source of the task has changed.
        watch: Who is told.

    Raises:
        UsageError: An argument is wrong, or the task has changed or has to be given.
        RunError: There is no run, or the new one cannot go on.
    """
    recorded = _read(directory, task, data_dir, device, allow_changed_task)
    chain = recorded.chain(member)
    phases = [{"step": segment.first_step, **segment.hparams} for segment in chain[1:]]
    config = recorded.config.model_copy(
        update={
            "population": 1,
            "intervals": len(chain),
            "seed": seed,
            "strategy": StrategyConfig(name="schedule", phases=phases),  # type: ignore[call-arg]
            "initial": [dict(chain[0].hparams)],
            "executor": "serial",
            "max_time": None,
            "target_score": None,
        }
    )
    return start(
        configuration.parse(config.model_dump(mode="json")),
        task=task,
        directory=None if keep is None else Path(keep),
        watch=watch,
    )


@dataclass(frozen=True)
class _Recorded:
    config: RunConfig
    task: Task
    segments: tuple[Segment, ...]
    last: Mapping[int, Segment]
    sizes: list[int]
    fingerprint: dict[str, object]

    def chain(self, member: int | None) -> tuple[Segment, ...]:
        """The lineage of a member, or of the winner."""
        if member is None:
            return lineage.lineage(self.segments, lineage.winner(self.last.values()).id)
        return lineage.lineage(self.segments, self.last[member].id if member in self.last else member)


def _read(
    directory: str | Path,
    given: Task | None,
    data_dir: str | Path | None,
    device: str | None,
    allow_changed_task: bool,
) -> _Recorded:
    place = Directory(Path(directory).absolute())
    journal = Journal(place.journal, readonly=True)
    try:
        about, segments, sizes = about_run(journal, place), tuple(journal.segments()), journal.sizes()
        check_record(segments, (), names=about["space"], sizes=sizes)
        last = present_in(journal, segments).last
    finally:
        journal.close()
    check_given(about, given, "replay")
    changes = {"data_dir": None if data_dir is None else str(data_dir), "device": device}
    config = configuration.parse(about["config"] | {k: v for k, v in changes.items() if v is not None})
    # One model after the other: nobody to wait for or to give up, and the copy in storage is the run's.
    config = config.model_copy(update={"mode": "sync", "deadline": None, "storage": None})
    task = make_task(config if given is None else config.model_copy(update={"options": {}}), given)
    check_same_task(task, given, about, allow=allow_changed_task)
    return _Recorded(config, task, segments, last, sizes, about.get("fingerprint", {}))
