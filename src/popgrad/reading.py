"""A reading of a split: of a run's member, of one checkpoint, or of a network that comes with popgrad."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from popgrad import pretrained
from popgrad.core.errors import UsageError
from popgrad.core.population import Segment
from popgrad.executors.base import evaluate
from popgrad.result import Result
from popgrad.run import load
from popgrad.store.checkpoints import SUFFIX
from popgrad.tasks.base import Context, Split
from popgrad.tasks.reference import resolve
from popgrad.winner import load_weights

PREFIX = "pretrained:"


@dataclass(frozen=True)
class Reading:
    """Metrics of a network on a split.

    Attributes:
        of: Whose, in words.
        split: "validation" or "test".
        metrics: What was found.
        card: What its card says it reaches there; None where it has no card.
    """

    of: str
    split: Split
    metrics: Mapping[str, float]
    card: Mapping[str, float] | None = None


def read_split(
    what: str,
    *,
    split: Split = "test",
    member: int | None = None,
    best: bool = False,
    data_dir: str | Path | None = None,
    reader: str,
) -> Reading:
    """Evaluate what a command names; task, options and hyperparameters are the saved ones.

    Args:
        what: The directory of a run, a file among its checkpoints, or "pretrained:NAME".
        split: "validation" or "test".
        member: Whose state of a run; None = the winner's.
        best: The member's best state so far, else its last one.
        data_dir: Where data lies now.
        reader: Who reads, for the run's record.

    Raises:
        UsageError: There is nothing of that name.
        RunError: The record cannot be read, or the state is gone.
    """
    if what.startswith(PREFIX):
        _check_one(what, member, best)
        return _read_pretrained(what.removeprefix(PREFIX), split, data_dir)
    path = Path(what)
    if path.suffix == SUFFIX and path.absolute().parent.name == "checkpoints":
        _check_one(what, member, best)
        result = _open(path.absolute().parent.parent, data_dir)
        segment = _segment_of(result, path)
        words = f"checkpoint of member {segment.member}, interval {segment.interval}"
    else:
        result = _open(path, data_dir)
        segment = result.winner.segment if member is None else result.lineage(member)[-1]
        segment = result.best(segment.member) if best else segment
        words = f"{'winner, ' if member is None else ''}member {segment.member}"
        words += f" at its best (interval {segment.interval})" if best else ""
    if segment.failed:
        raise UsageError(
            f"member {segment.member} failed in interval {segment.interval}: take its best state (--best)"
        )
    return Reading(words, split, result.evaluate(segment.id, split, reader=reader))


def _check_one(what: str, member: int | None, best: bool) -> None:
    if member is not None or best:
        raise UsageError(
            f"member, best: given {what}, which is one network; they choose among those of a run's directory"
        )


def _open(place: Path, data_dir: str | Path | None) -> Result:
    if not os.path.isfile(place / "journal.db"):  # Path.is_file raises where a name is too long
        raise UsageError(
            f"given {place}, which is neither the directory of a run (there is no journal.db in it) "
            f"nor one of its checkpoints, nor {PREFIX}NAME"
        )
    return load(place, data_dir=data_dir)


def _segment_of(result: Result, path: Path) -> Segment:
    if os.path.isfile(path):
        for segment in reversed(result.segments):
            if segment.digest == path.stem:
                return segment
    raise UsageError(
        f"given {path}, which is none of the run's checkpoints; checkpoints.json says which it has"
    )


def _read_pretrained(name: str, split: Split, data_dir: str | Path | None) -> Reading:
    card = pretrained.card(name)
    task = resolve(card["task"], card["options"], None if data_dir is None else str(data_dir))
    state = {"model": load_weights(pretrained.weights(name))}
    metrics = evaluate(task, state, card["hparams"], split, Context())
    return Reading(f"pretrained {name}", split, metrics, card.get(split))
