"""Gate for paths: only regular files are read, and only files of the run itself are written."""

import errno
import hashlib
import os
import stat
from collections.abc import Collection
from io import BufferedReader
from pathlib import Path

from popgrad.core.errors import RunError

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Errors that mean that nothing exists at a path; any other only means that it cannot be read now."""


def open_regular(path: Path | str, *, links: bool = True) -> BufferedReader:
    """Open a regular file for reading; a pipe or a device is not even waited for.

    Args:
        path: Path of the file.
        links: Whether the path may be a symbolic link.

    Raises:
        OSError: The file cannot be opened, or it is a folder, a pipe, a socket or a device.

    Example:
        >>> open_regular("/dev/zero")
        Traceback (most recent call last):
            ...
        OSError: [Errno 22] it is not a regular file: '/dev/zero'
    """
    # NONBLOCK: the opening of a pipe would wait for its writer. NOCTTY: a terminal stays what it is.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    if not links:
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except ValueError:
        raise OSError(errno.EINVAL, "its name contains a NUL character", str(path)) from None
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, or a device without a driver
            raise _not_regular(path) from None
        raise

    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise _not_regular(path)
    return os.fdopen(descriptor, "rb")


def _not_regular(path: Path | str) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_bytes(path: Path | str, most: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: Path of the file.
        most: Largest size in bytes.

    Raises:
        OSError: The file cannot be read, is not a regular file, or is larger.
    """
    with open_regular(path) as file:
        # The size is not asked for: files of some file systems state 0.
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB", str(path))
    return content


def file_digest(path: Path | str, most: int) -> str:
    """Return the SHA-256 (hex) of a regular file; arguments and errors are those of `read_bytes`."""
    return hashlib.sha256(read_bytes(path, most)).hexdigest()


def exists(path: Path | str) -> bool:
    """Return whether something exists at a path.

    Raises:
        OSError: That cannot be found out now, for example for lack of a permission.
    """
    try:
        os.stat(path)
    except ValueError:  # a NUL character in the name
        return False
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


def is_regular(path: Path | str) -> bool:
    """Return whether a regular file exists at a path.

    Raises:
        OSError: That cannot be found out now, for example for lack of a permission.
    """
    return exists(path) and stat.S_ISREG(os.stat(path).st_mode)


def check_own(
    directory: Path, *, folders: Collection[str] = (), files: Collection[str] = ()
) -> None:
    """Refuse a directory of a run in which a file lies elsewhere, before anything is written to it.

    A symbolic link, or a file with a second name elsewhere, would have popgrad overwrite or delete
    what belongs to something else.

    Args:
        directory: Directory of the run; nothing is wrong if it does not exist yet.
        folders: Names of the folders that popgrad writes to; each may only be a folder.
        files: Ends of the names of files that popgrad writes; each may only be a regular file.

    Raises:
        RunError: Names the entry and what it is.
    """
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{directory} cannot be read: {error.strerror}") from error

    for entry in entries:
        is_folder = entry.name in folders
        if not is_folder and not entry.name.endswith(tuple(files)):
            continue
        try:
            mode = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # a temporary file that has just been renamed
            continue
        except OSError as error:
            raise RunError(f"{entry.path} cannot be read: {error.strerror}") from error
        found = _foreign(mode, is_folder=is_folder)
        if found:
            raise RunError(
                f"{entry.path} is {found}, so that writing could change what belongs to something "
                "else: put a copy in its place, or move it away"
            )


def _foreign(status: os.stat_result, *, is_folder: bool) -> str:
    """Return what makes an entry of a run's directory unfit to be written to; "" = nothing."""
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if is_folder:
        return "" if stat.S_ISDIR(status.st_mode) else "not a folder"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return "a file with a second name (a hard link)" if status.st_nlink > 1 else ""
