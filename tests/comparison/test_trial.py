"""Trials are read from the record: scores, steps, curves, and test scores that are on record."""

from pathlib import Path

import numpy as np
import pytest

import popgrad
from popgrad.comparison.trial import read_trial
from popgrad.tasks.toys import Quadratic
from program import readings

KEYS = {"population": 4, "intervals": 3, "interval": "4", "executor": "serial", "outputs": False}


@pytest.fixture
def run(tmp_path: Path) -> popgrad.Result:
    return popgrad.run("quadratic", directory=tmp_path / "run", seed=3, progress=False, **KEYS)


def test_a_trial_has_the_scores_and_steps_of_its_run(run: popgrad.Result) -> None:
    assert run.directory is not None
    trial = read_trial(run.directory)
    last = [segment.score for segment in run.last.values()]
    assert (trial.seed, trial.finished, trial.counts) == (3, True, True)
    assert trial.winner == run.winner.score
    assert trial.median == np.median(last)
    assert trial.steps == 4 * 3 * 4
    assert trial.seconds == pytest.approx(sum(each.seconds for each in run.telemetry.values()))
    assert trial.setting["strategy"]["name"] == "pbt"
    assert trial.setting["population"] == 4


def test_the_curve_has_a_point_for_each_interval(run: popgrad.Result) -> None:
    assert run.directory is not None
    curve = read_trial(run.directory).curve
    assert curve[:, 0].tolist() == [16, 32, 48]
    first = [segment.score for segment in run.segments if segment.interval == 0]
    assert curve[0, 1:].tolist() == [max(first), np.median(first)]
    assert curve[-1, 1] == run.winner.score


def test_a_test_score_is_that_of_the_winners_reading_on_record(run: popgrad.Result) -> None:
    assert run.directory is not None
    assert np.isnan(read_trial(run.directory).test)
    other = (run.winner.member + 1) % 4
    run.test(other)
    run.evaluate(run.winner.segment.id, "validation", reader="a test")
    assert np.isnan(read_trial(run.directory).test)
    expected = run.test()["q"]
    assert read_trial(run.directory).test == expected


def test_reading_a_trial_reads_no_split_and_runs_no_task(
    run: popgrad.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.directory is not None
    monkeypatch.setattr(Quadratic, "evaluate", None)
    monkeypatch.setattr(Quadratic, "train", None)
    read_trial(run.directory)
    assert readings(run.directory) == []


class Failing(Quadratic):
    """A task whose members fail in their second interval."""

    def evaluate(self, state: object, hparams: object, split: object, ctx: object) -> dict:
        return {"q": float("nan") if ctx.interval else 0.5}  # type: ignore[attr-defined]


def test_a_run_whose_members_all_failed_has_no_winner(tmp_path: Path) -> None:
    with pytest.raises(popgrad.AllMembersFailedError):
        popgrad.run(Failing(), directory=tmp_path / "run", progress=False, check=False, **KEYS)
    trial = read_trial(tmp_path / "run")
    assert np.isnan([trial.winner, trial.median, trial.test]).all()
    assert (trial.finished, trial.counts) == (True, False)
    assert trial.curve[0].tolist() == [16, 0.5, 0.5]
    assert np.isnan(trial.curve[1, 1:]).all()


def test_a_run_that_was_interrupted_does_not_count(tmp_path: Path) -> None:
    def stop(end: popgrad.IntervalEnd) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(
            "quadratic", directory=tmp_path / "run", on_interval=stop, progress=False, **KEYS
        )
    trial = read_trial(tmp_path / "run")
    assert not trial.finished
    assert not trial.counts
    assert trial.steps >= 16


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(popgrad.UsageError, match="holds no run"):
        read_trial(tmp_path)


def test_strategies_without_a_name_on_record_are_named_by_the_folder_of_their_runs(
    tmp_path: Path,
) -> None:
    for folder in ("mine", "yours"):
        strategy = popgrad.pbt(Quadratic().space)
        popgrad.run(
            "quadratic",
            strategy=strategy,
            directory=tmp_path / folder / "0",
            progress=False,
            **KEYS,
        )
    (problem,) = popgrad.compare(tmp_path).problems
    assert [group.label for group in problem.groups] == [
        "custom:folder=mine",
        "custom:folder=yours",
    ]
