"""The directory of a run: paths of its files, the lock, and the one way to open a run for reading."""

import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from popgrad.core.errors import RunError, UsageError
from popgrad.gates.files import check_own, exists, is_regular, open_regular
from popgrad.record.record import Record
from popgrad.store.atomic import flush
from popgrad.store.filesystem import check_local
from popgrad.store.journal import Journal

if TYPE_CHECKING:
    from popgrad.store.checkpoints import Checkpoints

_UNSTARTED = {"lock", ".journal.db.part", ".journal.db.part-journal"}
"""Files of a run that was killed before it had a journal."""

_FILES = (
    *("lock", "journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal", ".part"),
    *(".toml", ".json", ".csv", ".png", ".html", ".safetensors"),
)
"""Ends of the names of files that are written to the directory of a run."""

_PROCESS_DIGITS = 32
"""Most characters of a process's number."""
_ATTEMPTS = 5
_READER_TIME = 0.01
"""Seconds between two attempts to lock a run."""


@dataclass(frozen=True)
class Directory:
    """Paths within the directory of a run.

    Attributes:
        path: The directory.
        durable: Whether checkpoints are flushed to the disk.
    """

    path: Path
    durable: bool = False

    @classmethod
    def create(cls, path: Path, *, durable: bool = False) -> "Directory":
        """Create the directory of a new run, or reuse that of a run killed before it had a journal.

        Raises:
            UsageError: Something exists at `path` already; it is left untouched.
            RunError: The path lies on a network file system.
        """
        if os.path.exists(path) and not _is_unstarted(path):
            if (path / "journal.db").exists():
                what = "holds a run: continue it with `popgrad resume`, or"
            else:
                what = "exists:"
            raise UsageError(f"the directory {path} {what} choose another one with --dir")

        check_local(path.absolute())
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the directory {path} cannot be created: {error.strerror}") from None

        if durable:
            # These hold the names of the folders just created.
            for parent in path.absolute().parents:
                # A folder that cannot be read was not created here.
                with suppress(PermissionError):
                    flush(parent)

        # Absolute, since a task may change the working directory.
        return cls(path.absolute(), durable)

    @property
    def journal(self) -> Path:
        """The journal, the only truth about the run."""
        return self.path / "journal.db"

    @property
    def checkpoints(self) -> "Checkpoints":
        """States by digest."""
        from popgrad.store.checkpoints import Checkpoints  # needs torch, which takes seconds

        return Checkpoints(self.path / "checkpoints", self.durable)

    @property
    def configuration(self) -> Path:
        """The resolved configuration, to be read, and to start the same run again."""
        return self.path / "run.toml"

    @property
    def history(self) -> Path:
        """The record as a table, one row per segment."""
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        """The training curves as a table, one row per point."""
        return self.path / "loss_summary.csv"

    @property
    def tests(self) -> Path:
        """Tests that the monitor of vanilla training has made, one row per checkpoint."""
        return self.path / "results.csv"

    @property
    def events(self) -> Path:
        """Folder of TensorBoard events."""
        return self.path / "events"

    @property
    def ablation(self) -> Path:
        """Folder of the models that an ablation of the run has trained."""
        return self.path / "ablation"

    @property
    def report(self) -> Path:
        """The run as one page."""
        return self.path / "report.html"

    @property
    def trackers(self) -> Path:
        """Accounts of the trackers: the intervals that each has logged; no part of the record."""
        return self.path / "trackers.json"

    @property
    def index(self) -> Path:
        """Digests of each member's last and best checkpoint."""
        return self.path / "checkpoints.json"

    @property
    def weights(self) -> Path:
        """Weights of the winner's network."""
        return self.path / "best.safetensors"

    @property
    def soup(self) -> Path:
        """Weights of an average of the last members' networks."""
        return self.path / "soup.safetensors"

    def kept_digests(self) -> frozenset[str]:
        """Return the digests of the states that lie in checkpoints; needs no torch."""
        return frozenset(path.stem for path in (self.path / "checkpoints").glob("*.safetensors"))

    def figure(self, name: str) -> Path:
        """Return the path of a figure."""
        return self.path / f"{name}.png"

    def check_own(self) -> None:
        """Refuse to write to a directory in which a file lies elsewhere.

        Raises:
            RunError: Something in it is a link, or not a regular file; names it.
        """
        check_own(
            self.path,
            folders=("ablation", "checkpoints", "events", "leases", "mlflow", "wandb"),
            files=_FILES,
        )
        if exists(self.events):
            check_own(self.events, folders=os.listdir(self.events))

    @contextmanager
    def reading(self) -> Iterator[Journal]:
        """Open the journal for reading; a run in progress is not disturbed.

        Raises:
            RunError: There is no journal, or it cannot be read.
        """
        with closing(Journal(self.journal, readonly=True)) as journal:
            yield journal

    def holder(self) -> str:
        """Return the number of the process that works on the run; "" = none does."""
        try:
            with open_regular(self.path / "lock") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read(_PROCESS_DIGITS).decode(errors="replace") or "?"
                return ""
        except OSError:
            # Without a lock file no process has ever worked on the run, or it is a copy.
            return ""

    def _open_lock(self) -> TextIO:
        """Open the lock file itself, never the target of a link, which would be emptied."""
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            return os.fdopen(os.open(self.path / "lock", flags, 0o666), "a+")
        except OSError as error:
            raise RunError(f"the lock of {self.path} cannot be opened: {error.strerror}") from None

    @contextmanager
    def locked(self, seconds: float = 0.0) -> Iterator[None]:
        """Hold the lock of the run; it is released however the process ends.

        Args:
            seconds: Seconds to wait while another process holds it.

        Raises:
            RunError: Another process holds the lock, the run lies on a network file system, or a file in
                it lies elsewhere.
        """
        check_local(self.path)
        self.check_own()
        with self._open_lock() as file:
            if not _acquire(file, seconds):
                file.seek(0)
                holder = file.read(_PROCESS_DIGITS) or "?"
                raise RunError(
                    f"process {holder} is at work on {self.path}; wait for it, or stop it"
                )

            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
            file.truncate(0)


