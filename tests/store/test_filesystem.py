"""A journal is refused on a network file system, and nowhere else."""

from pathlib import Path

import pytest

from popgrad import RunError
from popgrad.store import filesystem
from popgrad.store.directory import Directory

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
40 22 0:35 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2
41 40 8:1 / /home/me/local\040disk rw - xfs /dev/sda1 rw
42 22 0:40 /x /mnt/covered rw master:3 propagate_from:2 - cifs //server/x rw
43 22 0:41 / /mnt/covered rw - tmpfs tmpfs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/run", "ext4"),
        ("/homes/run", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/runs/a", "nfs4"),
        ("/home/me/local disk/runs", "xfs"),
        ("/mnt/covered/run", "tmpfs"),
    ],
)
def test_the_deepest_and_last_mount_is_where_a_path_lies(path: str, kind: str) -> None:
    assert filesystem.kind(Path(path), MOUNTS) == kind


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert filesystem.kind(Path("/x"), "") == ""


def test_a_network_file_system_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem.check_local(tmp_path)
    listed = tmp_path / "mountinfo"
    listed.write_text(f"1 0 0:1 / {tmp_path / 'far'} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", listed)
    with pytest.raises(RunError, match=r"network file system \(nfs4\).*on a local disk, and copy"):
        filesystem.check_local(tmp_path / "far" / "run")
    with pytest.raises(RunError, match="network file system"):
        Directory.create(tmp_path / "far" / "run")
    assert not (tmp_path / "far").exists()
    (tmp_path / "far").mkdir()
    with pytest.raises(RunError, match="network file system"), Directory(tmp_path / "far").locked():
        pass
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "no such file")
    filesystem.check_local(tmp_path / "far")
