"""The directory of a run: where the journal, the checkpoints and what can be made from them lie."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from popgrad.core.errors import RunError, UsageError
from popgrad.store.aside import flush
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.mounts import check_local

_BEGUN = {"lock", ".journal.db.part", ".journal.db.part-journal"}
"""What a run leaves that is killed before it has a journal."""


@dataclass(frozen=True)
class Directory:
    """Names within a run's directory.

    Attributes:
        path: The directory.
        durable: Whether checkpoints are flushed to the disk.
    """

    path: Path
    durable: bool = False

    @classmethod
    def create(cls, path: Path, *, durable: bool = False) -> "Directory":
        """Make a new one, also where a run was killed before it had a journal.

        Raises:
            UsageError: There is something at `path` already; nothing of it is touched.
            RunError: It lies on a network file system.
        """
        if os.path.exists(path) and (
            not path.is_dir() or any(each.name not in _BEGUN for each in path.iterdir())
        ):
            what = (
                "holds a run: go on with it by `popgrad resume`, or"
                if (path / "journal.db").exists()
                else "exists:"
            )
            raise UsageError(f"the directory {path} {what} name another one with --dir")
        check_local(path.absolute())
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the directory {path} cannot be made: {error.strerror}") from None
        if durable:
            for parent in path.absolute().parents:  # where the names of the folders are that have been made
                with suppress(PermissionError):  # what one may not even read, one has not made
                    flush(parent)
        return cls(path.absolute(), durable)  # a task may change the working directory

    @property
    def journal(self) -> Path:
        """The only truth."""
        return self.path / "journal.db"

    @property
    def checkpoints(self) -> Checkpoints:
        """States by digest."""
        return Checkpoints(self.path / "checkpoints", self.durable)

    @property
    def configuration(self) -> Path:
        """The resolved configuration, for people, and to run again."""
        return self.path / "run.toml"

    @property
    def history(self) -> Path:
        """One row per segment."""
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        """One row per point of the training curves."""
        return self.path / "loss_summary.csv"

    @property
    def events(self) -> Path:
        """For TensorBoard."""
        return self.path / "events"

    @property
    def index(self) -> Path:
        """Which checkpoint is each member's last, and which its best."""
        return self.path / "checkpoints.json"

    @property
    def weights(self) -> Path:
        """The winner's network."""
        return self.path / "best.safetensors"

    def figure(self, name: str) -> Path:
        """A picture."""
        return self.path / f"{name}.png"

    def holder(self) -> str:
        """The number of the process that works on the run; "" where none does."""
        try:
            with open(self.path / "lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return ""
        except BlockingIOError:
            return (self.path / "lock").read_text() or "?"
        except OSError:  # there is no lock: nobody has ever worked on it, or it is a copy
            return ""

    def _open_lock(self) -> TextIO:
        """The lock's file; not what a link leads to, which would be emptied."""
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            return os.fdopen(os.open(self.path / "lock", flags, 0o666), "a+")
        except OSError as error:
            raise RunError(f"the lock of {self.path} cannot be opened: {error.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held by the one process that works on the run; given back however the process ends.

        Raises:
            RunError: Another process holds it, or it lies on a network file system.
        """
        check_local(self.path)
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise RunError(
                    f"process {file.read() or '?'} is at work on {self.path}; wait for it, or stop it"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
            file.truncate(0)
