"""What every tracker keeps: the built-in ones, and one of the user's own."""

import os
import threading
from pathlib import Path

import pytest
from tests.trackers.conftest import KINDS, expected, same

import popgrad
from popgrad.record.schedule import Schedule
from popgrad.tasks.evaluation import generator_states, seed_generators
from popgrad.tasks.toys import Quadratic

pytestmark = pytest.mark.parametrize("place", KINDS, indirect=True)


def test_each_member_has_one_run_with_all_points_of_its_slot(place, train):
    result = train(task="digits", tracker=place.tracker, log_every=3)
    assert any(
        segment.source not in (None, (segment.member, segment.interval - 1))
        for segment in result.segments
    )
    assert same(place.read(), expected(result))


def test_steps_never_run_back(place, train):
    train(tracker=place.tracker)
    for curves in place.read().values():
        for curve in curves.values():
            steps = [step for step, _ in curve]
            assert steps == sorted(set(steps))


def test_the_record_is_the_same_with_and_without_a_tracker(place, train, tmp_path):
    plain = train(directory=tmp_path / "plain")
    followed = train(tracker=place.tracker)
    assert followed.segments == plain.segments
    assert followed.record.decisions == plain.record.decisions
    assert followed.winner.segment.digest == plain.winner.segment.digest


def test_a_resumed_run_continues_the_same_runs(place, train, tmp_path):
    train(tracker=place.tracker, intervals=2)
    own = {} if isinstance(place.tracker, str) else {"tracker": place.tracker}
    result = popgrad.resume(tmp_path / "run", intervals=4, progress=False, **own)
    assert same(place.read(), expected(result))


def test_a_tracker_that_comes_later_gets_what_is_recorded(place, train, tmp_path):
    train(intervals=2)
    result = popgrad.resume(tmp_path / "run", intervals=3, progress=False, tracker=place.tracker)
    assert same(place.read(), expected(result))


def test_a_finished_run_that_is_resumed_logs_nothing_twice(place, train, tmp_path):
    result = train(tracker=place.tracker, intervals=2)
    popgrad.resume(tmp_path / "run", progress=False, tracker=place.tracker)
    assert same(place.read(), expected(result))


def interrupt(error):
    def on_segment(segment):
        if segment.interval == 1:
            raise error

    return on_segment


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "killed"), (ValueError("mine"), "failed")]
)
def test_the_end_of_a_run_is_that_of_its_runs(place, train, tmp_path, error, status):
    with pytest.raises(type(error)):
        train(tracker=place.tracker, on_segment=interrupt(error))
    if place.statuses is not None:
        assert place.statuses() == {status}

    result = popgrad.resume(tmp_path / "run", progress=False, tracker=place.tracker)
    if place.statuses is not None:
        assert place.statuses() == {"finished"}
    assert same(place.read(), expected(result))


class Crashes(Quadratic):
    """A task of which members with a large h0 crash in their second interval."""

    def train(self, state, hparams, steps, ctx):
        if hparams["h0"] > 0.9 and state["theta"] != [0.9, 0.9]:
            raise ValueError("h0 is too large")
        return super().train(state, hparams, steps, ctx)


def test_a_member_that_crashed_is_marked(place, train):
    initial = [{"h0": h0, "h1": 0.5} for h0 in (0.95, 0.1, 0.2, 0.3)]
    result = train(task=Crashes(), tracker=place.tracker, initial=initial)
    found = place.read()
    assert same(found, expected(result))
    crashed = {segment.member for segment in result.segments if segment.failed}
    assert crashed
    for member, curves in found.items():
        assert (1.0 in [value for _, value in curves["lineage/failed"]]) == (member in crashed)


class Switched(Quadratic):
    """A task that crashes while a file exists."""

    def train(self, state, hparams, steps, ctx):
        if Path("broken").exists():
            raise ValueError("broken")
        return super().train(state, hparams, steps, ctx)


def test_segments_that_are_trained_again_follow_their_failures(place, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken").write_text("")
    with pytest.raises(popgrad.PopgradError, match="broken"):
        train(task=Switched(), tracker=place.tracker, intervals=2)
    Path("broken").unlink()
    popgrad.resume(tmp_path / "run", task=Switched(), progress=False, tracker=place.tracker)
    for curves in place.read().values():
        assert [step for step, _ in curves["score/q"]] == [10, 20]
        for curve in curves.values():
            steps = [step for step, _ in curve]
            assert steps == sorted(steps)


def test_the_winner_is_kept(place, train, tmp_path):
    if place.files is None:
        pytest.skip("it keeps no files; they lie beside its own")
    result = train(task="digits", tracker=place.tracker, intervals=2)
    files = place.files()
    assert set(files) == {"schedule.json", "run.toml", "best.json", "best.safetensors"}
    assert files["best.safetensors"] == (tmp_path / "run" / "best.safetensors").read_bytes()
    assert Schedule.from_json(files["schedule.json"].decode()) == result.winner.schedule


def test_the_callers_generators_are_left_alone(place, train):
    seed_generators(3)
    before = str(generator_states())
    train(tracker=place.tracker, intervals=2)
    assert str(generator_states()) == before


def test_nothing_is_written_to_the_terminal(place, train, capfd):
    train(tracker=place.tracker, intervals=2)
    assert capfd.readouterr() == ("", "")


def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux lists children in /proc")
def test_no_process_and_no_thread_is_left(place, train):
    before = set(children())
    train(tracker=place.tracker, intervals=2)
    assert set(children()) <= before
    assert not [each for each in threading.enumerate() if "wandb" in each.name.lower()]
