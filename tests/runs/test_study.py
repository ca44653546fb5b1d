"""A study: its callers train, its decisions are those of a run, and it survives whatever happens to them."""

import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import popgrad
from faults import callers
from faults.callers import KEYS, MOMENTS, TASK, expire_leases, kill_a_caller, train
from popgrad import LeasedAssignment, LogUniform, Result, Study, UsageError
from popgrad.core.errors import AllMembersFailedError, RunError
from popgrad.state import digest
from popgrad.store.checkpoints import Checkpoints
from popgrad.tasks import digits
from spies import record as whole_record

SPACE = {"lr": LogUniform(1e-4, 1e-1)}
Make = Callable[..., Study]


@pytest.fixture(params=["memory", "directory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make a study, in memory or in a directory."""

    def study(space: Any = SPACE, **keys: Any) -> Study:
        where = tmp_path / "study" if request.param == "directory" else None
        defaults = {"directory": where, "outputs": False, "score": "accuracy"}
        return Study(space, **{**defaults, **keys})

    return study


@pytest.fixture
def opened(tmp_path: Path) -> Study:
    """A study of two members in a directory."""
    return small(tmp_path)


def small(folder: Path, **keys: Any) -> Study:
    keys = {"population": 2, "intervals": 2, "score": "accuracy", "outputs": False, **keys}
    return Study(SPACE, directory=folder / "study", **keys)


def ask(study: Study) -> LeasedAssignment:
    assignment = study.ask()
    assert assignment is not None
    return assignment


def finish(study: Study) -> list[LeasedAssignment]:
    """Report what is asked for, with the rate as the score, and return it."""
    asked = []
    while assignment := study.ask():
        score = float(assignment.hparams["lr"])
        study.tell(assignment, {"accuracy": score}, state={"of": [*map(int, key(assignment))]})
        asked.append(assignment)
    return asked


def key(assignment: LeasedAssignment) -> tuple[int, int]:
    return assignment.member, assignment.interval


def reference(**keys: Any) -> Result:
    keys = {**KEYS, "executor": "serial", "progress": False, "check": False, **keys}
    return popgrad.run("quadratic", **keys)


# --- the same decisions as a run ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("strategy", ["pbt", "random-search"])
def test_a_caller_that_trains_like_serial_makes_the_record_of_a_run(
    make: Make, mode: str, strategy: str, tmp_path: Path
) -> None:
    given = {"mode": mode, "strategy": strategy}
    run = reference(**given, directory=tmp_path / "run", outputs=False)
    study = make(TASK.space, score=TASK.score, **KEYS, **given)
    assert train(study) == len(run.segments)
    assert study.finished
    result = study.result
    assert result.segments == run.segments
    assert result.stopped == run.stopped == "finished"
    assert result.winner.state == run.winner.state
    if study.directory is not None:
        assert whole_record(study.directory) == whole_record(tmp_path / "run")


def test_a_task_with_tensors_and_random_draws_too(tmp_path: Path) -> None:
    task = digits()
    keys = {"population": 3, "intervals": 3, "interval": 4, "seed": 2}
    run = popgrad.run(
        task, executor="serial", directory=tmp_path / "run", progress=False, outputs=False, **keys
    )
    from popgrad.core.segment import Assignment
    from popgrad.executors.base import train_segment
    from popgrad.state import unflatten

    study = Study(task.space, score=task.score, directory=tmp_path / "study", outputs=False, **keys)
    while given := study.ask():
        assignment = Assignment(
            given.member,
            given.interval,
            given.donor,
            given.hparams,
            given.run_seed,
            given.first_step,
            given.steps,
        )
        source: Any = given.source
        outcome, tree, leaves = train_segment(
            task, assignment, source, torch.device("cpu"), None, "caller"
        )
        study.tell(given, outcome.metrics, state=unflatten(tree, leaves))
    assert whole_record(tmp_path / "study") == whole_record(tmp_path / "run")
    assert digest(study.result.winner.state) == digest(run.winner.state)


def test_objects_that_take_turns_make_the_same_record(tmp_path: Path) -> None:
    run = reference(directory=tmp_path / "run", outputs=False)
    path = tmp_path / "study"
    Study(TASK.space, score=TASK.score, directory=path, outputs=False, **KEYS)
    several = [Study.open(path) for _ in range(3)]
    for number in range(len(run.segments)):
        assert train(several[number % 3], most=1) == 1
    assert all(study.finished for study in several)
    assert whole_record(path) == whole_record(tmp_path / "run")


def test_a_target_and_patience_end_a_study_as_they_end_a_run(make: Make) -> None:
    run = reference(target_score=0.3)
    study = make(TASK.space, score=TASK.score, target_score=0.3, **KEYS)
    train(study)
    assert study.result.stopped == run.stopped == "target score"
    assert study.result.segments == run.segments


def test_a_study_that_is_continued_is_one_that_asked_for_all_at_once(make: Make) -> None:
    study = make(TASK.space, score=TASK.score, **{**KEYS, "intervals": 2})
    train(study)
    assert study.ask() is None
    study.resume(intervals=4)
    assert not study.finished
    train(study)
    assert study.result.segments == reference().segments


def test_a_population_grows_at_the_next_decision(make: Make) -> None:
    study = make(population=2, intervals=2)
    finish(study)
    study.resume(intervals=4, population=3)
    finish(study)
    assert study.result.size == 3


def test_a_strategy_of_ones_own(make: Make) -> None:
    strategy = popgrad.pbt(TASK.space, fraction=0.5)
    study = make(TASK.space, score=TASK.score, strategy=strategy, **KEYS)
    train(study)
    assert study.result.segments == reference(fraction=0.5).segments
    if study.directory is not None:
        with pytest.raises(UsageError, match="strategy: the study was given a Strategy object"):
            Study.open(study.directory)
        assert Study.open(study.directory, strategy=strategy).finished


# --- assignments ----------------------------------------------------------------------------------------


def test_an_assignment_is_all_that_a_caller_needs(make: Make) -> None:
    study = make(
        population=2, intervals=2, interval="2 epochs", epoch_steps=5, seed=3, fraction=0.5
    )
    first, second = ask(study), ask(study)
    assert study.ask() is None
    assert not study.finished
    assert (first.member, second.member) == (0, 1)
    assert (first.steps, first.first_step, first.attempt) == (10, 0, 1)
    assert first.source is None
    assert first.donor is None
    assert set(first.hparams) == {"lr"}
    assert first.seed("x") == popgrad.Context(0, 0, run_seed=3).seed("x")

    study.tell(first, {"accuracy": 0.5}, state={"w": torch.ones(2)})
    study.tell(second, {"accuracy": torch.tensor(0.25)}, state={"w": torch.zeros(2)})
    heir = [ask(study), ask(study)][1]
    assert heir.donor == (0, 0)
    assert isinstance(heir.source, dict)
    assert heir.source["w"].tolist() == [1.0, 1.0]
    assert heir.first_step == 10
    heir.source["w"].zero_()
    assert study.result.last[0].digest == digest({"w": torch.ones(2)})


def test_an_assignment_as_json(make: Make) -> None:
    study = make(population=2, intervals=2, fraction=0.5)
    fresh = json.loads(ask(study).to_json())
    assert fresh["source"] is None
    assert 0 <= fresh["seed"] < 2**63
    study.tell(fresh["token"], {"accuracy": 1.0}, state={"theta": [0.5, 1]})
    study.tell(ask(study), {"accuracy": 0.0}, state={"w": torch.zeros(2)})
    heir = json.loads([ask(study), ask(study)][1].to_json())
    assert heir["source"]["state"] == {"theta": [0.5, 1]}
    assert (heir["source"]["member"], heir["source"]["interval"]) == (0, 0)
    if study.directory is not None:
        assert Path(heir["source"]["checkpoint"]).is_file()
        assert Path(heir["lease_file"]).is_file()


def test_a_state_with_tensors_is_no_json(make: Make) -> None:
    study = make(population=2, intervals=2)
    for _ in range(2):
        study.tell(ask(study), {"accuracy": 1.0}, state={"w": torch.zeros(2)})
    assert ask(study).to_dict()["source"]["state"] is None


def test_waiting_ends_when_there_is_something_to_do(
    opened: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignments = [ask(opened), ask(opened)]

    def report(seconds: float) -> None:
        assert 0 < seconds <= 0.2
        other = Study.open(opened.directory or "")
        other.tell(assignments.pop(), {"accuracy": 0.5}, state={})

    monkeypatch.setattr("time.sleep", report)
    found = opened.ask(wait=60)
    assert found is not None
    assert found.interval == 1


# --- outcomes -------------------------------------------------------------------------------------------


def test_a_second_outcome_is_compared(make: Make) -> None:
    study = make(population=2, intervals=2)
    first = ask(study)
    study.tell(first, {"accuracy": 0.5}, state={"x": 1})
    before = study.result.segments
    study.tell(first, {"accuracy": 0.5}, state={"x": 1})
    assert study.result.segments == before
    both = f"{digest({'x': 1})[:12]}.*{digest({'x': 2})[:12]}"
    with pytest.raises(RunError, match=f"two outcomes that differ: .*{both}"):
        study.tell(first, {"accuracy": 0.5}, state={"x": 2})
    with pytest.raises(RunError, match=r"metrics differ: recorded .*0\.5.*0\.6"):
        study.tell(first, {"accuracy": 0.6}, state={"x": 1})
    assert study.result.segments == before
    study.tell(first, error="too late to have failed")
    assert study.result.segments == before


def test_a_path_in_place_of_a_state(make: Make) -> None:
    study = make(population=2, intervals=2, fraction=0.5)
    for score in (1.0, 0.0):
        study.tell(ask(study), {"accuracy": score}, path=f"mine/{score}")
    keep, heir = ask(study), ask(study)
    assert keep.source == heir.source == "mine/1.0"
    assert heir.to_dict()["source"]["path"] == "mine/1.0"
    assert study.result.telemetry[1, 0].path == "mine/0.0"
    assert [row["path"] for row in study.result.history] == ["mine/1.0", "mine/0.0"]
    study.tell(heir, {"accuracy": 2.0}, path=Path("mine/2"))
    with pytest.raises(RunError, match=r"recorded path 'mine/2', now mine/3"):
        study.tell(heir, {"accuracy": 2.0}, path="mine/3")
    study.tell(keep, {"accuracy": 2.0}, path="mine/4")
    assert study.result.winner.state == {"popgrad: path": "mine/4"}


def test_a_journal_with_paths_is_read_by_all(tmp_path: Path) -> None:
    study = small(tmp_path)
    study.tell(ask(study), {"accuracy": 1.0}, path="mine")
    assert popgrad.load(tmp_path / "study").telemetry[0, 0].path == "mine"
    assert Study.open(tmp_path / "study").result.telemetry[0, 0].path == "mine"


def test_a_failure_is_tried_again_with_the_same_seeds_and_then_recorded(make: Make) -> None:
    study = make(population=2, intervals=2)
    other = ask(study)
    for attempt in (1, 2, 3):
        assignment = ask(study)
        assert (key(assignment), assignment.attempt) == ((1, 0), attempt)
        study.tell(assignment, error=f"attempt {attempt}")
        study.tell(assignment, error="told twice, counted once")
    assert study.ask() is None
    study.tell(other, {"accuracy": 0.5}, state={})
    (_, failed) = study.result.segments
    assert (failed.status, failed.error) == ("failed", "attempt 1")
    replaced = [ask(study), ask(study)][1]
    assert replaced.donor == (0, 0)
    with pytest.raises(RunError, match="recorded as failed"):
        study.tell(assignment, {"accuracy": 1.0}, state={})


def test_a_success_after_a_failure_leaves_no_trace(make: Make) -> None:
    study = make(TASK.space, score=TASK.score, **KEYS)
    study.tell(ask(study), error="lost its machine")
    train(study)
    assert study.result.segments == reference().segments


def test_a_score_that_is_not_finite_has_failed(make: Make) -> None:
    study = make(population=2, intervals=2)
    study.tell(ask(study), {"accuracy": math.nan}, state={})
    study.tell(ask(study), {"accuracy": 0.5}, state={})
    assert [segment.status for segment in study.result.segments] == ["failed", "done"]
    assert ask(study).donor == (1, 0)


def test_a_study_in_which_all_have_failed_is_resumed(make: Make) -> None:
    study = make(population=2, intervals=2)
    study.tell(ask(study), {"accuracy": math.nan}, state={})
    for _ in range(2):
        study.tell(ask(study), error="the disk was full")
    assignment = ask(study)
    with pytest.raises(AllMembersFailedError):
        study.tell(assignment, error="the disk was full")
    with pytest.raises(AllMembersFailedError):
        study.ask()
    study.resume()
    assert key(ask(study)) == (1, 0)
    assert study.ask() is None


def test_a_failure_stays_one_when_the_study_is_opened_again(tmp_path: Path) -> None:
    small(tmp_path, population=3)
    for _ in range(3):
        study = Study.open(tmp_path / "study")
        study.tell(ask(study), error="no luck")
    assert [key(ask(Study.open(tmp_path / "study"))) for _ in range(2)] == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"metrics": {"loss": 1.0}, "state": {}},
            "metrics: the study ranks by 'accuracy', got loss",
        ),
        ({"metrics": {"accuracy": "high"}, "state": {}}, "metric 'accuracy': expected a number"),
        ({"state": {}}, "metrics: expected numbers by name"),
        ({"metrics": {"accuracy": 1.0}}, "state, path: expected"),
        ({"metrics": {"accuracy": 1.0}, "state": {}, "path": "x"}, "state, path: expected"),
        ({"metrics": {"accuracy": 1.0}, "state": [1]}, "state: expected a dictionary"),
        ({"metrics": {"accuracy": 1.0}, "state": {"x": object()}}, r"state\['x'\] is a builtins"),
        ({"metrics": {"accuracy": 1.0}, "path": ""}, "path: expected a path"),
        ({"metrics": {"accuracy": 1.0}, "path": "\udcff"}, "path: expected characters of Unicode"),
        ({"metrics": {"accuracy": 1.0}, "state": {"popgrad: path": "x"}}, "give path=..."),
        ({"metrics": {"accuracy": 1.0}, "error": "x"}, "error: got an outcome too"),
        ({"error": " "}, "error: expected a description"),
    ],
)
def test_an_outcome_that_cannot_be_is_refused_and_changes_nothing(
    make: Make, given: dict[str, Any], message: str
) -> None:
    study = make(population=2, intervals=2)
    assignment = ask(study)
    with pytest.raises(UsageError, match=message):
        study.tell(assignment, **given)
    assert study.result.segments == ()
    study.tell(assignment, {"accuracy": 1.0}, state={})
    assert len(study.result.segments) == 1


