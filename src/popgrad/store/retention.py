"""Retention: checkpoints that a run still needs, and the deletion of the others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from popgrad.core.errors import AllMembersFailedError, RunError, UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.record import lineage
from popgrad.record.record import Record
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.directory import Directory, open_record


@dataclass(frozen=True)
class Garbage:
    """Files of a run that nothing needs.

    Attributes:
        files: The files.
        size: Their size in bytes.
        kept: Number of checkpoints that stay.
        kept_size: Size of those in bytes.
    """

    files: tuple[Path, ...]
    size: int
    kept: int
    kept_size: int


def restorable_from(
    segments: Mapping[SegmentId, Segment], checkpoints: Checkpoints, wanted: Iterable[Segment]
) -> set[str]:
    """Return digests of the checkpoints from which states can be restored.

    A state is restored from its own checkpoint, or retrained from the nearest checkpoint behind it.

    Args:
        segments: The record.
        checkpoints: Checkpoints of the run.
        wanted: Segments whose final states must stay restorable.
    """
    digests: set[str] = set()
    seen: set[SegmentId] = set()

    for leaf in wanted:
        segment: Segment | None = leaf
        while segment is not None and segment.id not in seen:
            seen.add(segment.id)
            if segment.digest:
                # Keep it also while its file is still being written.
                digests.add(segment.digest)
                if checkpoints.has(segment.digest):
                    break
            segment = None if segment.source is None else segments[segment.source]
    return digests


def needed(record: Record, checkpoints: Checkpoints) -> set[str]:
    """Return digests of the checkpoints that a run needs: to continue, and each member's last and best state.

    Args:
        record: The record, with all decisions.
        checkpoints: Checkpoints of the run.
    """
    best = lineage.best_segments(
        segment for segment in record.segments if segment.member in record.last
    )
    wanted = [
        *record.last.values(),
        # A member that has trained on may be the donor of one that has yet to start.
        *(record.by_id[source] for source in (*record.ahead, *record.archive)),
    ]
    digests = restorable_from(record.by_id, checkpoints, wanted)
    return digests | {segment.digest for segment in best.values()}


def collect(path: Path, *, only_winner: bool = False, dry_run: bool = False) -> Garbage:
    """Delete the checkpoints that nothing needs, and files that killed writers have left.

    Args:
        path: Directory of a run that no process works on.
        only_winner: Whether to keep the winner's checkpoint alone. To continue, a run then retrains
            the rest.
        dry_run: Whether to only list what would be deleted.

    Raises:
        RunError: There is no run, or another process works on it.
        UsageError: Only the winner is to be kept of a study that has not ended.
    """
    directory = Directory(path.absolute())
    open_record(path)  # before a lock is created in what is not a run
    with directory.locked():
        record = open_record(path, all_decisions=True)
        if only_winner and record.study is not None and record.stopped == "unfinished":
            raise UsageError(
                "--only-winner: expected a study that has ended, since its other states cannot be retrained"
            )
        checkpoints = directory.checkpoints
        wanted = needed(record, checkpoints)
        winner = _winner_digest(record)
        if only_winner and winner:
            wanted = {winner}

        files = (*checkpoints.unneeded(wanted), *checkpoints.leftovers())
        kept = [path for path in map(checkpoints.path, sorted(wanted - {""})) if path.exists()]
        garbage = Garbage(files, _size(files), len(kept), _size(kept))
        if not dry_run:
            _delete(files)
    return garbage


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{file} cannot be deleted: {error.strerror}") from error


def _winner_digest(record: Record) -> str:
    try:
        return record.winner.digest
    except AllMembersFailedError:
        return ""


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())
