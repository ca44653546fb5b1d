"""Files of a run that nothing needs any more, and their collection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from popgrad.core.errors import NobodyLeftError
from popgrad.core.population import Segment, SegmentId
from popgrad.restore import kept
from popgrad.store import lineage
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.standing import Present, present_in


@dataclass(frozen=True)
class Garbage:
    """What can be deleted of a run, or was.

    Attributes:
        files: What nothing needs.
        size: Their bytes.
        kept: Checkpoints that stay.
        kept_size: Their bytes.
    """

    files: tuple[Path, ...]
    size: int
    kept: int
    kept_size: int


def needed(segments: Mapping[SegmentId, Segment], checkpoints: Checkpoints, now: Present) -> set[str]:
    """Digests of the checkpoints that a run needs: to go on, and each member's last and best state.

    Args:
        segments: The record.
        checkpoints: Where states lie.
        now: Who is in the population.
    """
    best = lineage.best_segments(s for s in segments.values() if s.member in now.last)
    wanted = [*now.last.values(), *(segments[each] for each in now.ahead)]
    return kept(segments, checkpoints, wanted) | {segment.digest for segment in best.values()}


def collect(directory: Path, *, only_winner: bool = False, dry_run: bool = False) -> Garbage:
    """Delete the checkpoints that nothing needs, and what killed writers have left.

    Args:
        directory: The run's; nobody may be at work on it.
        only_winner: Keep the winner's checkpoint alone. Going on with the run then trains the others again.
        dry_run: Delete nothing, only say what would be.

    Raises:
        RunError: There is no run, or another process works on it.
    """
    place = Directory(directory.absolute())
    journal = Journal(place.journal, readonly=True)
    segments = lineage.index(journal.segments())
    now = present_in(journal, list(segments.values()))
    journal.close()
    with place.locked():
        checkpoints = place.checkpoints
        wanted = needed(segments, checkpoints, now)
        if only_winner and (winner := _winner(now.last.values())):
            wanted = {winner}
        files = (*checkpoints.unneeded(wanted), *checkpoints.leftovers())
        remaining = [path for path in map(checkpoints.path, sorted(wanted - {""})) if path.exists()]
        found = Garbage(files, _size(files), len(remaining), _size(remaining))
        if not dry_run:
            for path in files:
                path.unlink(missing_ok=True)
    return found


def _winner(last: Iterable[Segment]) -> str:
    try:
        return lineage.winner(last).digest
    except NobodyLeftError:
        return ""


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())
