"""A run's copy in S3, as an emulator on this machine keeps it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import popgrad
from popgrad.core.errors import RunError
from popgrad.store.journal import Journal
from popgrad.store.storage import Storage

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
moto = pytest.importorskip("moto.server", reason="moto, the emulator, is not installed")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:botocore", "ignore::DeprecationWarning:moto"
)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # one may have been made for another server
    s3fs.S3FileSystem().makedirs("runs", exist_ok=True)
    yield "s3://runs"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def record(directory: Path) -> list[str]:
    journal = Journal(directory / "journal.db", readonly=True)
    found = [*map(repr, journal.segments()), *map(repr, journal.decisions())]
    journal.close()
    return found


class LostError(Exception):
    """The machine is gone."""


def test_a_run_goes_on_from_a_bucket(bucket: str, tmp_path: Path) -> None:
    def lost(end: popgrad.IntervalEnd) -> None:
        if end.interval == 1:
            raise LostError

    whole = {"population": 3, "intervals": 4, "interval": 5, "executor": "serial"}
    popgrad.run("digits", directory=tmp_path / "plain", **whole)
    with pytest.raises(LostError):
        popgrad.run(
            "digits", directory=tmp_path / "run", storage=f"{bucket}/1", on_interval=lost, **whole
        )
    shutil.rmtree(tmp_path / "run")
    directory = popgrad.fetch(f"{bucket}/1", tmp_path / "back")
    popgrad.resume(directory)
    assert record(directory) == record(tmp_path / "plain")
    names = {name for name in Storage(f"{bucket}/1").sizes() if name.startswith("checkpoints/")}
    assert names == {f"checkpoints/{path.name}" for path in (directory / "checkpoints").iterdir()}


def test_a_bucket_that_is_not_there_is_said_before_anything_is_written(
    bucket: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"^the storage s3://nobodys/1 cannot be read or written"):
        popgrad.run(
            "digits",
            population=2,
            intervals=1,
            directory=tmp_path / "run",
            storage="s3://nobodys/1",
        )
    assert not (tmp_path / "run").exists()