def _acquire(file: TextIO, seconds: float) -> bool:
    """Lock a file, and return whether no other process holds its lock.

    A reader that asks whether a process works on the run has the lock for some microseconds.
    """
    end = time.monotonic() + seconds
    for attempt in itertools.count(1):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if attempt >= _ATTEMPTS and time.monotonic() >= end:
                break
            time.sleep(_READER_TIME)
        else:
            return True
    return False


def _is_unstarted(path: Path) -> bool:
    """Return whether a path is a directory with nothing but the files of a run that never started."""
    return path.is_dir() and all(each.name in _UNSTARTED for each in path.iterdir())


def find_run(path: Path, key: str) -> Directory:
    """Return the directory of an existing run.

    Args:
        path: Path that the user gave.
        key: Key or argument that it was given as, for the message.

    Raises:
        UsageError: The path holds no run.
        RunError: That cannot be found out now.
    """
    directory = Directory(path.absolute())
    try:
        found = is_regular(directory.journal)
    except OSError as error:
        raise RunError(f"{directory.journal} cannot be read now: {error.strerror}") from error
    if not found:
        raise UsageError(f"{key}: {str(path)[:200]} holds no run (there is no journal.db in it)")
    return directory


def open_record(path: Path, *, all_decisions: bool = False) -> Record:
    """Read the record of the run in a directory, as far as the run has come.

    Args:
        path: Directory of the run.
        all_decisions: Whether to read the decisions in any case, as in `Journal.record`.

    Raises:
        RunError: There is no run, or its journal is damaged.
    """
    with Directory(path.absolute()).reading() as journal:
        return journal.record(all_decisions=all_decisions)
