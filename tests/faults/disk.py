"""Disks that are full, that fail, or that nobody may write to."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from popgrad.store import checkpoints


@dataclass(frozen=True)
class Disk:
    """A small file system in memory.

    Attributes:
        path: Where it is mounted.
    """

    path: Path

    def resize(self, kib: int) -> None:
        """Give it another size, while files lie on it."""
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(self.path)], check=True)


@contextmanager
def small_disk(kib: int) -> Iterator[Disk]:
    """A file system of so many KiB. Needs the superuser, where mounting is allowed (see `can_mount`)."""
    with TemporaryDirectory() as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "popgrad-test", folder],
            check=True,
            capture_output=True,
        )
        try:
            yield Disk(Path(folder))
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def can_mount() -> bool:
    """Whether there can be a small disk here."""
    if os.geteuid() != 0:
        return False
    try:
        with small_disk(64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def failing_writes(number: int, code: int = errno.ENOSPC) -> Iterator[None]:
    """From the `number`-th checkpoint on, counted from 1, half of it is written, then the disk is full."""
    original, count = checkpoints.overwrite, 0

    def overwrite(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count < number:
            original(path, content)
            return
        original(path, content[: len(content) // 2])
        raise OSError(code, os.strerror(code), str(path))

    with patch.object(checkpoints, "overwrite", overwrite):
        yield


@contextmanager
def failing_reads(code: int = errno.EIO) -> Iterator[None]:
    """No checkpoint can be read, though it is there."""

    def safe_open(path: Path, **given: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    with patch("popgrad.store.checkpoints.safe_open", safe_open):
        yield
