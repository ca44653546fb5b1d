"""What is recorded with `durability="power"` is there after the power has failed, at any moment.

A run is recorded down to what reaches its files, then found again as a failure may have left it, at one
moment after another: whatever was not flushed is kept, lost or torn.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest

import popgrad
from faults.forgetful import Event, image, recording, sqlite_library
from popgrad import RunError, Segment
from popgrad.core.errors import PopgradError
from popgrad.core.plan import Decision
from popgrad.engine.callbacks import IntervalEnd
from popgrad.store.checkpoints import Checkpoints
from spies import Spy, read, record

pytestmark = pytest.mark.skipif(
    sqlite_library() is None, reason="what SQLite writes is seen only where Linux maps its library"
)

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 4,
    "interval": 2,
    "executor": "serial",
    "fraction": 0.4,
    "outputs": False,
}
RUN = Path("runs") / "run"  # below the folder that is watched; both are made by the run


@dataclass(frozen=True)
class Past:
    """What a run did.

    Attributes:
        events: In order, all that reached its files.
        kept: How many of these had happened when each segment and decision had been recorded.
    """

    events: list[Event]
    kept: list[tuple[int, Segment | Decision]]

    @property
    def first(self) -> int:
        """When the first of them had been recorded."""
        return self.kept[0][0]


def past(top: Path, durability: str) -> Past:
    """A run of two intervals that is gone on with for another two; it writes over files, however small."""
    kept: list[tuple[int, Segment | Decision]] = []
    with patch("popgrad.store.spares._MIN_SIZE", 0), recording(top) as recorder:

        def segment(one: Segment) -> None:
            kept.append((len(recorder.events), one))

        def interval(end: IntervalEnd) -> None:
            if end.decision is not None:
                kept.append((len(recorder.events), end.decision))

        told: dict[str, Any] = {"on_segment": segment, "on_interval": interval}
        given = {**GIVEN, "intervals": 2, "durability": durability}
        popgrad.run(Spy(), directory=top / RUN, **given, **told)
        popgrad.resume(top / RUN, task=Spy(), intervals=4, **told)
    return Past(recorder.events, kept)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The record of a run that nothing happens to."""
    directory = tmp_path_factory.mktemp("whole")
    popgrad.run(Spy(), directory=directory, **GIVEN)
    return record(directory)


@pytest.fixture(scope="module")
def flushed(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past(tmp_path_factory.mktemp("power").resolve(), "power")


@pytest.fixture(scope="module")
def unflushed(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past(tmp_path_factory.mktemp("process").resolve(), "process")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: the power does not fail again there, so that no flush need wait for a disk."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def moments(run: Past, others: int) -> list[int]:
    """Just before, at and after each commit, and others; as numbers of events."""
    end = len(run.events)
    commits = {min(at + more, end) for at, _ in run.kept for more in (-1, 0, 1)}
    return sorted(commits | set(random.Random(0).sample(range(run.first, end + 1), others)))


def left(run: Past, moment: int, seed: int | None, target: Path) -> Path:
    """The directory of the run as it may be found after a failure; whether of power, `image` says."""
    image(run.events[:moment], None if seed is None else (moment, seed), target / f"{moment}")
    return target / f"{moment}" / RUN


def lost(run: Past, moment: int, directory: Path) -> list[Segment | Decision]:
    """What had been recorded by then, but is not in the directory, or is another."""
    try:
        segments, decisions = read(directory)
    except RunError:
        segments, decisions = [], []
    found = {repr(one) for one in (*segments, *decisions)}
    return [one for at, one in run.kept if at <= moment and repr(one) not in found]


def go_on(directory: Path, durability: str) -> None:
    """What one does who finds it: go on with the run, or start it where there is none."""
    if (directory / "journal.db").exists():
        popgrad.resume(directory, task=Spy(), intervals=4)
    else:
        popgrad.run(Spy(), directory=directory, durability=durability, **GIVEN)


@pytest.mark.parametrize(("seed", "others"), [(0, 60), (1, 0)])
def test_no_failure_of_power_loses_what_is_recorded(
    seed: int, others: int, flushed: Past, whole: tuple[str, str], memory: Path
) -> None:
    for moment in moments(flushed, others):
        directory = left(flushed, moment, seed, memory)
        assert lost(flushed, moment, directory) == [], (
            f"after {moment} of {len(flushed.events)} events"
        )
        go_on(directory, "power")
        assert record(directory) == whole, f"after {moment} of {len(flushed.events)} events"
        for path in (directory / "checkpoints").iterdir():
            Checkpoints(path.parent).load(path.stem)  # compared with the digest that is its name


@pytest.mark.parametrize("seed", [0, None])
def test_before_anything_is_recorded_the_run_can_be_started(
    seed: int | None, flushed: Past, whole: tuple[str, str], memory: Path
) -> None:
    for moment in range(flushed.first):
        directory = left(flushed, moment, seed, memory)
        go_on(directory, "power")
        assert record(directory) == whole, f"after {moment} of {len(flushed.events)} events"


def test_without_flushing_a_failure_of_power_loses_some_and_makes_nothing_wrong(
    unflushed: Past, whole: tuple[str, str], memory: Path
) -> None:
    """That the layer forgets; and that what it leaves gives the same record, or is refused."""
    missing, refused = 0, 0
    for moment in moments(unflushed, 20):
        directory = left(unflushed, moment, 0, memory)
        missing += len(lost(unflushed, moment, directory))
        try:
            go_on(directory, "process")
        except PopgradError:
            refused += 1
        else:
            assert record(directory) == whole, f"after {moment} of {len(unflushed.events)} events"
    assert missing > 0
    assert refused < len(moments(unflushed, 20)) / 2


def test_no_kill_loses_what_is_recorded(
    unflushed: Past, whole: tuple[str, str], memory: Path
) -> None:
    """Not flushed is enough where the machine stays up: after any event, between any two of them."""
    for moment in moments(unflushed, 20):
        directory = left(unflushed, moment, None, memory)
        assert lost(unflushed, moment, directory) == [], (
            f"after {moment} of {len(unflushed.events)} events"
        )
        go_on(directory, "process")
        assert record(directory) == whole, f"after {moment} of {len(unflushed.events)} events"


def test_the_layer_sees_all_that_is_written(tmp_path: Path) -> None:
    """What it would build where nothing is forgotten is what is there."""
    (tmp_path / "disk").mkdir()
    with recording((tmp_path / "disk").resolve()) as recorder:
        popgrad.run(Spy(), directory=tmp_path / "disk" / "run", **{**GIVEN, "outputs": True})
    image(recorder.events, None, tmp_path / "image")
    files = [
        {path.relative_to(top): path.is_file() and path.read_bytes() for path in top.rglob("*")}
        for top in (tmp_path / "disk", tmp_path / "image")
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 10


@pytest.mark.parametrize("there", [False, True], ids=["new", "there already, unflushed"])
def test_a_checkpoint_that_was_written_durably_stays(there: bool, tmp_path: Path) -> None:
    """One that is there already may be from a process that was killed, or that was not asked to flush."""
    state = {"x": 1.0}
    (tmp_path / "disk").mkdir()
    folder = (tmp_path / "disk").resolve() / "checkpoints"
    with recording(folder.parent) as recorder:
        if there:
            Checkpoints(folder).save(state)
        digest = Checkpoints(folder, durable=True).save(state)
    for seed in range(20):
        image(recorder.events, seed, tmp_path / str(seed))
        assert Checkpoints(tmp_path / str(seed) / "checkpoints").load(digest) == state
