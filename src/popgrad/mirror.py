"""A run's copy in storage, from which another machine goes on when this one is lost."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from popgrad.config import RunConfig
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Segment
from popgrad.garbage import needed
from popgrad.store import database, lineage
from popgrad.store.checkpoints import SUFFIX
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.standing import present_in
from popgrad.store.storage import Storage
from popgrad.watch import IntervalEnd, Watch

log = logging.getLogger("popgrad")

_JOURNAL = "journal.db"
_TRIAL = ".trial"
_CHECKPOINTS = "checkpoints/"
_AT_ONCE = 8
"""Files that are copied at the same time: an object store answers each in tens of milliseconds."""
_PATIENCE = 10.0
"""Seconds to wait for checkpoints that are being written; the run can go on from those before them."""


@dataclass(frozen=True)
class Mirror:
    """Keeps a copy of a run in storage: the checkpoints first, then the journal that names them.

    Attributes:
        storage: Where.
        place: The run's directory.
        due: Whether a segment is to have a checkpoint.
    """

    storage: Storage
    place: Directory
    due: Callable[[Segment], bool]

    def update(self) -> None:
        """Bring the copy to where the run is. Nobody may write to the journal meanwhile.

        Raises:
            RunError: Storage cannot be written; the copy that it had stays whole.
        """
        checkpoints = self.place.checkpoints
        with closing(Journal(self.place.journal, readonly=True)) as journal:
            segments = lineage.index(journal.segments())
            now = present_in(journal, list(segments.values()))
        written = (segment.digest for segment in now.last.values() if segment.digest and self.due(segment))
        checkpoints.wait(written, _PATIENCE)  # while training goes on
        names = {
            f"{_CHECKPOINTS}{d}{SUFFIX}": checkpoints.path(d) for d in needed(segments, checkpoints, now) if d
        }
        there = self.storage.sizes()
        new = [
            (path, n) for n, path in names.items() if path.exists() and path.stat().st_size != there.get(n)
        ]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for sent in [pool.submit(self.storage.send, *each) for each in new]:
                sent.result()
        with closing(database.copy(self.place.journal)) as private:
            self.storage.replace(private.serialize(), _JOURNAL)
        self.storage.delete([n for n in there if n.startswith(_CHECKPOINTS) and n not in names])

    def listening(self, watch: Watch | None) -> Watch:
        """Whoever is told, and after each interval the copy. Where it fails, the next one is to succeed."""
        told = (watch or Watch()).interval

        def interval(end: IntervalEnd) -> None:
            try:
                self.update()
            except RunError as error:
                log.warning("%s; it is tried again after the next interval", error)
            if told is not None:
                told(end)

        return replace(watch or Watch(), interval=interval)


def check_storage(url: str) -> None:
    """Refuse storage for a new run that cannot be written to, or holds another one.

    Raises:
        UsageError: It holds a run, or there is no such kind of storage.
        RunError: It cannot be written.
    """
    storage = Storage(url)
    if _JOURNAL in storage.sizes():
        raise UsageError(
            f"storage: {url} holds a run: name another place, or go on with that run by "
            f"`popgrad resume DIR --from-storage {url}`"
        )
    storage.replace(b"", _TRIAL)
    storage.delete([_TRIAL])


def make_mirror(config: RunConfig, place: Directory | None) -> Mirror | None:
    """The mirror that a configuration asks for; None where it asks for none.

    Raises:
        UsageError: There is no such storage, or the run has no directory to copy.
    """
    if config.storage is None:
        return None
    if place is None:
        raise UsageError("storage: given for a run that is kept in memory only; name a directory for it")

    def due(segment: Segment) -> bool:
        done = segment.interval + 1
        return done % config.checkpoint_every == 0 or done == config.intervals

    return Mirror(Storage(config.storage), place, due)


def fetch(url: str, directory: str | Path) -> Path:
    """Bring a run back from storage, to go on with it by `resume`.

    Args:
        url: The run's `storage`.
        directory: A new one for it.

    Returns:
        The directory.

    Raises:
        UsageError: There is no such kind of storage, no run in it, or the directory exists already.
        RunError: Storage cannot be read.
    """
    storage = Storage(url)
    names = storage.sizes()
    if _JOURNAL not in names:
        raise UsageError(f"storage: given {url!r}, which holds no run (there is no {_JOURNAL} in it)")
    place = Directory.create(Path(directory))
    with place.locked():
        checkpoints = place.checkpoints
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        files = [n for n in names if n.startswith(_CHECKPOINTS) and n.endswith(SUFFIX)]
        digests = {n: n.removeprefix(_CHECKPOINTS).removesuffix(SUFFIX) for n in files}
        wanted = [(name, checkpoints.path(digest)) for name, digest in digests.items()]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for got in [pool.submit(storage.fetch, *each) for each in wanted]:
                got.result()
        aside = place.journal.with_name(f".{_JOURNAL}.part")
        storage.fetch(_JOURNAL, aside)
        aside.replace(place.journal)  # last: without it the directory is no run
    return place.path
