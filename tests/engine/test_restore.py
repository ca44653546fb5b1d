"""States that are needed and not there are trained again, and are what they were."""

import logging
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import AllMembersFailedError, RunError, Segment, TorchTask
from popgrad.store.directory import Directory
from spies import Spy, odd, read, record

GIVEN: dict[str, Any] = {
    "population": 4,
    "intervals": 6,
    "interval": 2,
    "executor": "serial",
    "fraction": 0.25,
    "outputs": False,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupts."""
    directory = tmp_path_factory.mktemp("whole")
    popgrad.run(odd(), directory=directory, **GIVEN)
    return directory


def interrupted(directory: Path, *, after: int, task: Any = None, **given: Any) -> None:
    """A run that ends after so many segments."""
    count = 0

    def stop(_: Segment) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(task or odd(), directory=directory, on_segment=stop, **{**GIVEN, **given})


def checkpoints(directory: Path) -> list[Path]:
    return sorted((directory / "checkpoints").iterdir())


class Counting:
    """The task of odd shapes, that counts the segments it trains."""

    def __init__(self) -> None:
        self.task: TorchTask = odd()
        self.trained: list[tuple[int, int]] = []
        self.space, self.score, self.evaluate = self.task.space, self.task.score, self.task.evaluate
        self.init = self.task.init

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        self.trained.append((ctx.member, ctx.interval))
        return self.task.train(state, hparams, steps, ctx)


@pytest.mark.parametrize("after", [1, 5, 13, 20, 23])
@pytest.mark.parametrize("every", [1, 2, 4, 9])
def test_fewer_checkpoints_cost_training_and_never_a_result(
    every: int, after: int, whole: Path, tmp_path: Path
) -> None:
    interrupted(tmp_path / "run", after=after, checkpoint_every=every)
    counting = Counting()
    popgrad.resume(tmp_path / "run", task=counting, allow_changed_task=True)
    assert record(tmp_path / "run") == record(whole)
    again = len(counting.trained) - (24 - after)
    assert again >= 0
    if every == 1:
        assert again == 0
    if (
        every == 9 and after > 4
    ):  # nothing has been kept: all that the next ones start from is trained again
        assert again >= 4


def test_the_last_states_are_kept_however_seldom_checkpoints_are_due(
    whole: Path, tmp_path: Path
) -> None:
    for given in ({"checkpoint_every": 4}, {"checkpoint_every": 99, "target_score": 0.0}):
        directory = tmp_path / str(given["checkpoint_every"])
        result = popgrad.run(odd(), directory=directory, **{**GIVEN, **given})
        last = {s.digest for s in result.segments if s.interval == result.segments[-1].interval}
        assert {path.stem for path in checkpoints(directory)} >= last
    assert record(tmp_path / "4") == record(whole)


def test_space_is_bounded(tmp_path: Path) -> None:
    counts: list[int] = []

    def count(_: Any) -> None:
        counts.append(len(checkpoints(tmp_path / "run")))

    popgrad.run(odd(), directory=tmp_path / "run", on_interval=count, **{**GIVEN, "intervals": 12})
    assert (
        max(counts) <= 3 * 4
    )  # a member's last state, its best, and one that waits for its successor
    assert len(checkpoints(tmp_path / "run")) <= 2 * 4


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [lose, cut, alter, empty])
@pytest.mark.parametrize("which", ["one", "all"])
def test_a_checkpoint_that_is_damaged_is_trained_again(
    damage: Any, which: str, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(tmp_path / "run", after=12)
    broken = checkpoints(tmp_path / "run")[: 1 if which == "one" else None]
    for path in broken:
        damage(path)
    with caplog.at_level(logging.WARNING, "popgrad"):
        popgrad.resume(tmp_path / "run", task=odd())
    assert record(tmp_path / "run") == record(whole)
    said = "\n".join(caplog.messages)
    if which == "all":
        assert "have no checkpoint and are retrained" in said
        assert ("the file is deleted, and its segment is retrained" in said) == (damage is not lose)


def test_the_winner_of_a_finished_run_is_had_again_by_resume(whole: Path, tmp_path: Path) -> None:
    popgrad.run(odd(), directory=tmp_path / "run", **GIVEN)
    before = record(tmp_path / "run")
    for path in checkpoints(tmp_path / "run"):
        path.unlink()
    with pytest.raises(RunError, match=r"checkpoint .* is missing"):
        _ = popgrad.load(tmp_path / "run", task=odd()).winner.state
    assert popgrad.resume(tmp_path / "run", task=odd()).winner.segment.digest
    assert record(tmp_path / "run") == before == record(whole)


def test_what_comes_out_otherwise_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", after=12)
    before, _ = record(tmp_path / "run")
    for path in checkpoints(tmp_path / "run"):
        path.unlink()

    class Other(Counting):
        def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
            return super().train(state, hparams, steps + 1, ctx)

    with pytest.raises(RunError, match=r"was retrained and differs from the record \(digest "):
        popgrad.resume(tmp_path / "run", task=Other(), allow_changed_task=True)
    assert record(tmp_path / "run")[0] == before


# --- nobody left --------------------------------------------------------------------------------------


def test_when_all_have_broken_the_run_goes_on_once_the_cause_is_gone(tmp_path: Path) -> None:
    given = {**GIVEN, "population": 3}
    popgrad.run(Spy(), directory=tmp_path / "whole", **given)
    broken = Spy(broken={(m, 2): "raise" for m in range(3)})
    with pytest.raises(
        AllMembersFailedError, match=r"(?s)all 3 members have failed.*ZeroDivisionError"
    ):
        popgrad.run(broken, directory=tmp_path / "run", **given)
    assert [s.status for s in popgrad.load(tmp_path / "run").segments][-3:] == ["failed"] * 3
    popgrad.resume(tmp_path / "run", task=Spy(), allow_changed_task=True)
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_scores_that_are_not_finite_would_come_again_and_stay(tmp_path: Path) -> None:
    diverged = Spy(broken={(m, 2): "nan" for m in range(4)})
    with pytest.raises(AllMembersFailedError, match="none of the 4 members has a finite score"):
        popgrad.run(diverged, directory=tmp_path / "run", **GIVEN)
    before = record(tmp_path / "run")
    with pytest.raises(AllMembersFailedError, match="none of the 4 members has a finite score"):
        popgrad.resume(tmp_path / "run", task=diverged)
    assert record(tmp_path / "run") == before


def test_a_failure_that_a_decision_has_seen_stays(tmp_path: Path) -> None:
    broken = Spy(broken={(0, 1): "raise"})
    interrupted(tmp_path / "run", after=14, task=broken)
    popgrad.resume(tmp_path / "run", task=Spy(), allow_changed_task=True)
    failed = [s.id for s in read(tmp_path / "run")[0] if s.failed]
    assert failed == [(0, 1)]


def test_what_killed_writers_left_is_cleared_away(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", after=5)
    left = Directory(tmp_path / "run").checkpoints.folder / ".0123.part"
    left.write_bytes(b"half a checkpoint")
    popgrad.resume(tmp_path / "run", task=odd())
    assert not left.exists()
