"""The fastest executor is chosen by the clock, and the reason is told."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import RunError, UsageError
from popgrad.core.segment import Assignment, Outcome
from popgrad.executors import auto
from spies import Plain, odd


class Clock:
    """Time that passes only when something takes it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Timed:
    """An executor that takes the time that it is told to take."""

    def __init__(
        self, clock: Clock, start: float, segment: float, step: float, together: int
    ) -> None:
        self.clock, self.segment, self.step, self.together = clock, segment, step, together
        self.clock.now += start
        self.done: list[Assignment] = []
        self.closed = False

    def submit(self, assignments: Sequence[Assignment]) -> None:
        assert not any(each.checkpoint for each in assignments)
        turns = -(-len(assignments) // self.together)
        self.clock.now += turns * (self.segment + assignments[0].steps * self.step)
        self.done += assignments

    def next(self) -> Outcome:
        return Outcome(self.done.pop().id)

    def retain(self, segments: Any) -> None:
        assert not self.done

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(auto, "time", clock)
    return clock


def assignments(members: int = 8, steps: int = 100) -> list[Assignment]:
    return [Assignment(m, 0, None, {}, 0, 0, steps) for m in range(members)]


def makers(clock: Clock, **given: tuple[float, float, float, int]) -> dict[str, Callable[[], Any]]:
    return {name: lambda each=each: Timed(clock, *each) for name, each in given.items()}


@pytest.mark.parametrize(
    ("serial_step", "intervals", "best"),
    [
        (0.001, 5, "serial"),  # 8 x 5 x 0.1 s: over before a worker has started
        (0.001, 20, "processes"),  # 16 s: half of it, and 2 s to start
        (0.001, 2000, "stacked"),
    ],
)
def test_what_takes_least_for_the_whole_run_is_chosen(
    clock: Clock, serial_step: float, intervals: int, best: str
) -> None:
    given = makers(
        clock,
        serial=(0.0, 0.01, serial_step, 1),
        processes=(2.0, 0.01, serial_step, 2),
        stacked=(12.0, 0.02, 2 * serial_step, 8),
    )
    name, why = auto.fastest(given, {"processes": 2, "stacked": 8}, assignments(), intervals)
    assert name == best
    assert f"to repeat it: --executor {best}" in why


def test_paces_are_what_they_are(clock: Clock) -> None:
    pace = auto._measure(makers(clock, it=(1.5, 0.03, 0.002, 2))["it"], assignments(2))
    assert (pace.start, pace.segment, pace.step) == pytest.approx((1.5, 0.03, 0.002))
    assert pace.seconds(8, 10, 100) == pytest.approx(1.5 + 10 * 4 * (0.03 + 100 * 0.002))


def test_one_that_cannot_train_the_task_is_left_out_with_its_reason(clock: Clock) -> None:
    def refuse() -> Any:
        raise UsageError("members cannot be stacked")

    def broken() -> Any:
        raise RunError("no worker starts")

    given = {**makers(clock, serial=(0.0, 0.0, 1.0, 1)), "stacked": refuse, "processes": broken}
    name, why = auto.fastest(given, {"processes": 2, "stacked": 8}, assignments(), 10)
    assert name == "serial"
    assert "not stacked: members cannot be stacked" in why
    assert "not processes: no worker starts" in why


def test_a_task_that_fails_is_said_at_once(clock: Clock) -> None:
    class Failing(Timed):
        def next(self) -> Outcome:
            return Outcome(self.done.pop().id, error="ZeroDivisionError")

    with pytest.raises(
        UsageError, match="executor: none can be chosen, since the task fails: ZeroDiv"
    ):
        auto.fastest({"serial": lambda: Failing(clock, 0, 0, 1, 1)}, {}, assignments(), 10)


def test_the_choice_is_stored_told_and_obeyed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {"population": 3, "intervals": 2, "interval": 2, "outputs": False}
    with caplog.at_level(logging.INFO, "popgrad"):
        result = popgrad.run(odd(), executor="auto", directory=tmp_path / "auto", **given)
    (line,) = [message for message in caplog.messages if message.startswith("executor ")]
    chosen = result.config.executor
    assert line.startswith(f"executor {chosen}, measured for the whole run: ")
    assert f'executor = "{chosen}"' in (tmp_path / "auto" / "run.toml").read_text()
    caplog.clear()
    with caplog.at_level(logging.INFO, "popgrad"):
        again = popgrad.resume(tmp_path / "auto", task=odd(), intervals=3)
    assert not [message for message in caplog.messages if message.startswith("executor ")]
    assert (
        again.segments == popgrad.run(odd(), executor=chosen, **{**given, "intervals": 3}).segments
    )


def test_a_task_that_counts_no_epochs_can_be_tried_too() -> None:
    result = popgrad.run(Plain(), executor="auto", population=3, intervals=2, interval=2)
    assert result.config.executor == "serial"
