"""Reading a split: of a run's members, of one checkpoint; each reading is recorded."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import popgrad
import spies
from popgrad import RunError, UsageError
from popgrad.runs.evaluate import evaluate_split
from popgrad.store.journal import Journal
from spies import record

ODD = f"{spies.__file__}:odd"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the last interval a rate of 50 ruins what was learned, so that the best is not the last."""
    place = tmp_path_factory.mktemp("reading") / "run"
    space = {"lr": popgrad.LogUniform(1e-3, 100.0), "batch_size": popgrad.Constant(32)}
    popgrad.run(ODD, population=4, intervals=4, interval=5, seed=3, executor="serial", space=space,
                initial=[{"lr": 0.05}] * 4, strategy="schedule", phases=[{"step": 15, "lr": 50.0}],
                directory=place, outputs=False)  # fmt: skip
    return place


@pytest.fixture(scope="module")
def result(directory: Path) -> popgrad.Result:
    return popgrad.load(directory)


def last_reading(directory: Path) -> dict[str, Any]:
    journal = Journal(directory / "journal.db", readonly=True)
    try:
        return journal.readings()[-1]
    finally:
        journal.close()


def past_its_best(result: popgrad.Result) -> int:
    """A member whose last state is not its best."""
    return next(m for m in range(4) if result.best(m).interval < 3)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_winner_is_read_where_no_member_is_named(
    split: Any, directory: Path, result: popgrad.Result
) -> None:
    before = record(directory)
    found = evaluate_split(str(directory), split=split, reader="a reader")
    member = result.winner.member
    assert (found.subject, found.split, found.card) == (f"winner, member {member}", split, None)
    expected = result.winner.segment.metrics if split == "validation" else result.test()
    assert found.metrics == expected
    assert record(directory) == before


@pytest.mark.parametrize("member", range(4))
def test_a_member_is_read_at_its_last_and_at_its_best(
    member: int, directory: Path, result: popgrad.Result
) -> None:
    last = evaluate_split(str(directory), split="validation", member=member, reader="a reader")
    assert last.subject == f"member {member}"
    assert last.metrics == result.lineage(member)[-1].metrics
    best = evaluate_split(
        str(directory), split="validation", member=member, best=True, reader="another"
    )
    assert best.subject == f"member {member} at its best (interval {result.best(member).interval})"
    assert best.metrics == result.best(member).metrics
    noted = last_reading(directory)
    assert (noted["reader"], noted["split"], noted["member"]) == ("another", "validation", member)
    assert (noted["interval"], noted["metrics"]) == (
        result.best(member).interval,
        dict(best.metrics),
    )


def test_a_checkpoint_is_read_by_its_file_from_anywhere(
    directory: Path, result: popgrad.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = result.best(past_its_best(result))
    file = directory / "checkpoints" / f"{best.digest}.safetensors"
    found = evaluate_split(str(file), split="validation", reader="a reader")
    assert found.subject == f"checkpoint of member {best.member}, interval {best.interval}"
    assert found.metrics == best.metrics
    monkeypatch.chdir(file.parent)
    assert evaluate_split(file.name, split="validation", reader="a reader") == found


def test_every_checkpoint_that_the_index_names_can_be_read(directory: Path) -> None:
    index = json.loads((directory / "checkpoints.json").read_text())
    for named in index.values():
        for digest in named.values():
            file = directory / "checkpoints" / f"{digest}.safetensors"
            assert evaluate_split(str(file), split="test", reader="a reader").metrics


def test_what_is_none_of_these_is_refused_in_one_line(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    stray = tmp_path / "checkpoints" / "0.safetensors"
    stray.touch()
    foreign = directory / "checkpoints" / f"{'0' * 64}.safetensors"
    known = next((directory / "checkpoints").iterdir())
    no_run = "expected the directory of a run, one of its checkpoints, or pretrained:NAME"
    no_checkpoint = "is not a checkpoint of the run; checkpoints.json lists those that it has"
    for what, given, said in (
        (tmp_path, {}, no_run),
        (tmp_path / "nowhere", {}, no_run),
        (directory / "best.safetensors", {}, no_run),
        (stray, {}, no_run),
        (foreign, {}, no_checkpoint),
        (
            directory,
            {"member": 4},
            "member 4 has no finished segment; members that have: [0, 1, 2, 3]",
        ),
        (directory, {"member": -1}, "member -1 has no finished segment"),
        (known, {"member": 0}, "member, best: they choose among the networks of a run"),
        (known, {"best": True}, "is a single network, leave them out"),
        ("pretrained:gan", {}, "pretrained: expected one of fc, conv, fc-pbt, conv-pbt, got 'gan'"),
        ("pretrained:fc", {"member": 1}, "pretrained:fc is a single network, leave"),
    ):
        with pytest.raises(UsageError) as caught:
            evaluate_split(str(what), split="test", reader="a reader", **given)  # type: ignore[arg-type]
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    foreign.touch()  # also where there is a file
    try:
        with pytest.raises(UsageError, match=no_checkpoint):
            evaluate_split(str(foreign), split="test", reader="a reader")
    finally:
        foreign.unlink()


def test_a_damaged_checkpoint_is_no_network(directory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    (copy / "checkpoints").mkdir(parents=True)
    (copy / "journal.db").write_bytes((directory / "journal.db").read_bytes())
    file = next((directory / "checkpoints").iterdir())
    (copy / "checkpoints" / file.name).write_bytes(file.read_bytes()[:200])
    with pytest.raises(RunError, match="is not a checkpoint that can be read"):
        evaluate_split(str(copy / "checkpoints" / file.name), split="test", reader="a reader")


def test_a_member_that_has_failed_is_read_at_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dataclasses.replace(spies.Spy(), broken={(1, 1): "raise"})
    popgrad.run(task, population=2, intervals=2, interval=1, strategy="random-search", executor="serial",
                directory=tmp_path / "run")  # fmt: skip

    def load(directory: Path, **given: Any) -> popgrad.Result:
        return popgrad.load(directory, task=task)

    monkeypatch.setattr("popgrad.runs.evaluate.load", load)
    with pytest.raises(
        UsageError, match=r"member 1 failed in interval 1: use its best state \(--best\)"
    ):
        evaluate_split(str(tmp_path / "run"), split="validation", member=1, reader="a reader")
    best = evaluate_split(
        str(tmp_path / "run"), split="validation", member=1, best=True, reader="a reader"
    )
    assert best.subject == "member 1 at its best (interval 0)"
