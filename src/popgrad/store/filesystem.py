"""Kinds of file systems; a journal needs a local one."""

import re
from pathlib import Path

from popgrad.core.errors import RunError

NETWORK = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre"),
        *("glusterfs", "gpfs", "beegfs", "orangefs", "pvfs2", "coda", "davfs", "fuse.sshfs"),
        *("fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph", "fuse.rclone"),
        *("fuse.juicefs", "fuse.davfs2"),
    )
)
"""Kinds on which SQLite's write-ahead log is unsafe: all processes that use one must share memory, and
therefore a machine (https://sqlite.org/wal.html)."""

_MOUNTS = Path("/proc/self/mountinfo")


def kind(path: Path, mounts: str) -> str:
    """Return the kind of file system that a path lies on; "" = unknown.

    Args:
        path: Absolute path; it need not exist.
        mounts: Mounts of the system, in the format of Linux's mountinfo.
    """
    found = ""
    depth = -1
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue

        # Characters such as spaces are written in octal.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # A later mount hides earlier ones.
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found = after.split(" ")[0]
            depth = len(point.parts)
    return found


def check_local(path: Path) -> None:
    """Refuse a network file system. If the system does not list its mounts, nothing is refused.

    Raises:
        RunError: The path lies on a network file system.
    """
    try:
        mounts = _MOUNTS.read_text(errors="replace")
    except OSError:
        return

    found = kind(path.resolve(), mounts)
    if found in NETWORK:
        raise RunError(
            f"{path} lies on a network file system ({found}), where the journal of a run can be "
            "damaged: keep the run on a local disk, and copy the directory when the run has ended"
        )
