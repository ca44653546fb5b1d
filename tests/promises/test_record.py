"""Each promise once, on whole runs; the details are tested where the parts are."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import Context, RunError, Segment, TorchTask
from popgrad.state import digest
from popgrad.store.checkpoints import Checkpoints
from spies import odd


@dataclass
class Witness:
    """A task of odd shapes that notes what it is given, and can be told to fail.

    Attributes:
        received: (member, interval) -> digest of the state that it was given, where it was not fresh.
        obeyed: (member, interval) -> the hyperparameters and steps that it was given.
        failing: (member, interval) of segments that raise, always.
    """

    task: TorchTask = field(default_factory=odd)
    received: dict[Any, str] = field(default_factory=dict)
    obeyed: dict[Any, Any] = field(default_factory=dict)
    failing: frozenset[tuple[int, int]] = frozenset()

    @property
    def space(self) -> popgrad.Space:
        return self.task.space

    @property
    def score(self) -> str:
        return self.task.score

    def init(self, hparams: Any, ctx: Context) -> dict[str, Any]:
        return self.task.init(hparams, ctx)

    def train(
        self, state: dict[str, Any], hparams: Any, steps: int, ctx: Context
    ) -> dict[str, Any]:
        if (ctx.member, ctx.interval) in self.failing:
            raise ArithmeticError("told to fail")
        self.received[ctx.member, ctx.interval] = digest(state)
        self.obeyed[ctx.member, ctx.interval] = (dict(hparams), steps)
        return self.task.train(state, hparams, steps, ctx)

    def evaluate(
        self, state: dict[str, Any], hparams: Any, split: Any, ctx: Context
    ) -> Mapping[str, float]:
        assert split == "validation"
        return self.task.evaluate(state, hparams, split, ctx)


def train(task: Any, **given: Any) -> popgrad.Result:
    return popgrad.run(
        task,
        **{
            "population": 5,
            "intervals": 4,
            "interval": 3,
            "executor": "serial",
            "fraction": 0.4,
            **given,
        },
    )


@pytest.fixture(scope="module")
def witnessed() -> tuple[Witness, popgrad.Result]:
    witness = Witness()
    return witness, train(witness)


def test_p1_same_seed_same_run_in_any_executor() -> None:
    record = train(odd()).segments
    assert train(odd()).segments == record
    assert train(odd(), executor="processes", workers=2).segments == record
    assert train(odd(), seed=1).segments != record


def test_p2_a_run_that_was_stopped_becomes_one_that_never_was(tmp_path: Path) -> None:
    def stop(segment: Segment) -> None:
        if segment.id == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(odd(), directory=tmp_path / "run", on_segment=stop)
    assert popgrad.resume(tmp_path / "run", task=odd()).segments == train(odd()).segments


def test_p3_a_lineage_that_is_trained_again_gives_the_same_bits(tmp_path: Path) -> None:
    result = train(odd(), executor="processes", workers=2, directory=tmp_path / "run")
    for member in range(5):
        replayed = popgrad.replay(tmp_path / "run", member, task=odd())
        assert replayed.identical
        assert digest(replayed.winner.state) == result.lineage(member)[-1].digest
    fresh = popgrad.replay_schedule(tmp_path / "run", 1, task=odd())
    assert fresh.winner.schedule == result.winner.schedule
    assert fresh.winner.segment.digest != result.winner.segment.digest


def test_p4_an_heir_starts_from_all_of_its_donors_state(
    witnessed: tuple[Witness, popgrad.Result],
) -> None:
    witness, result = witnessed
    digests = {segment.id: segment.digest for segment in result.segments}
    heirs = [s for s in result.segments if s.source is not None and s.source[0] != s.member]
    assert len(heirs) == 6  # two of five, at each of three decisions
    for segment in result.segments:
        if segment.source is not None:
            assert witness.received[segment.id] == digests[segment.source]


def test_p5_the_record_is_what_ran(witnessed: tuple[Witness, popgrad.Result]) -> None:
    witness, result = witnessed
    assert {s.id: (s.hparams, s.steps) for s in result.segments} == witness.obeyed


def test_p6_decisions_never_see_test_data(witnessed: tuple[Witness, popgrad.Result]) -> None:
    _, result = witnessed  # the task refuses any split but the validation split
    assert all(segment.status == "done" for segment in result.segments)


def test_p7_every_value_stays_in_its_space(witnessed: tuple[Witness, popgrad.Result]) -> None:
    witness, result = witnessed
    for segment in result.segments:
        assert witness.space.check(segment.hparams) == segment.hparams


def test_p8_a_failed_member_is_replaced_and_the_others_go_on() -> None:
    result = train(Witness(failing=frozenset({(0, 1), (3, 1), (4, 1)})))
    by_id = {segment.id: segment for segment in result.segments}
    for member in (0, 3, 4):
        assert "told to fail" in by_id[member, 1].error
        assert by_id[member, 2].source in {(1, 1), (2, 1)}
        assert by_id[member, 2].status == "done"
    assert len(result.segments) == 20


def test_p9_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> Any:
            return marker.touch, ()

    checkpoints = Checkpoints(tmp_path)
    checkpoints.path("a" * 64).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(RunError, match="not a checkpoint"):
        checkpoints.load("a" * 64)
    assert not marker.exists()
