"""What a run has trained can be trained again: exactly, or anew under its schedule alone."""

import logging
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import RunError, UsageError
from popgrad.state import digest
from popgrad.store.journal import Journal
from spies import Spy, odd, record

GIVEN: dict[str, Any] = {
    "population": 4,
    "intervals": 5,
    "interval": 3,
    "fraction": 0.25,
    "outputs": False,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    popgrad.run(odd(), directory=directory, executor="serial", resample_probability=0.3, **GIVEN)
    return directory


@pytest.mark.parametrize("member", [None, 0, 1, 2, 3])
def test_a_lineage_that_is_trained_again_ends_with_the_same_bits(
    run: Path, member: int | None
) -> None:
    before = record(run)
    told: list[Any] = []
    found = popgrad.replay(run, member, task=odd(), on_segment=told.append)
    recorded = popgrad.load(run, task=odd())
    expected = recorded.winner.segment if member is None else recorded.lineage(member)[-1]
    assert found.identical
    assert found.differing is None
    assert found.machine == ()
    assert digest(found.winner.state) == found.winner.segment.digest == expected.digest
    assert tuple(told) == found.winner.lineage
    assert record(run) == before


def test_every_segment_is_trained_again_to_the_same_bits(run: Path) -> None:
    recorded = popgrad.load(run, task=odd())
    for segment in recorded.segments:
        member, interval = segment.id
        found = popgrad.replay(run, member, interval=interval, task=odd())
        assert found.identical
        assert found.winner.segment == segment
        assert digest(found.winner.state) == segment.digest
        assert len(found.winner.lineage) == interval + 1


def test_an_interval_without_a_member_is_the_winners(run: Path) -> None:
    winner = popgrad.load(run, task=odd()).winner.segment.member
    found = popgrad.replay(run, interval=2, task=odd())
    assert found.winner.segment.id == (winner, 2)
    fresh = popgrad.replay_schedule(run, 7, interval=2, task=odd(), progress=False)
    assert fresh.winner.segment.last_step == 9


@pytest.mark.parametrize("interval", [5, -1, "2"])
def test_a_segment_that_does_not_exist_is_refused_with_those_that_do(
    run: Path, interval: Any
) -> None:
    expected = f"no segment of member 1 in interval {interval}; its intervals lie in 0..4"
    with pytest.raises(UsageError, match=expected):
        popgrad.replay(run, 1, interval=interval, task=odd())
    with pytest.raises(UsageError, match=r"members lie in 0\.\.3"):
        popgrad.replay(run, 9, interval=0, task=odd())


def test_a_replay_reads_no_checkpoint(tmp_path: Path) -> None:
    popgrad.run(odd(), directory=tmp_path / "run", executor="processes", workers=2, **GIVEN)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    assert popgrad.replay(tmp_path / "run", task=odd()).identical


class Otherwise(Spy):
    """The first segment is trained like the record, what follows is not."""

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        state = super().train(state, hparams, steps, ctx)
        return {**state, "x": state["x"] + ctx.interval}


def test_what_comes_out_otherwise_is_said_with_where_it_began(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    popgrad.run(Spy(), directory=tmp_path / "run", executor="serial", **GIVEN)
    with pytest.raises(UsageError, match="the source of the task has changed"):
        popgrad.replay(tmp_path / "run", task=Otherwise())
    with caplog.at_level(logging.WARNING, "popgrad"):
        found = popgrad.replay(tmp_path / "run", task=Otherwise(), allow_changed_task=True)
    assert not found.identical
    assert found.differing == found.winner.lineage[1].id
    assert "was retrained and differs from the record" in caplog.text


def test_another_machine_is_said(run: Path, tmp_path: Path) -> None:
    popgrad.run(Spy(), directory=tmp_path / "run", executor="serial", **GIVEN)
    journal = Journal(tmp_path / "run" / "journal.db")
    journal.set_about(fingerprint=journal.about()["fingerprint"] | {"capability": "AVX9000"})
    journal.close()
    found = popgrad.replay(tmp_path / "run", task=Spy())
    assert found.identical
    (line,) = found.machine
    assert line.startswith("capability: 'AVX9000' -> ")


def test_a_member_that_broke_has_nothing_to_replay(tmp_path: Path) -> None:
    broken = Spy(broken={(2, 4): "raise"})
    popgrad.run(broken, directory=tmp_path / "run", executor="serial", **GIVEN)
    with pytest.raises(UsageError, match="member 2 crashed in interval 4 and has no last state"):
        popgrad.replay(tmp_path / "run", 2, task=broken)
    assert popgrad.replay(tmp_path / "run", task=broken).identical


def test_a_segment_that_fails_now_is_an_error(run: Path, tmp_path: Path) -> None:
    popgrad.run(Spy(), directory=tmp_path / "run", executor="serial", **GIVEN)
    broken = Spy(broken={(m, 0): "raise" for m in range(4)})
    with pytest.raises(RunError, match=r"(?s)was retrained and failed, .*broken on purpose"):
        popgrad.replay(tmp_path / "run", task=broken, allow_changed_task=True)


def test_an_instance_has_to_be_given_again(run: Path) -> None:
    with pytest.raises(UsageError, match=r"pass it again, popgrad\.replay\(directory, task="):
        popgrad.replay(run)


# --- the schedule alone -------------------------------------------------------------------------------


def test_a_fresh_seed_trains_one_new_model_under_the_schedule(run: Path, tmp_path: Path) -> None:
    before = record(run)
    recorded = popgrad.load(run, task=odd()).winner
    fresh = popgrad.replay_schedule(run, 7, task=odd(), keep=tmp_path / "fresh")
    assert fresh.winner.schedule == recorded.schedule
    assert fresh.config.seed == 7
    assert {segment.member for segment in fresh.segments} == {0}
    assert all(s.source in (None, (0, s.interval - 1)) for s in fresh.segments)
    assert fresh.winner.segment.digest != recorded.segment.digest
    again = popgrad.replay_schedule(run, 7, task=odd())
    assert again.segments == fresh.segments
    assert popgrad.replay_schedule(run, 8, task=odd()).segments != fresh.segments
    assert popgrad.replay(tmp_path / "fresh", task=odd()).identical
    assert record(run) == before


def test_the_schedule_of_a_member_may_be_wanted(run: Path) -> None:
    for member in (0, 3):
        recorded = popgrad.load(run, task=odd()).lineage(member)
        fresh = popgrad.replay_schedule(run, 1, member, task=odd())
        assert [s.hparams for s in fresh.segments] == [s.hparams for s in recorded]
        assert [(s.first_step, s.steps) for s in fresh.segments] == [
            (s.first_step, s.steps) for s in recorded
        ]


def test_intervals_of_epochs_come_out_as_long_as_they_were(tmp_path: Path) -> None:
    given = {**GIVEN, "interval": "1 epoch", "executor": "serial"}
    popgrad.run(
        odd(), directory=tmp_path / "run", **given
    )  # batches of 1 and of 32: epochs of 97 or 4 steps
    recorded = popgrad.load(tmp_path / "run", task=odd()).winner
    fresh = popgrad.replay_schedule(tmp_path / "run", 3, task=odd())
    assert [(s.first_step, s.steps) for s in fresh.segments] == [
        (s.first_step, s.steps) for s in recorded.lineage
    ]
    assert fresh.winner.schedule == recorded.schedule


# --- how the run was trained ----------------------------------------------------------------------------


def test_a_run_of_members_that_decide_one_by_one_is_replayed_like_any_other(tmp_path: Path) -> None:
    popgrad.run(
        Spy(), executor="processes", workers=2, mode="async", deadline=60, storage=f"file://{tmp_path}/copy",
        directory=tmp_path / "run", **GIVEN,
    )  # fmt: skip
    copied = sorted((tmp_path / "copy").rglob("*"))
    for member in range(4):
        assert popgrad.replay(tmp_path / "run", member, task=Spy()).identical
    recorded = popgrad.load(tmp_path / "run", task=Spy()).winner
    fresh = popgrad.replay_schedule(tmp_path / "run", 7, task=Spy(), keep=tmp_path / "fresh")
    assert fresh.winner.schedule == recorded.schedule
    assert sorted((tmp_path / "copy").rglob("*")) == copied


def test_a_stacked_run_is_replayed_in_a_stack_of_its_width(tmp_path: Path) -> None:
    given = {**GIVEN, "space": {"batch_size": {"kind": "constant", "value": 32}}}
    popgrad.run(odd(), executor="vectorised", directory=tmp_path / "run", **given)
    for member in range(4):
        assert popgrad.replay(tmp_path / "run", member, task=odd()).identical
