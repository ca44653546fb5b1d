"""Storage by its URL: files go there and come back, and what is wrong is said in one line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from popgrad.core.errors import RunError, UsageError
from popgrad.store.storage import Storage


@pytest.fixture(params=["file", "memory", "path"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Each kind; one that does not lie on a disk is emptied afterwards."""
    urls = {
        "file": f"file://{tmp_path}/there",
        "path": f"{tmp_path}/there",
        "memory": "memory://there/run",
    }
    found = Storage(urls[request.param])
    yield found
    found.delete([*found.sizes()])


def test_files_go_there_and_come_back(storage: Storage, tmp_path: Path) -> None:
    assert storage.sizes() == {}
    (tmp_path / "a").write_bytes(b"12345")
    storage.send(tmp_path / "a", "folder/b")
    storage.replace(b"123", "c")
    assert storage.sizes() == {"folder/b": 5, "c": 3}
    storage.fetch("folder/b", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"12345"
    storage.replace(b"4567", "c")
    storage.fetch("c", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"4567"
    storage.delete(["folder/b"])
    storage.delete([])
    assert storage.sizes() == {"c": 4}


def test_what_was_left_in_the_middle_of_writing_is_no_file(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    storage.send(tmp_path / "a", "c.part")
    assert storage.sizes() == {}
    storage.replace(b"1", "c")
    assert storage.sizes() == {"c": 1}


def test_what_cannot_be_read_is_a_run_error(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"^the storage .* cannot be read or written: FileNotFoundError"
    ):
        storage.fetch("nothing", tmp_path / "back")


def test_an_unknown_kind_of_storage_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"^storage: expected a URL such as s3://bucket/folder .*, got 'nosuch://x'",
    ):
        Storage("nosuch://x")
