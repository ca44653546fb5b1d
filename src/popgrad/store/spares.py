"""Spare files: dropped checkpoints that later ones overwrite.

Without them runs are slower, not different.

Pages of a new file can cost the system ten times as much as copying into pages that exist
(docs/decisions/0013-files-of-states-are-written-over.md).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".part"

_MAX_SPARES = 64
_MIN_SIZE = 2**16
"""Minimum file size in bytes worth overwriting instead of recreating."""


def _is_reusable(status: os.stat_result) -> bool:
    """Return whether a file can be written over: its content is large, and lies nowhere else too."""
    is_single = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    return is_single and status.st_size >= _MIN_SIZE


@dataclass(frozen=True)
class SpareFiles:
    """Spare files of a folder. After a kill they are among the leftovers of the run.

    Attributes:
        folder: Folder of the files.
    """

    folder: Path

    def _paths(self) -> Iterator[Path]:
        return (self.folder / f".{number:02x}{SUFFIX}" for number in range(_MAX_SPARES))

    def take(self, path: Path, size: int) -> None:
        """Move a spare file to a path, if the new content is large enough to be worth it.

        Args:
            path: Path of the file that is about to be written.
            size: Size of its content in bytes.
        """
        if size < _MIN_SIZE:
            return
        for spare in self._paths():
            # It does not exist, or another process took it first.
            with suppress(OSError):
                if _is_reusable(spare.lstat()):
                    os.rename(spare, path)
                    return

    def drop(self, paths: list[Path]) -> None:
        """Delete files, or keep them as spare files; a file with a second name elsewhere is deleted."""
        free = (spare for spare in self._paths() if not spare.exists())
        for path in paths:
            with suppress(FileNotFoundError):
                spare = next(free, None) if _is_reusable(path.lstat()) else None

                if spare is None:
                    path.unlink()
                else:
                    path.rename(spare)
