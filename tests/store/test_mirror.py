"""A run's copy in storage: whole at any time, and enough to go on from on another machine."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.core.errors import RunError, UsageError
from popgrad.core.plan import Plan
from popgrad.core.space import Space
from popgrad.store.directory import open_record
from popgrad.store.journal import Journal
from popgrad.store.storage import Storage
from popgrad.strategies import Memory, Strategy, random_search
from popgrad.tasks import Quadratic
from program import popgrad as program

INTERVALS = 4


def run(directory: Path, storage: object = None, **more: Any) -> popgrad.Result:
    return popgrad.run(
        "digits",
        population=4,
        intervals=INTERVALS,
        interval=5,
        executor="serial",
        directory=directory,
        storage=None if storage is None else str(storage),
        **more,
    )


def record(directory: Path) -> list[str]:
    journal = Journal(directory / "journal.db", readonly=True)
    found = [*map(repr, journal.segments()), *map(repr, journal.decisions())]
    journal.close()
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("plain") / "run"
    run(directory)
    return record(directory)


class LostError(Exception):
    """The machine is gone."""


def lose(after: int) -> Callable[[popgrad.IntervalEnd], None]:
    def lost(end: popgrad.IntervalEnd) -> None:
        if end.interval == after:
            raise LostError

    return lost


@pytest.mark.parametrize("after", range(INTERVALS))
@pytest.mark.parametrize("every", [1, 3])
def test_a_run_goes_on_from_storage_as_if_nothing_had_been_lost(
    after: int, every: int, tmp_path: Path, expected: list[str]
) -> None:
    storage = f"file://{tmp_path}/storage"
    with pytest.raises(LostError):
        run(tmp_path / "run", storage, on_interval=lose(after), checkpoint_every=every)
    before = record(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    directory = popgrad.fetch(storage, tmp_path / "elsewhere")
    assert record(directory) == before  # the interval that had ended is not lost
    popgrad.resume(directory)
    assert record(directory) == expected
    assert record(popgrad.fetch(storage, tmp_path / "again")) == expected  # the copy is kept up too


def keeping(space: Space) -> Strategy:
    """A strategy that never copies, and archives the first state of member 0."""
    strategy = random_search(space)

    def step(*given: Any) -> tuple[Plan, Memory]:
        plan, memory = strategy.step(*given)
        return replace(plan, keep=((0, 0),)), memory

    return strategy._replace(step=step)


def test_the_copy_has_the_states_that_a_strategy_has_archived(tmp_path: Path) -> None:
    with pytest.raises(LostError):
        popgrad.run(
            "quadratic", strategy=keeping(Quadratic().space), population=2, intervals=5, interval=5,
            executor="serial", directory=tmp_path / "run", storage=str(tmp_path / "storage"),
            on_interval=lose(3), progress=False,
        )  # fmt: skip
    archived = open_record(tmp_path / "run", all_decisions=True).by_id[0, 0]
    assert (tmp_path / "storage" / "checkpoints" / f"{archived.digest}.safetensors").exists()


def test_the_copy_has_the_checkpoints_that_the_run_has_and_no_others(tmp_path: Path) -> None:
    run(tmp_path / "run", tmp_path / "storage")
    names = [
        sorted(path.name for path in (tmp_path / each / "checkpoints").iterdir())
        for each in ("run", "storage")
    ]
    assert names[0] == names[1]
    assert popgrad.load(popgrad.fetch(str(tmp_path / "storage"), tmp_path / "back")).test()


def test_a_checkpoint_that_is_there_in_part_is_sent_again(tmp_path: Path) -> None:
    run(tmp_path / "run", tmp_path / "storage")
    sent = sorted((tmp_path / "storage" / "checkpoints").iterdir())
    content = sent[0].read_bytes()
    sent[0].write_bytes(content[:100])
    popgrad.resume(tmp_path / "run", intervals=INTERVALS)
    assert sent[0].read_bytes() == content


def test_storage_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path / "run", tmp_path / "storage")
    with pytest.raises(UsageError, match=r"^storage: .* holds a run already: .*--from-storage"):
        run(tmp_path / "other", tmp_path / "storage")
    assert not (tmp_path / "other").exists()
    assert (
        len(record(popgrad.fetch(str(tmp_path / "storage"), tmp_path / "back")))
        == 4 * INTERVALS + 3
    )


def test_storage_that_cannot_be_written_to_is_found_before_anybody_trains(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^storage: expected a folder, got"):
        run(tmp_path / "run", tmp_path / "file" / "inside")
    assert not (tmp_path / "run").exists()


def test_storage_that_fails_on_the_way_is_tried_again_and_does_not_stop_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    expected: list[str],
) -> None:
    replace, calls = Storage.replace, []

    def failing(self: Storage, content: bytes, name: str) -> None:
        calls.append(name)
        if len(calls) in (3, 4):  # the first is a trial, the second when the run begins
            raise RunError("the network is away")
        replace(self, content, name)

    monkeypatch.setattr(Storage, "replace", failing)
    with caplog.at_level(logging.WARNING, "popgrad"):
        run(tmp_path / "run", tmp_path / "storage")
    assert caplog.messages == ["the network is away; retrying after the next interval"] * 2
    assert record(popgrad.fetch(str(tmp_path / "storage"), tmp_path / "back")) == expected


def test_a_run_in_memory_has_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^storage: the run is kept in memory only; choose a directory"
    ):
        popgrad.run("digits", population=2, intervals=1, storage=str(tmp_path))


def test_where_no_run_is_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^storage: .* holds no run"):
        popgrad.fetch(f"file://{tmp_path}/nothing", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    run(tmp_path / "run", tmp_path / "storage")
    with pytest.raises(UsageError, match="holds a run"):
        popgrad.fetch(str(tmp_path / "storage"), tmp_path / "run")


def test_the_command_line_keeps_a_copy_and_goes_on_from_it(
    tmp_path: Path, expected: list[str]
) -> None:
    storage, directory = f"file://{tmp_path}/storage", tmp_path / "run"
    small = ("--population", "4", "--interval", "5", "--executor", "serial", "--no-test", "--plain")
    done = program(
        "run", "digits", *small, "--intervals", "2", "--dir", str(directory), "--storage", storage
    )
    assert done.code == 0, done.err
    shutil.rmtree(directory)
    back = str(tmp_path / "back")
    done = program(
        "resume", back, "--from-storage", storage, "--intervals", "4", "--no-test", "--plain"
    )
    assert done.code == 0, done.err
    assert record(Path(back)) == expected
    assert record(popgrad.fetch(storage, tmp_path / "again")) == expected
