"""Files that are there as a whole or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ASIDE = re.compile(r"\.\d+\..+")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it replaces `path` when the block ends without an error.

    Not flushed to the disk: what is written here can be made again from the record.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}.{path.name}")  # the suffix stays, it may tell the format
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """What `replacing` has left in a folder where it was killed. While others write, theirs is among it."""
    return [path for path in sorted(folder.iterdir()) if _ASIDE.fullmatch(path.name)]


def overwrite(path: Path, content: bytes) -> None:
    """Write a file, over what is in it where it is there: its pages are at hand.

    New ones can cost the system ten times as much as the copy.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        file.write(content)
        file.truncate()


def flush(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on the disk before going on."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
