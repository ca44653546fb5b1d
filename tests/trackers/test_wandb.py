"""The tracker "wandb", read back from the files that W&B keeps offline."""

import json
import sys
import warnings

import pytest
from tests.trackers.conftest import expected, read_wandb, records, same

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.space import Choice
from popgrad.trackers.wandb import WandbTracker

pytestmark = pytest.mark.slow


def test_members_are_runs_of_one_group(train, tmp_path):
    train(tracker="wandb", intervals=2)
    found = read_wandb(tmp_path / "run")
    assert sorted(found) == [0, 1, 2, 3]
    assert len({run.run.run_group for run in found.values()}) == 1
    assert len({run.run.run_id for run in found.values()}) == 4
    for member, run in found.items():
        assert (run.run.project, run.run.display_name) == ("popgrad", f"member-{member:02d}")
        config = {each.key: json.loads(each.value_json) for each in run.run.config.update}
        assert (config["population"], config["member"]) == (4, member)
        assert run.summary["status"] == "finished"


def test_a_resumed_session_has_the_same_ids_and_groups(train, tmp_path):
    train(tracker="wandb", intervals=1)
    before = {member: each.run for member, each in read_wandb(tmp_path / "run").items()}
    popgrad.resume(tmp_path / "run", intervals=2, progress=False)
    after = {member: each.run for member, each in read_wandb(tmp_path / "run").items()}
    assert {member: (each.run_id, each.run_group) for member, each in before.items()} == {
        member: (each.run_id, each.run_group) for member, each in after.items()
    }


def test_the_winners_run_is_marked_and_has_copies_of_the_files(train, tmp_path):
    result = train(tracker="wandb", intervals=2)
    found = read_wandb(tmp_path / "run")
    assert [member for member, run in found.items() if run.summary.get("winner")] == [
        result.winner.member
    ]
    (copy,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/schedule.json")
    assert not copy.is_symlink()


def test_hyperparameters_that_are_no_numbers_are_texts(train, tmp_path):
    result = train(tracker="wandb", intervals=2, space={"kind": Choice(("a", "b"))})
    last = {segment.member: segment.hparams["kind"] for segment in result.segments}
    found = read_wandb(tmp_path / "run")
    assert {member: run.summary["hyperparameters/kind"] for member, run in found.items()} == last


def test_project_group_and_folder_are_those_that_are_set(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_RUN_GROUP", "ours")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    result = train(tracker="wandb", intervals=1, directory=None)
    found = read_wandb(tmp_path / "elsewhere")
    assert {(run.run.project, run.run.run_group) for run in found.values()} == {("mine", "ours")}
    assert same({member: run.points for member, run in found.items()}, expected(result))
    assert "best.json" in found[result.winner.member].files


def test_a_run_of_the_caller_stays_open(train, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wandb

        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        own = wandb.init(
            mode="offline", dir=str(tmp_path), project="own", id="own", settings=settings
        )
        try:
            own.log({"x": 1})
            train(tracker="wandb", intervals=1)
            assert wandb.run is own
            own.log({"x": 2})
            own.finish()
        finally:
            wandb.teardown()
    (own_file,) = (tmp_path / "wandb").glob("offline-run-*-own/*.wandb")
    history = [each for each in records(own_file.read_bytes()) if each.HasField("history")]
    assert len(history) == 2
    assert len(read_wandb(tmp_path / "run")) == 4


def test_without_wandb_nothing_is_written(train, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"pip install 'popgrad\[wandb\]'"):
        train(tracker="wandb")
    assert not list(tmp_path.iterdir())


def test_without_a_place_it_says_what_to_set():
    with pytest.raises(UsageError, match="choose a directory for it, or set WANDB_DIR"):
        WandbTracker(None)
