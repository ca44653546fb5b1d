"""What a run has given can be asked for, from memory or from its directory, finished or not."""

import csv
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import popgrad
from popgrad import AllMembersFailedError, UsageError
from popgrad.record.lineage import last_segments
from popgrad.store.journal import Journal
from spies import SPACE, Plain, Spy, odd, read, record

GIVEN: dict[str, Any] = {
    "population": 4,
    "intervals": 3,
    "interval": 5,
    "executor": "serial",
    "fraction": 0.5,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> popgrad.Result:
    return popgrad.run(odd(), directory=tmp_path_factory.mktemp("odd"), device="cpu", **GIVEN)


@pytest.fixture(scope="module")
def directory(ran: popgrad.Result) -> Path:
    assert ran.directory is not None
    return ran.directory


def readings(directory: Path) -> list[dict[str, Any]]:
    journal = Journal(directory / "journal.db", readonly=True)
    try:
        return journal.readings()
    finally:
        journal.close()


def test_what_is_loaded_is_what_was_run(ran: popgrad.Result, directory: Path) -> None:
    loaded = popgrad.load(directory, task=odd())
    for name in (
        "segments",
        "telemetry",
        "space",
        "score_name",
        "stopped",
        "config",
        "directory",
        "history",
    ):
        assert getattr(loaded, name) == getattr(ran, name), name
    assert loaded.stopped == "finished"
    assert loaded.winner.segment == ran.winner.segment
    x = torch.randn(5, 33)
    assert torch.equal(loaded.winner.module(x), ran.winner.module(x))


def test_the_history_has_a_row_for_each_segment(ran: popgrad.Result) -> None:
    assert len(ran.history) == len(ran.segments) == 12
    for row, segment in zip(ran.history, ran.segments, strict=True):
        assert (row["member"], row["interval"], row["score"]) == (*segment.id, segment.score)
        assert {name: row[name] for name in segment.hparams} == dict(segment.hparams)
        assert row["step"] == segment.last_step
        assert row["seconds"] > 0


def test_the_history_is_a_file_and_a_frame(ran: popgrad.Result, directory: Path) -> None:
    frame = ran.frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame["score"].tolist() == [segment.score for segment in ran.segments]
    with (directory / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == frame["score"].tolist()
    assert list(rows[0]) == list(frame.columns)


def test_the_winner_is_its_lineage_and_its_schedule(ran: popgrad.Result) -> None:
    winner = ran.winner
    assert winner.lineage == ran.lineage(winner.member)
    assert winner.lineage[-1] == winner.segment
    assert [s.interval for s in winner.lineage] == [0, 1, 2]
    assert [phase.hparams for phase in winner.schedule.phases] == [
        s.hparams for s in winner.lineage
    ]
    assert winner.hparams == winner.segment.hparams
    assert (winner.member, winner.score) == (winner.segment.member, winner.segment.score)
    assert ran.best_ever.score >= winner.score


def test_the_winners_module_is_the_network_that_was_scored(ran: popgrad.Result) -> None:
    module, data = ran.winner.module, odd().data()
    assert not module.training
    with torch.no_grad():
        found = (module(data.validation[0]).argmax(1) == data.validation[1]).double().mean()
    assert float(found) == pytest.approx(ran.winner.score, abs=1e-6)


def test_test_data_is_read_when_asked_for_and_each_reading_is_recorded(tmp_path: Path) -> None:
    result = popgrad.run(
        odd(), directory=tmp_path / "run", device="cpu", **{**GIVEN, "intervals": 1}
    )
    before = record(tmp_path / "run")
    assert readings(tmp_path / "run") == []
    found = result.test()
    assert found == popgrad.load(tmp_path / "run", task=odd()).test(reader="me")
    notes = readings(tmp_path / "run")
    assert [(note["reader"], note["split"], note["metrics"]) for note in notes] == [
        ("Result.test", "test", found),
        ("me", "test", found),
    ]
    assert all((note["member"], note["interval"]) == result.winner.segment.id for note in notes)
    assert record(tmp_path / "run") == before
    data = odd().data()
    with torch.no_grad():
        right = (result.winner.module(data.test[0]).argmax(1) == data.test[1]).double().mean()
    assert found["accuracy"] == pytest.approx(float(right), abs=1e-6)


def test_a_run_in_memory_can_be_tested(ran: popgrad.Result) -> None:
    result = popgrad.run(odd(), device="cpu", **GIVEN)
    assert result.segments == ran.segments
    assert result.test() == ran.test()


def test_a_state_that_memory_did_not_keep_is_told() -> None:
    result = popgrad.run(Spy(), **GIVEN)
    with pytest.raises(UsageError, match=r"\(0, 0\) was not kept: give the run a directory"):
        result.state((0, 0))


def test_an_unfinished_run_can_be_looked_at_while_it_runs_and_after(tmp_path: Path) -> None:
    looked = []

    def look(segment: popgrad.Segment) -> None:
        result = popgrad.load(tmp_path / "run", task=Spy())
        last = last_segments(result.segments).values()
        assert result.winner.segment.score == max(each.score for each in last)
        looked.append((len(result.segments), result.stopped))
        if segment.id == (1, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Spy(), directory=tmp_path / "run", on_segment=look, **GIVEN)
    assert looked == [(n, "unfinished") for n in range(1, 7)]
    result = popgrad.load(tmp_path / "run", task=Spy())
    assert result.winner.state["seen"][-1][:2] == list(result.winner.segment.id)
    assert len(result.history) == 6


def test_a_run_without_a_live_member_has_no_winner_and_still_a_history(tmp_path: Path) -> None:
    task = Spy(broken={(m, 0): "nan" for m in range(4)})
    with pytest.raises(AllMembersFailedError):
        popgrad.run(task, directory=tmp_path / "run", **GIVEN)
    result = popgrad.load(tmp_path / "run", task=task)
    assert [math.isnan(row["score"]) for row in result.history] == [True] * 4
    with pytest.raises(AllMembersFailedError, match="no winner"):
        _ = result.winner


def test_looking_runs_no_code_of_the_task(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    make = "def make():\n    return popgrad.tasks.Quadratic(0.05)\n"
    file.write_text(f"import popgrad.tasks\n\n{make}")
    ran = popgrad.run(f"{file}:make", directory=tmp_path / "run", **GIVEN)
    file.unlink()
    loaded = popgrad.load(tmp_path / "run")
    assert loaded.history == ran.history
    assert loaded.lineage(0) == ran.lineage(0)
    assert loaded.best_ever == ran.best_ever
    with pytest.raises(UsageError, match=r"there is no task file .*mine.py"):
        loaded.test()


def test_an_instance_is_needed_again_for_what_needs_the_task(tmp_path: Path) -> None:
    popgrad.run(Plain(), directory=tmp_path / "run", **GIVEN)
    loaded = popgrad.load(tmp_path / "run")
    assert len(loaded.history) == 12
    with pytest.raises(UsageError, match=r"pass it again, popgrad.load\("):
        loaded.test()
    # A Plain has the same metric on every split.
    assert popgrad.load(tmp_path / "run", task=Plain()).test()["q"] == max(
        s.score for s in loaded.segments[-4:]
    )


def test_the_space_of_the_run_is_the_recorded_one(tmp_path: Path) -> None:
    popgrad.run(Spy(), directory=tmp_path / "run", space={"lr": popgrad.Constant(0.5)}, **GIVEN)
    loaded = popgrad.load(tmp_path / "run", task=Spy())
    assert loaded.space == SPACE.with_({"lr": popgrad.Constant(0.5)})
    assert loaded.winner.task.space == loaded.space


def test_the_weights_that_a_run_began_with_are_not_needed_to_look_at_it(
    directory: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes((directory / "best.safetensors").read_bytes())
    ran = popgrad.run(
        odd(), weights=weights, directory=tmp_path / "run", **{**GIVEN, "intervals": 1}
    )
    weights.unlink()
    loaded = popgrad.load(tmp_path / "run", task=odd())
    x = torch.ones(1, 33)
    assert torch.equal(loaded.winner.module(x), ran.winner.module(x))


def test_a_run_writes_its_resolved_configuration(
    ran: popgrad.Result, directory: Path, tmp_path: Path
) -> None:
    """Which says everything: the run that it describes is the same one."""
    from popgrad.config.files import read as read_file
    from popgrad.config.model import parse
    from popgrad.runs.api import start

    config = parse(read_file(directory / "run.toml"))
    assert config == ran.config
    assert config.made_with["torch"] == torch.__version__
    start(config, task=odd(), directory=tmp_path / "again")
    assert record(tmp_path / "again") == record(directory)


def test_members_keep_their_last_and_their_best_state(ran: popgrad.Result, directory: Path) -> None:
    segments = read(directory)[0]
    for member in range(4):
        own = [s for s in segments if s.member == member]
        best = max(own, key=lambda s: (s.score, -s.interval))
        assert ran.best(member) == best
        loaded = popgrad.load(directory, task=odd())
        for kept in (own[-1], best):
            assert popgrad.state.digest(loaded.state(kept.id)) == kept.digest