def test_a_token_that_is_none_is_refused(make: Make) -> None:
    study = make(population=2, intervals=2)
    for token in ("", "1-2-3", None):
        with pytest.raises(UsageError, match="token: expected the token"):
            study.tell(token, {"accuracy": 1.0}, state={})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no open assignment for member 7, interval 0"):
        study.tell("7-0-1-1-0123456789ab", {"accuracy": 1.0}, state={})


# --- leases ---------------------------------------------------------------------------------------------


def test_an_expired_lease_is_offered_again_with_the_same_seeds(
    opened: Study, tmp_path: Path
) -> None:
    first, second = ask(opened), ask(opened)
    assert opened.ask() is None
    expire_leases(tmp_path / "study")
    opened.renew(second)
    again = ask(opened)
    assert key(again) == key(first)
    assert again.seed() == first.seed()
    assert again.token != first.token
    assert opened.ask() is None
    with pytest.raises(RunError, match="no longer held"):
        opened.renew(first)

    # Both come to an end: the first outcome counts, and the second is equal.
    opened.tell(first, {"accuracy": 0.5}, state={})
    opened.tell(again, {"accuracy": 0.5}, state={})
    assert len(opened.result.segments) == 1


def test_a_failure_of_an_expired_lease_is_not_counted(opened: Study, tmp_path: Path) -> None:
    first = ask(opened)
    expire_leases(tmp_path / "study")
    ask(opened)
    again = ask(opened)
    assert key(again) == key(first)
    opened.tell(first, error="I was suspended")
    opened.tell(again, error="real")
    assert ask(opened).attempt == 2


