"""Evaluation of a trained network on a split: a member of a run, a checkpoint, or a pretrained network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from popgrad.core.errors import RunError, UsageError
from popgrad.core.segment import Segment
from popgrad.gates.files import exists, is_regular
from popgrad.runs import pretrained
from popgrad.runs.api import load
from popgrad.runs.result import Result
from popgrad.runs.winner import load_weights
from popgrad.store.checkpoints import SUFFIX
from popgrad.tasks.base import Context, Split, Task
from popgrad.tasks.evaluation import evaluate
from popgrad.tasks.reference import full_reference, resolve_task

PREFIX = "pretrained:"


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a network on a split.

    Attributes:
        subject: The network, in words.
        split: "validation" or "test".
        metrics: Metrics by name.
        card: Metrics that the network's card states for this split; None = it has no card.
    """

    subject: str
    split: Split
    metrics: Mapping[str, float]
    card: Mapping[str, float] | None = None


def evaluate_split(
    what: str,
    *,
    split: Split = "test",
    member: int | None = None,
    best: bool = False,
    data_dir: str | Path | None = None,
    task: str | None = None,
    reader: str,
    allow_changed_task: bool = False,
) -> Evaluation:
    """Evaluate a network on a split, with its recorded task, options and hyperparameters.

    Args:
        what: Directory of a run, a file among its checkpoints, or "pretrained:NAME".
        split: "validation" or "test".
        member: Member of a run; None = the winner.
        best: Whether to take the member's best state so far instead of its last one.
        data_dir: Directory of the data, if it has moved.
        task: Reference of the task, if the run was given an instance.
        reader: Name of the caller, for the run's record.
        allow_changed_task: Whether to continue if the source of the task has changed.

    Raises:
        UsageError: There is no such network.
        RunError: The record cannot be read, or the state is gone.
    """
    if what.startswith(PREFIX):
        _check_single(what, member, best)
        if task is not None:
            raise UsageError(f"task: {what} has its own; leave it out")
        return _evaluate_pretrained(what.removeprefix(PREFIX), split, data_dir)

    path = Path(what)
    if path.suffix == SUFFIX and path.absolute().parent.name == "checkpoints":
        _check_single(what, member, best)
        result = open_result(path.absolute().parent.parent, data_dir, task, allow_changed_task)
        segment = _find_checkpoint(result, path)
        subject = f"checkpoint of member {segment.member}, interval {segment.interval}"
    else:
        result = open_result(path, data_dir, task, allow_changed_task)
        segment = result.record.winner if member is None else result.lineage(member)[-1]
        subject = (
            f"member {segment.member}" if member is not None else f"winner, member {segment.member}"
        )
        if best:
            segment = result.best(segment.member)
            subject += f" at its best (interval {segment.interval})"

    if segment.failed:
        raise UsageError(
            f"member {segment.member} failed in interval {segment.interval}: use its best state (--best)"
        )
    return Evaluation(subject, split, result.evaluate(segment.id, split, reader=reader))


def named_task(
    result: Result, reference: str | None, data_dir: str | Path | None = None
) -> Task | None:
    """Return the task that the command line names for a recorded run; None = the recorded one.

    Args:
        result: The run.
        reference: Reference of the task; None = the command line names none.
        data_dir: Directory of the data, if it has moved.

    Raises:
        UsageError: There is no such task, or the run was given an instance and none is named.
    """
    if reference is not None:
        data = result.config.data_dir if data_dir is None else str(data_dir)
        return resolve_task(full_reference(reference), result.config.options, data)
    if result.record.given_task and result.trained_task is None:
        raise UsageError(
            f"--task: the run was started from Python with a task instance ({result.config.task}); name "
            "the instance, or what makes it: --task file.py:NAME or --task module:NAME"
        )
    return None


def _check_single(what: str, member: int | None, best: bool) -> None:
    if member is not None or best:
        raise UsageError(
            f"member, best: they choose among the networks of a run; {what} is a single network, "
            "leave them out"
        )


def open_result(
    path: Path, data_dir: str | Path | None, task: str | None, allow_changed_task: bool
) -> Result:
    """Open a run whose networks are to be evaluated; the arguments are those of `evaluate_split`.

    Raises:
        UsageError: The directory holds no run, or the task has to be named.
        RunError: The record cannot be read.
    """
    try:
        found = is_regular(path / "journal.db")
    except OSError as error:
        raise RunError(f"{path / 'journal.db'} cannot be read now: {error.strerror}") from error
    if not found:
        raise UsageError(
            f"{path} holds no run (there is no journal.db in it); expected the directory of a run, one of "
            f"its checkpoints, or {PREFIX}NAME"
        )
    result = load(path, data_dir=data_dir, allow_changed_task=allow_changed_task)
    named = named_task(result, task)
    return result if named is None else load(path, task=named, data_dir=data_dir)


def _find_checkpoint(result: Result, path: Path) -> Segment:
    if exists(path):
        for segment in reversed(result.segments):
            if segment.digest == path.stem:
                return segment
    raise UsageError(
        f"{path} is not a checkpoint of the run; checkpoints.json lists those that it has"
    )


def _evaluate_pretrained(name: str, split: Split, data_dir: str | Path | None) -> Evaluation:
    card = pretrained.card(name)
    task = resolve_task(card["task"], card["options"], None if data_dir is None else str(data_dir))
    state = {"model": load_weights(pretrained.weights(name))}
    metrics = evaluate(task, state, card["hparams"], split, Context())
    return Evaluation(f"pretrained {name}", split, metrics, card.get(split))
