"""What a run leaves beside its record says what the record says; nothing is left that nobody names."""

import csv
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import popgrad
from popgrad import AllMembersFailedError, Choice, Constant, LogUniform, Space, Splits, TorchTask
from spies import Plain, Spy, odd

pytestmark = pytest.mark.draws

TABLES = {"history.csv", "loss_summary.csv"}
FIGURES = {"results.png", "schedule.png", "lr.png"}
RECORD = {"run.toml", "journal.db", "checkpoints", "checkpoints.json", "lock"}
WINNER = {"best.safetensors", "best.json"}
GIVEN: dict[str, Any] = {
    "population": 4, "intervals": 4, "interval": 6, "seed": 3, "fraction": 0.5, "executor": "serial",
}  # fmt: skip


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("outputs") / "run"
    space = {"batch_size": Constant(32)}
    popgrad.run(odd(), directory=place, log_every=4, events=True, space=space, **GIVEN)
    return place


@pytest.fixture(scope="module")
def result(directory: Path) -> popgrad.Result:
    return popgrad.load(directory, task=odd())


def test_all_of_it_is_there_and_is_what_its_name_says(directory: Path) -> None:
    assert names(directory) == RECORD | TABLES | FIGURES | WINNER | {"events"}
    for figure in FIGURES:
        assert (directory / figure).read_bytes().startswith(b"\x89PNG")


def test_the_history_has_a_row_for_each_segment(directory: Path, result: popgrad.Result) -> None:
    rows = table(directory / "history.csv")
    assert [(int(r["member"]), int(r["interval"])) for r in rows] == [s.id for s in result.segments]
    for row, segment in zip(rows, result.segments, strict=True):
        assert float(row["score"]) == segment.score
        assert float(row["lr"]) == segment.hparams["lr"]
        assert row["change_lr"] == str(segment.changes["lr"])
        assert row["source_member"] == ("" if segment.source is None else str(segment.source[0]))


def test_the_loss_summary_has_a_row_for_each_log_line(
    directory: Path, result: popgrad.Result
) -> None:
    """Every 4 steps of 6 a segment, and at its end; an epoch has 4 steps."""
    rows = table(directory / "loss_summary.csv")
    for segment in result.segments:
        own = [r for r in rows if (int(r["member"]), int(r["interval"])) == segment.id]
        every = range(segment.first_step + 1, segment.last_step + 1)
        expected = [step for step in every if step % 4 == 0 or step == segment.last_step]
        assert [int(r["step"]) for r in own] == expected
        assert [float(r["epoch"]) for r in own] == [step / 4 for step in expected]
        assert {float(r["lr"]) for r in own} == {segment.hparams["lr"]}
        assert all(float(r["train_loss"]) > 0 for r in own)


def test_the_index_names_the_last_and_the_best_of_each_member_and_nothing_else_is_left(
    directory: Path, result: popgrad.Result
) -> None:
    index = json.loads((directory / "checkpoints.json").read_text())
    assert set(index) == {"0", "1", "2", "3"}
    for member in range(4):
        assert index[str(member)]["last"] == result.lineage(member)[-1].digest
        assert index[str(member)]["best"] == result.best(member).digest
    named = {f"{digest}.safetensors" for each in index.values() for digest in each.values()}
    assert names(directory / "checkpoints") == named


def test_a_member_that_has_failed_has_no_last_state_and_keeps_its_best(tmp_path: Path) -> None:
    task = Spy(broken={(1, 1): "raise", (2, 0): "raise"})
    given = {**GIVEN, "population": 3, "intervals": 2, "interval": 1}
    del given["fraction"]
    result = popgrad.run(task, directory=tmp_path / "run", strategy="random-search", **given)
    index = json.loads((tmp_path / "run" / "checkpoints.json").read_text())
    assert index["1"] == {"last": None, "best": result.best(1).digest}
    assert index["2"] == {"last": None, "best": None}
    named = {digest for each in index.values() for digest in each.values() if digest is not None}
    assert names(tmp_path / "run" / "checkpoints") == {f"{digest}.safetensors" for digest in named}