def test_a_lease_in_memory_expires_too(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(SPACE, score="accuracy", population=2, intervals=2, lease=10)
    first, second = ask(study), ask(study)
    moment = [1e12]
    monkeypatch.setattr("time.time", lambda: moment[0])
    study.renew(second)
    again = ask(study)
    assert key(again) == key(first)
    assert study.ask() is None
    moment[0] += 11
    assert {key(ask(study)), key(ask(study))} == {key(first), key(second)}


def test_leases_can_be_lost(opened: Study, tmp_path: Path) -> None:
    first = ask(opened)
    for path in (tmp_path / "study" / "leases").iterdir():
        path.unlink()
    assert key(ask(opened)) == key(first)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"assignment": {"source": null}}'])
def test_a_damaged_lease_is_named(opened: Study, tmp_path: Path, content: str) -> None:
    ask(opened)
    (other,) = (tmp_path / "study" / "leases").glob("*.open.json")
    other.write_text(content)
    with pytest.raises(RunError, match="is damaged"):
        opened.ask()


def test_leases_elsewhere_are_not_written_to(opened: Study, tmp_path: Path) -> None:
    ask(opened)
    (tmp_path / "study" / "leases").rename(tmp_path / "elsewhere")
    (tmp_path / "study" / "leases").symlink_to(tmp_path / "elsewhere")
    kept = sorted(os.listdir(tmp_path / "elsewhere"))
    with pytest.raises(RunError, match="a symbolic link"):
        finish(opened)
    assert len(os.listdir(tmp_path / "elsewhere")) == len(kept)


