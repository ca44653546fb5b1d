"""A copy of a run in storage, from which another machine can continue if this one is lost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.segment import Segment
from popgrad.store import database
from popgrad.store.checkpoints import SUFFIX
from popgrad.store.directory import Directory, open_record
from popgrad.store.retention import needed
from popgrad.store.storage import Storage

_JOURNAL = "journal.db"
_IDENTITY = "run-id"
"""Name of the file that states which run's copy lies in a storage."""

_CHECKPOINTS = "checkpoints/"
_PARALLEL = 8
"""Files that are copied at the same time: an object store answers each in tens of milliseconds."""
_PATIENCE = 10.0
"""Seconds to wait for checkpoints that are being written; without them the run continues from older ones."""


@dataclass(frozen=True)
class Mirror:
    """Keeps a copy of a run in storage: first the checkpoints, then the journal that names them.

    Attributes:
        storage: Storage that holds the copy.
        directory: Directory of the run.
        due: Whether a segment is to have a checkpoint.
    """

    storage: Storage
    directory: Directory
    due: Callable[[Segment], bool]

    def update(self) -> None:
        """Bring the copy up to date. No process may write to the journal meanwhile.

        Raises:
            RunError: The storage cannot be written; the previous copy stays whole.
        """
        checkpoints = self.directory.checkpoints
        record = open_record(self.directory.path, all_decisions=True)
        written = (
            segment.digest
            for segment in record.last.values()
            if segment.digest and self.due(segment)
        )
        # Training continues meanwhile, so the files may be a little behind the record.
        checkpoints.wait(written, _PATIENCE)

        digests = [digest for digest in needed(record, checkpoints) if digest]
        paths = {f"{_CHECKPOINTS}{digest}{SUFFIX}": checkpoints.path(digest) for digest in digests}
        stored = self.storage.sizes()
        changed = [
            (path, name)
            for name, path in paths.items()
            if path.exists() and path.stat().st_size != stored.get(name)
        ]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for upload in [pool.submit(self.storage.send, *each) for each in changed]:
                upload.result()

        with closing(database.copy(self.directory.journal)) as private:
            self.storage.replace(private.serialize(), _JOURNAL)
        self.storage.delete(
            [name for name in stored if name.startswith(_CHECKPOINTS) and name not in paths]
        )


def claim_storage(url: str, run_id: str) -> None:
    """Mark storage as that of a new run, or refuse what the run cannot use.

    Args:
        url: URL of the folder.
        run_id: Random name of the run.

    Raises:
        UsageError: The storage holds a run already, or its kind is unknown.
        RunError: The storage cannot be written.
    """
    storage = Storage(url)
    if _JOURNAL in storage.sizes():
        raise UsageError(
            f"storage: {url} holds a run already: choose another place, or continue that run with "
            f"`popgrad resume DIR --from-storage {url}`"
        )
    storage.replace(run_id.encode(), _IDENTITY)


def confirm_storage(url: str, run_id: str, *, named: bool) -> None:
    """Refuse storage of a resumed run that holds something else, before anything is written there.

    The URL may come from a journal of unknown origin, and lead to any folder that this user can write.

    Args:
        url: URL of the folder.
        run_id: Random name of the run.
        named: Whether the user has named the URL now; a new copy may be started there.

    Raises:
        UsageError: The storage holds another run, or nothing that confirms that it is this run's.
        RunError: The storage cannot be read.
    """
    identity = Storage(url).read(_IDENTITY, most=len(run_id))
    if identity == run_id.encode():
        return
    if identity is not None:
        raise UsageError(
            f"storage: {url} holds the copy of another run; choose another place with --storage URL"
        )
    if not named:
        raise UsageError(
            f"storage: the record names {url}, but nothing there confirms that it holds this run's copy; to "
            f"start one there, pass --storage {url}"
        )
    claim_storage(url, run_id)


def fetch(url: str, directory: str | Path) -> Path:
    """Copy a run from storage into a new directory, where `resume` can continue it.

    Args:
        url: The run's `storage`.
        directory: Directory to create.

    Returns:
        The directory.

    Raises:
        UsageError: The storage holds no run, its kind is unknown, or the directory exists already.
        RunError: The storage cannot be read.

    Example:
        >>> import popgrad
        >>> popgrad.fetch("s3://bucket/runs/1", "runs/1")  # doctest: +SKIP
    """
    storage = Storage(url)
    names = storage.sizes()
    if _JOURNAL not in names:
        raise UsageError(f"storage: {url} holds no run (there is no {_JOURNAL} in it)")

    target = Directory.create(Path(directory))
    with target.locked():
        checkpoints = target.checkpoints
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        files = [name for name in names if name.startswith(_CHECKPOINTS) and name.endswith(SUFFIX)]
        digests = {name: name.removeprefix(_CHECKPOINTS).removesuffix(SUFFIX) for name in files}
        wanted = [(name, checkpoints.path(digest)) for name, digest in digests.items()]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for download in [pool.submit(storage.fetch, *each) for each in wanted]:
                download.result()

        aside = target.journal.with_name(f".{_JOURNAL}.part")
        storage.fetch(_JOURNAL, aside)
        # The journal comes last: without it the directory is no run.
        aside.replace(target.journal)
    return target.path
