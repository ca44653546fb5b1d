"""Limits of the system that worker processes meet: open files, processes, memory."""

import errno
import os
import resource

from popgrad.core.errors import RunError, UsageError

_FILES_PER_MEMBER = 2
"""Files that a member takes: its last state, and the one that it trains."""

_FILES_PER_WORKER = 4
"""Files that a worker takes: socket, lifeline, output, and the memory for its next state."""

_SPARE_FILES = 16
"""Files for the journal, checkpoints and figures, and for the parts of a start."""

_FULL = {errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT}


def check_file_limit(members: int, workers: int) -> None:
    """Refuse a population that needs more open files than the system permits.

    Args:
        members: Size of the population.
        workers: Number of worker processes.

    Raises:
        UsageError: The hard limit is too low.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return
    needed = (
        members * _FILES_PER_MEMBER + workers * _FILES_PER_WORKER + _SPARE_FILES + _open_files()
    )
    if needed > hard:
        raise UsageError(
            f"population: {members} members in worker processes need {needed} open files, "
            f"{_FILES_PER_MEMBER} for each member, and this process may open {hard}; raise the hard "
            f"limit (`ulimit -Hn {needed}`), train fewer members, or use --executor serial"
        )


def _open_files() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def set_file_limit(soft: int) -> int | None:
    """Set the limit of open files; return the one before, or None if nothing has changed."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if soft == resource.RLIM_INFINITY else soft
    if before == wanted:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # macOS refuses "unlimited".
        return None
    return before


def limit_error(error: Exception, purpose: str) -> RunError:
    """Return an error that names the limit that was met, and what to do.

    Args:
        error: Error of the system.
        purpose: What the resource was for, such as "the state of member 3, 4096 bytes".
    """
    number = getattr(error, "errno", None)
    cure = "train a smaller population, or use the executor serial"
    if number in (errno.EMFILE, errno.ENFILE):
        cure = (
            "each member takes two open files: raise the limit (`ulimit -n`), train fewer members, or "
            "use the executor serial"
        )
    elif number in _FULL:
        cure = "train a smaller population or model"
    elif number == errno.EAGAIN or isinstance(error, RuntimeError):
        cure = (
            "the number of processes and threads is limited (`ulimit -u`, or the container's limit of "
            "pids): raise the limit, use fewer workers, or the executor serial"
        )
    kind = "memory" if number in _FULL else "room"
    return RunError(f"no {kind} for {purpose} ({error}); {cure}")