# --- directories ----------------------------------------------------------------------------------------


def test_the_same_arguments_open_a_study_and_others_are_refused(tmp_path: Path) -> None:
    study = small(tmp_path)
    study.tell(ask(study), {"accuracy": 1.0}, state={})
    assert len(small(tmp_path).result.segments) == 1
    for name, value in {"seed": 1, "lease": 5, "score": "f1", "fraction": 0.5}.items():
        key = "strategy" if name == "fraction" else name
        with pytest.raises(UsageError, match=f"{key}: the study in .* was created with"):
            small(tmp_path, **{name: value})
    with pytest.raises(UsageError, match="space: the study"):
        Study({"x": SPACE["lr"]}, score="accuracy", directory=tmp_path / "study", population=2,
              intervals=2, outputs=False)  # fmt: skip


def test_a_run_is_no_study_and_a_study_no_run(opened: Study, tmp_path: Path) -> None:
    reference(directory=tmp_path / "run", outputs=False)
    with pytest.raises(UsageError, match="holds a run"):
        Study.open(tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run and no study"):
        Study(SPACE, score="accuracy", directory=tmp_path / "run")
    for function in (popgrad.resume, popgrad.replay):
        with pytest.raises(UsageError, match="is a study, which has no task"):
            function(tmp_path / "study")
    with pytest.raises(UsageError, match="is a study, which has no task"):
        popgrad.resume(tmp_path / "study", task=TASK, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UsageError, match="exists"):
        Study(SPACE, score="accuracy", directory=tmp_path / "other")


def test_the_end_writes_the_outputs_of_a_run(tmp_path: Path) -> None:
    finish(small(tmp_path, outputs=True))
    path = tmp_path / "study"
    written = {each.name for each in path.iterdir()}
    assert {"run.toml", "history.csv", "best.json", "checkpoints.json", "results.png"} <= written
    result = popgrad.load(path)
    assert result.status.describe() == "finished 2 of 2 intervals"
    assert result.schedule().steps == 2
    (path / "checkpoints.json").unlink()
    assert Study.open(path).ask() is None  # killed before they were written
    assert (path / "checkpoints.json").exists()


def test_a_missing_checkpoint_is_named_and_cannot_be_retrained(
    opened: Study, tmp_path: Path
) -> None:
    for _ in range(2):
        opened.tell(ask(opened), {"accuracy": 1.0}, state={"x": 1})
    (checkpoint,) = (tmp_path / "study" / "checkpoints").glob("*.safetensors")
    checkpoint.rename(tmp_path / "aside")
    with pytest.raises(RunError, match="is missing, and a study cannot retrain it"):
        Study.open(tmp_path / "study")._claim_published()
    (tmp_path / "aside").rename(checkpoint)
    assert ask(Study.open(tmp_path / "study")).source == {"x": 1}


def test_collecting_garbage_keeps_what_an_open_segment_starts_from(tmp_path: Path) -> None:
    from popgrad.store.retention import collect

    study = small(tmp_path, fraction=0.5, intervals=3)
    for score in (1.0, 0.0):
        study.tell(ask(study), {"accuracy": score}, state={"x": score})
    # The donor trains on, and its heir has not started from its earlier state yet.
    study.tell(ask(study), {"accuracy": 2.0}, state={"x": 2.0})
    collect(tmp_path / "study")
    assert ask(Study.open(tmp_path / "study")).source == {"x": 1.0}
    with pytest.raises(UsageError, match="--only-winner"):
        collect(tmp_path / "study", only_winner=True)


def test_a_study_that_is_closed_opens_again(opened: Study) -> None:
    with opened:
        ask(opened)
    assert len(finish(opened)) == 1
    assert not opened.finished


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"score": None}, "score: expected the name of the metric that ranks"),
        ({"interval": "1 epoch"}, "pass epoch_steps"),
        ({"interval": "5 steps within epochs"}, "intervals of equal length"),
        ({"interval": 0}, "interval: expected a number of steps"),
        ({"epoch_steps": 0}, "epoch_steps: expected an integer"),
        ({"lease": 0}, "lease: expected seconds above 0"),
        ({"lease": True}, "lease: expected seconds above 0"),
        ({"population": 1}, "population: expected at least 2"),
        ({"space": 3}, "space: expected dimensions by name"),
        ({"space": {"lr": 3}}, "space"),
        ({"strategy": popgrad.pbt}, "got the function pbt"),
        ({"strategy": "pbtt"}, "strategy: expected pbt"),
        ({"fractoin": 0.2}, "no option 'fractoin'; did you mean 'fraction'"),
        ({"mode": "sometimes"}, "mode"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    given = {"space": SPACE, "score": "accuracy", "directory": tmp_path / "study", **keys}
    with pytest.raises(UsageError, match=message):
        Study(**given)
    assert not (tmp_path / "study").exists()


# --- kills ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("whole") / "run"
    reference(directory=path, outputs=False)
    return whole_record(path)


def survive(folder: Path, kills: list[tuple[str, int]], expected: Any) -> int:
    """Kill a caller at each moment, then train to the end; return how many were killed."""
    path = folder / "study"
    Study(TASK.space, score=TASK.score, directory=path, outputs=False, **KEYS).close()
    killed = 0
    for moment, number in kills:
        killed += kill_a_caller(path, moment, number)
        expire_leases(path)
    study = Study.open(path)
    train(study)
    assert study.finished
    assert whole_record(path) == expected
    assert not list((path / "leases").iterdir())
    return killed


SOON = {
    "after a claim",
    "after a checkpoint",
    "after a segment is recorded",
    "after a decision",
    "while offers are published",
}
"""Moments that every test run tries; the others are left to the long tests."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=() if moment in SOON else pytest.mark.long) for moment in MOMENTS],
)
def test_a_caller_that_is_killed_leaves_no_trace(
    tmp_path: Path, moment: str, expected: Any
) -> None:
    assert survive(tmp_path, [(moment, 1)], expected) == 1


@pytest.mark.long
@pytest.mark.parametrize("number", range(60))
def test_callers_that_are_killed_again_and_again_leave_no_trace(
    tmp_path: Path, number: int, expected: Any
) -> None:
    rng = random.Random(number)
    kills = [(rng.choice(list(MOMENTS)), rng.randint(1, 6)) for _ in range(4)]
    survive(tmp_path, kills, expected)


@pytest.mark.slow
def test_callers_that_create_and_train_it_together(tmp_path: Path, expected: Any) -> None:
    callers.work_together(tmp_path / "study", 3)
    assert whole_record(tmp_path / "study") == expected
    workers = {each.worker for each in popgrad.load(tmp_path / "study").telemetry.values()}
    assert all(worker.startswith("process ") for worker in workers)


def test_a_disk_that_is_full_takes_no_outcome_and_loses_none(
    opened: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment = ask(opened)

    def full(*_: Any) -> None:
        raise RunError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write", full)
        with pytest.raises(RunError, match="the disk is full"):
            Study.open(opened.directory or "").tell(assignment, {"accuracy": 1.0}, state={"x": 1})
    assert opened.result.segments == ()
    opened.tell(assignment, {"accuracy": 1.0}, state={"x": 1})
    assert len(opened.result.segments) == 1