def test_without_outputs_the_record_and_the_winner_are_all(directory: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {**GIVEN, "log_every": 4, "space": {"batch_size": Constant(32)}}
    popgrad.run(odd(), directory=tmp_path / "run", outputs=False, events=True, **given)
    assert names(tmp_path / "run") == RECORD | WINNER
    for name in ("best.json", "checkpoints.json"):
        assert (tmp_path / "run" / name).read_text() == (directory / name).read_text()
    popgrad.resume(tmp_path / "run", task=odd(), intervals=5)
    assert names(tmp_path / "run") == RECORD | WINNER


def test_a_task_without_a_rate_a_curve_and_a_network_has_what_is_left(tmp_path: Path) -> None:
    popgrad.run("quadratic", directory=tmp_path / "run", **{**GIVEN, "interval": 1})
    wanted = RECORD | {"history.csv", "results.png", "schedule.png", "best.json"}
    assert names(tmp_path / "run") == wanted


def test_tables_are_written_also_where_everybody_fails(tmp_path: Path) -> None:
    task = Spy(broken={(m, 1): "nan" for m in range(4)})
    with pytest.raises(AllMembersFailedError):
        popgrad.run(task, directory=tmp_path / "run", **GIVEN)
    assert len(table(tmp_path / "run" / "history.csv")) == 8
    assert len(table(tmp_path / "run" / "loss_summary.csv")) == 8


# --- events ---


def scalars(directory: Path) -> dict[str, list[int]]:
    """The steps of each curve of one member."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory)).Reload()
    return {tag: [each.step for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_curve_does_not_run_back_where_a_member_inherits(
    directory: Path, result: popgrad.Result
) -> None:
    heirs = {s.member for s in result.segments if s.source is not None and s.source[0] != s.member}
    assert heirs
    for member in range(4):
        curves = scalars(directory / "events" / f"member-{member:02d}")
        assert curves["score/accuracy"] == [6, 12, 18, 24]
        assert curves["train/train_loss"] == sorted(set(curves["train/train_loss"]))
        assert max(curves["train/lr"]) == 24


def test_no_events_where_none_are_asked_for(tmp_path: Path) -> None:
    popgrad.run(Plain(), directory=tmp_path / "run", **{**GIVEN, "intervals": 1})
    assert "events" not in names(tmp_path / "run")


def images(shape: tuple[int, ...]) -> TorchTask:
    part = torch.rand(20, *shape), torch.arange(20) % 2
    return TorchTask(
        space=Space({"lr": LogUniform(1e-3, 1e-1), "batch_size": Choice((10,))}),
        model=lambda _: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2)),
        optimizer=lambda module, _: torch.optim.SGD(module.parameters(), lr=0.1),
        data=lambda: Splits(part, part, part),
    )


@pytest.mark.parametrize(
    ("shape", "shown"), [((1, 4, 4), True), ((3, 4, 4), True), ((2, 4, 4), False), ((16,), False)]
)
def test_sample_images_are_among_the_events_of_a_task_on_images(
    shape: tuple[int, ...], shown: bool, tmp_path: Path
) -> None:
    given = {**GIVEN, "intervals": 1, "interval": 1, "population": 2, "outputs": True}
    popgrad.run(images(shape), directory=tmp_path / "run", events=True, **given)
    wanted = {"member-00", "member-01"} | ({"images"} if shown else set())
    assert names(tmp_path / "run" / "events") == wanted
    if shown:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(tmp_path / "run" / "events" / "images")).Reload()
        assert found.Tags()["images"] == ["samples"]


def test_without_the_extra_there_is_a_warning_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with caplog.at_level(logging.WARNING, "popgrad"):
        result = popgrad.run(Plain(), directory=tmp_path / "run", events=True, **GIVEN)
    assert result.stopped == "finished"
    assert caplog.messages == [
        "no events are written: TensorBoard events need tensorboard: pip install popgrad[tensorboard]"
    ]
    assert names(tmp_path / "run") == RECORD | {"history.csv", "best.json"} | FIGURES
