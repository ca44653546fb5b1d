"""The executor that waits for callers; tests/contracts/test_executors.py has what all executors keep."""

import pytest
import torch

from popgrad.core.errors import RunError, UsageError
from popgrad.core.segment import Assignment, Telemetry
from popgrad.executors.ask_tell import AskTell, NoOutcomeYet
from popgrad.state import State, digest
from popgrad.tasks import Quadratic


def assign(member: int, first_step: int = 0, *, checkpoint: bool = True) -> Assignment:
    return Assignment(member, 0, None, {}, 1, first_step, 5, checkpoint)


@pytest.fixture
def executor() -> AskTell:
    return AskTell(Quadratic(), [])


def test_it_never_blocks(executor: AskTell) -> None:
    executor.submit([assign(0), assign(1)])
    with pytest.raises(NoOutcomeYet):
        executor.next()
    executor.report((1, 0), {"q": 1}, {"x": 1})
    assert executor.next().id == (1, 0)
    with pytest.raises(NoOutcomeYet):
        executor.next()


def test_the_least_trained_segment_is_offered_first(executor: AskTell) -> None:
    executor.submit([assign(0, 10), assign(1, 5), assign(2, 5)])
    assert [attempt.assignment.member for attempt in executor.offered] == [1, 2, 0]


def test_outcomes_come_in_the_order_of_the_reports(executor: AskTell) -> None:
    executor.submit([assign(member) for member in range(3)])
    for member in (2, 0, 1):
        executor.report((member, 0), {"q": member}, {"x": member, "position": member})
    outcomes = [executor.next() for _ in range(3)]
    assert [outcome.id[0] for outcome in outcomes] == [2, 0, 1]
    assert [outcome.samples for outcome in outcomes] == [2, 0, 1]
    assert outcomes[0].digest == digest({"x": 2, "position": 2})


def test_a_failure_is_settled_with_its_earlier_attempts(executor: AskTell) -> None:
    executor.submit([assign(0), assign(1)])
    assert not executor.report_failure((0, 0), "first")
    assert not executor.report_failure((0, 0), "second")
    assert executor.report_failure((0, 0), "third", telemetry=Telemetry(2.0, "caller"))
    outcome = executor.next()
    assert (outcome.error, outcome.telemetry.worker) == ("first", "caller")
    assert executor.report_failure((1, 0), "third", earlier=["first", "second"])


def test_no_failure_is_taken_for_one_that_concerns_all(executor: AskTell) -> None:
    error = 'Traceback (most recent call last):\n  File "x.py", line 3, in f\nNameError: no\n'
    executor.submit([assign(0)])
    assert not executor.report_failure((0, 0), error)
    assert executor.report_failure((0, 0), error)  # it repeats itself at its line
    assert not executor.next().repeated


def test_a_checkpoint_is_written_before_there_is_an_outcome() -> None:
    written: list[str] = []

    def save(name: str, tree: object, leaves: object) -> None:
        if len(written) == 1:
            raise RunError("the disk is full")
        written.append(name)

    executor = AskTell(Quadratic(), [], save)
    executor.submit([assign(0), assign(1), assign(2, checkpoint=False)])
    executor.report((0, 0), {"q": 1}, {"x": torch.ones(2)})
    assert written == [executor.next().digest]
    with pytest.raises(RunError, match="the disk is full"):
        executor.report((1, 0), {"q": 1}, {"x": 1})
    assert [attempt.assignment.member for attempt in executor.offered] == [1, 2]
    executor.report((2, 0), {"q": 1}, {"x": 2})
    assert len(written) == 1


def test_stored_states_are_not_held() -> None:
    class Stored:
        def holds(self, segment: tuple[int, int]) -> bool:
            return segment == (3, 3)

        def state(self, segment: tuple[int, int]) -> State:
            return {"stored": list(segment)}

    executor = AskTell(Quadratic(), [], lambda *_: None, stored=Stored())
    executor.submit([assign(0)])
    executor.report((0, 0), {"q": 1}, {"x": 1})
    assert not executor.holds((0, 0))
    assert executor.holds((3, 3))
    assert executor.state((3, 3)) == {"stored": [3, 3]}


def test_a_deadline_is_refused_and_there_is_no_arithmetic() -> None:
    with pytest.raises(UsageError, match="deadline: callers train"):
        AskTell(Quadratic(), [], deadline=1.0)
    assert AskTell(Quadratic(), []).fingerprint == {}
