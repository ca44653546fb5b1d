"""What nothing needs is deleted, and nothing else: a run goes on as if nothing were gone."""

from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import RunError, Segment
from popgrad.store.directory import Directory
from popgrad.store.retention import collect
from spies import odd, record

GIVEN: dict[str, Any] = {
    "population": 4,
    "intervals": 5,
    "interval": 2,
    "executor": "serial",
    "fraction": 0.25,
    "outputs": False,
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was interrupted, with what its killed writers have left."""
    count = 0

    def stop(_: Segment) -> None:
        nonlocal count
        count += 1
        if count == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(odd(), directory=tmp_path / "run", on_segment=stop, **GIVEN)
    checkpoints = Directory(tmp_path / "run").checkpoints
    checkpoints.save({"of": "nobody"})
    (checkpoints.folder / ".0123.part").write_bytes(b"half")
    (checkpoints.folder / "notes.txt").write_text("the user's own")
    return tmp_path / "run"


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").iterdir()}


def test_what_nothing_needs_goes_and_the_run_goes_on_without_it(run: Path, tmp_path: Path) -> None:
    before = names(run)
    looked = collect(run, dry_run=True)
    assert names(run) == before
    found = collect(run)
    assert found == looked
    assert names(run) == before - {path.name for path in found.files}
    assert {".0123.part"} < before - names(run)
    assert "notes.txt" in names(run)
    assert found.size == looked.size > 4
    assert found.kept == len(names(run)) - 1
    assert found.kept_size == sum(
        path.stat().st_size for path in (run / "checkpoints").glob("*.safe*")
    )
    assert collect(run).files == ()
    popgrad.run(odd(), directory=tmp_path / "whole", **GIVEN)
    trained: list[tuple[int, int]] = []
    popgrad.resume(run, task=odd(), on_segment=lambda segment: trained.append(segment.id))
    assert len(trained) == 20 - 14  # nothing had to be trained again
    assert record(run) == record(tmp_path / "whole")


def test_the_winners_checkpoint_alone_is_enough(run: Path, tmp_path: Path) -> None:
    popgrad.resume(run, task=odd())
    winner = popgrad.load(run, task=odd()).winner.segment
    found = collect(run, only_winner=True)
    assert found.kept == 1
    assert names(run) == {f"{winner.digest}.safetensors", "notes.txt"}
    assert popgrad.load(run, task=odd()).winner.segment == winner
    popgrad.resume(run, task=odd(), intervals=6)
    popgrad.run(odd(), directory=tmp_path / "whole", **{**GIVEN, "intervals": 6})
    assert record(run) == record(tmp_path / "whole")


def test_a_run_in_progress_is_left_alone(run: Path) -> None:
    with Directory(run).locked(), pytest.raises(RunError, match="is at work on"):
        collect(run)


def test_where_there_is_no_run_nothing_is_touched(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this is not the directory of a run"):
        collect(tmp_path)
    assert list(tmp_path.iterdir()) == []
