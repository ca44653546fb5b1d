"""Limits that depend on the record or on a callback: the run ends early, and can be continued."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import IntervalEnd, Segment, Space, Uniform, UsageError
from popgrad.engine.callbacks import Callbacks, combine
from popgrad.engine.limits import BestInterval
from spies import Spy, record

GIVEN: dict[str, Any] = {
    "population": 3,
    "intervals": 9,
    "interval": 1,
    "executor": "serial",
    "progress": False,
}


@dataclass(frozen=True)
class Scripted:
    """A task whose members have the scores of a list, one for each step."""

    scores: tuple[float, ...]
    space: Space = field(default_factory=lambda: Space({"h": Uniform(0.0, 1.0)}))
    score: str = "q"

    def init(self, hparams: Any, ctx: Any) -> Any:
        return {"step": 0}

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        return {"step": state["step"] + steps}

    def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> dict[str, float]:
        return {"q": self.scores[state["step"] - 1]}


PEAK = Scripted((0.1, 0.2, 0.5, 0.4, 0.5, 0.3, 0.6, 0.2, 0.1))


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("patience", "trained"), [(1, 4), (3, 6), (4, 9)])
def test_no_interval_starts_after_as_many_without_a_better_score(
    patience: int, trained: int, mode: Any
) -> None:
    result = popgrad.run(PEAK, patience=patience, mode=mode, strategy="random-search", **GIVEN)
    last = max(segment.interval for segment in result.segments)
    # One by one, the first member is an interval ahead of the last.
    assert trained <= last + 1 <= (trained if mode == "sync" else min(trained + 1, 9))
    assert result.stopped == ("finished" if trained == 9 else "patience")


def test_patience_counts_what_is_on_record_so_that_a_resumed_run_stops_at_the_same_interval(
    tmp_path: Path,
) -> None:
    whole = popgrad.run(PEAK, patience=3, **GIVEN)

    def interrupt(end: IntervalEnd) -> None:
        if end.interval == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(PEAK, patience=3, directory=tmp_path / "run", on_interval=interrupt, **GIVEN)
    resumed = popgrad.resume(tmp_path / "run", task=PEAK, progress=False)
    assert (resumed.stopped, resumed.segments) == ("patience", whole.segments)
    # Nothing is trained for the same patience; more of it continues.
    again = popgrad.resume(tmp_path / "run", task=PEAK, progress=False)
    assert again.segments == whole.segments
    more = popgrad.resume(tmp_path / "run", task=PEAK, patience=4, progress=False)
    assert (more.stopped, len(more.segments)) == ("finished", 27)


def test_patience_is_at_least_one() -> None:
    with pytest.raises(UsageError, match="patience"):
        popgrad.run(PEAK, patience=0, **GIVEN)


def test_the_best_interval_is_the_earliest_with_the_best_score() -> None:
    segments = popgrad.run(PEAK, **GIVEN).segments
    for order in (segments, segments[::-1]):
        best = BestInterval(order)
        assert best.stale(9) == 2
    assert BestInterval(segments[:15]).stale(5) == 2
    assert BestInterval(()).stale(1) == 1


# --- callbacks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    "callback",
    [
        {"on_interval": lambda end: end.interval == 2},
        {"on_segment": lambda segment: segment.id == (1, 2)},
    ],
    ids=["on_interval", "on_segment"],
)
def test_a_callback_that_returns_true_stops_the_run_which_can_be_continued(
    callback: dict[str, Any], mode: Any, tmp_path: Path
) -> None:
    given = {**GIVEN, "mode": mode, "fraction": 0.4}
    stopped = popgrad.run(Spy(), directory=tmp_path / "run", **callback, **given)
    assert stopped.stopped == "callback"
    assert 7 <= len(stopped.segments) <= 12
    assert popgrad.load(tmp_path / "run").stopped == "callback"
    assert stopped.winner.score == max(s.score for s in stopped.last.values())

    result = popgrad.resume(tmp_path / "run", task=Spy(), progress=False)
    assert result.stopped == "finished"
    if mode == "sync":
        popgrad.run(Spy(), directory=tmp_path / "whole", **given)
        assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_a_sync_run_stops_with_the_interval() -> None:
    for callback in (
        {"on_interval": lambda end: end.interval == 2},
        {"on_segment": lambda segment: segment.id == (0, 2)},
    ):
        result = popgrad.run(Spy(), **callback, **GIVEN)  # type: ignore[arg-type]
        assert len(result.segments) == 9


@pytest.mark.parametrize("value", [None, 1, "yes", [True]])
def test_only_true_itself_stops_a_run(value: Any) -> None:
    result = popgrad.run(Spy(), on_interval=lambda end: value, **GIVEN)
    assert result.stopped == "finished"


def test_a_callback_at_the_end_changes_nothing() -> None:
    result = popgrad.run(Spy(), on_interval=lambda end: end.decision is None, **GIVEN)
    assert result.stopped == "finished"


def test_combined_callbacks_are_both_called_and_each_may_stop() -> None:
    called: list[str] = []

    def first(segment: Segment) -> bool:
        called.append("first")
        return True

    def second(segment: Segment) -> None:
        called.append("second")

    for callbacks in (
        combine(Callbacks(first), Callbacks(second)),
        combine(Callbacks(second), Callbacks(first)),
    ):
        assert callbacks.on_segment is not None
        assert callbacks.on_segment(None) is True  # type: ignore[arg-type]
    assert sorted(called) == ["first", "first", "second", "second"]
