"""Only regular files are opened, and a run's directory holds nothing that lies elsewhere."""

import errno
import os
import socket
from pathlib import Path

import pytest

from popgrad.core.errors import RunError
from popgrad.gates.files import (
    check_own,
    exists,
    file_digest,
    is_regular,
    open_regular,
    read_bytes,
)


def test_a_regular_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_bytes(path, 3) == b"abc"
    assert file_digest(path, 3).startswith("ba7816bf")
    with pytest.raises(OSError, match="larger than"):
        read_bytes(path, 2)
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(tmp_path / "link", 3) == b"abc"
    with pytest.raises(OSError, match="symbolic link"):
        open_regular(tmp_path / "link", links=False)


def test_anything_else_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(tmp_path)  # the name of a socket may not be long
        listening.bind("socket")
        os.chdir(before)
        for name in ("pipe", "folder", "zero", "socket", "absent", "a\0b", "x" * 5_000):
            with pytest.raises(OSError):  # noqa: PT011  # any of them
                open_regular(tmp_path / name)
            assert name in ("absent", "a\0b", "x" * 5_000) or not is_regular(tmp_path / name)


def test_what_cannot_be_found_out_is_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exists(tmp_path)
    assert not any(map(exists, (tmp_path / "absent", tmp_path / ("x" * 5_000), "a\0b")))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(PermissionError):
        exists(tmp_path / "absent")


@pytest.mark.parametrize("what", ["a symbolic link", "a hard link", "pipe", "no folder"])
def test_a_directory_with_what_lies_elsewhere_is_refused(what: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "notes").symlink_to(mine)  # popgrad never writes to it
    check_own(run, folders=["checkpoints"], files=[".toml"])

    match what:
        case "a symbolic link":
            (run / "run.toml").symlink_to(mine)
        case "a hard link":
            (run / "run.toml").hardlink_to(mine)
        case "pipe":
            os.mkfifo(run / "run.toml")
        case "no folder":
            (run / "checkpoints").rmdir()
            (run / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(RunError, match=r"^\S+(run\.toml|checkpoints) is [^\n]+$"):
        check_own(run, folders=["checkpoints"], files=[".toml"])


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    check_own(tmp_path / "absent")
