"""Trackers as a run gets them: names, objects, and what each is told at the end."""

import logging
from typing import get_args

import pytest
from tests.trackers.conftest import Recorder

import popgrad
from popgrad.config import parse
from popgrad.config.values import TrackerName
from popgrad.core.errors import UsageError
from popgrad.runs import tracked
from popgrad.trackers import TRACKERS

KEYS = {
    "population": 2,
    "intervals": 2,
    "interval": 5,
    "executor": "serial",
    "progress": False,
    "check": False,
}


def test_each_name_has_a_factory():
    assert set(get_args(TrackerName)) == set(TRACKERS)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("mlflow", ["mlflow"]),
        ("mlflow, wandb", ["mlflow", "wandb"]),
        (["wandb", "mlflow,wandb"], ["wandb", "mlflow"]),
        ("", []),
        ([], []),
    ],
)
def test_names_are_a_list_or_separated_by_commas(given, names):
    assert parse({"task": "digits", "tracker": given}).tracker == names


@pytest.mark.parametrize("given", ["mlfow", ["wandb", "x"], 3, [3]])
def test_other_names_are_refused(given):
    with pytest.raises(UsageError, match=r"tracker: expected"):
        parse({"task": "digits", "tracker": given})


@pytest.mark.parametrize("given", [Recorder, 3, [None], object()])
def test_what_is_no_tracker_is_refused_before_anything_is_written(given, tmp_path):
    with pytest.raises(UsageError, match="an object with open, log and close"):
        popgrad.run("quadratic", directory=tmp_path / "run", tracker=given, **KEYS)
    assert not list(tmp_path.iterdir())


def test_a_run_in_memory_has_its_artefacts_too():
    mine = Recorder()
    result = popgrad.run("quadratic", tracker=mine, **KEYS)
    assert set(mine.files) == {"schedule.json", "run.toml", "best.json"}
    assert mine.events == ["open", (0, 0), (1, 0), (0, 1), (1, 1), "finished"]
    (run,) = mine.runs
    assert (run.name, run.directory, run.score) == ("quadratic", None, "q")
    assert run.config["population"] == 2
    assert result.stopped == "finished"


def test_objects_and_names_can_be_mixed_and_repeated(tmp_path):
    first, second = Recorder(), Recorder()
    popgrad.run(
        "quadratic", directory=tmp_path / "run", tracker=[first, "tensorboard", second], **KEYS
    )
    assert first.events == second.events
    assert (tmp_path / "run" / "events" / "member-01").is_dir()
    assert popgrad.load(tmp_path / "run").config.tracker == ["tensorboard"]


def test_a_resumed_run_keeps_its_names_until_others_are_given(tmp_path):
    popgrad.run("quadratic", directory=tmp_path / "run", tracker="tensorboard", **KEYS)
    popgrad.resume(tmp_path / "run", intervals=3, progress=False)
    assert popgrad.load(tmp_path / "run").config.tracker == ["tensorboard"]
    popgrad.resume(tmp_path / "run", intervals=4, progress=False, tracker=[])
    assert popgrad.load(tmp_path / "run").config.tracker == []


def test_a_run_without_trackers_has_no_file_of_theirs(tmp_path):
    popgrad.run("quadratic", directory=tmp_path / "run", **KEYS)
    assert not (tmp_path / "run" / "trackers.json").exists()


def test_artefacts_that_cannot_be_written_do_not_end_a_finished_run(monkeypatch, caplog):
    def full(result, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracked, "_write_artefacts", full)
    mine = Recorder()
    with caplog.at_level(logging.WARNING, "popgrad"):
        popgrad.run("quadratic", tracker=mine, **KEYS)
    assert mine.events[-1] == "finished"
    assert caplog.messages == ["trackers get no artefacts: [Errno 28] No space left on device"]


def test_a_tracker_that_always_fails_changes_nothing(caplog):
    class Broken:
        def open(self, run):
            raise RuntimeError("mine")

        def log(self, tracked):
            raise AssertionError

        def close(self, ending):
            raise AssertionError

    result = popgrad.run("quadratic", tracker=Broken(), **KEYS)
    assert result.segments == popgrad.run("quadratic", **KEYS).segments
    assert caplog.messages == [
        "tracker Broken failed, training continues: RuntimeError: mine",
        "tracker Broken: 4 segments are not logged; they are recorded, and a resumed run logs them",
    ]
