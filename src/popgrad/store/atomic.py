"""Files that are written as a whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ASIDE = re.compile(r"\.([0-9]+)\..+")
"""Name of a temporary file: a dot, the number of the process that writes it, and the name of the file."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces `path` if the block ends without an error.

    The file is not flushed to the disk: everything written here can be rebuilt from the record.

    Raises:
        OSError: The file cannot be written; a path without a name is a directory.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))

    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, since it may name the format.
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    # A link that waits there under this name is removed, not followed.
    aside.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """Return temporary files in a folder whose process was killed before it had replaced anything."""
    found = []
    for path in sorted(folder.iterdir()):
        match = _ASIDE.fullmatch(path.name)
        if match and not _is_running(int(match[1])):
            found.append(path)
    return found


def _is_running(process: int) -> bool:
    """Return whether another process of that number exists, which may be about to replace its file."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def overwrite(path: Path, content: bytes) -> None:
    """Write a file in place, over its old content if it exists.

    Its pages are in memory then; new pages can cost the system ten times as much as the copy.

    Raises:
        OSError: The file cannot be written, or the path is a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(content)
        file.truncate()


def flush(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
