"""The engine's promises: the record is what ran, inheritance is real, a failed member is not the end."""

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from popgrad import (
    AllMembersFailedError,
    Plan,
    RunError,
    Segment,
    Strategy,
    UsageError,
    pbt,
    random_search,
)
from popgrad.core.initial import first_hparams
from popgrad.core.interval import parse_interval
from popgrad.core.seeding import Rng
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.engine.limits import Limits
from popgrad.engine.loop import Engine
from popgrad.executors import Serial
from popgrad.record import lineage
from popgrad.state import digest
from popgrad.store.journal import Journal
from spies import SPACE, Plain, Spy, shortened


class Trained:
    """A run without files, and all that it left."""

    def __init__(
        self,
        task: Any = None,
        *,
        strategy: Strategy | None = None,
        intervals: int = 5,
        **given: Any,
    ) -> None:
        task = task or Spy()
        self.journal = Journal(None, create=True)
        self.told: list[IntervalEnd] = []
        self.finished: list[Segment] = []
        self.engine = Engine(
            task,
            strategy or pbt(task.space, fraction=0.4),
            partial(Serial, task, [torch.device("cpu")]),
            self.journal,
            None,
            seed=given.pop("seed", 0),
            size=given.pop("size", 5),
            interval=parse_interval(given.pop("interval", "3")),
            callbacks=Callbacks(self.finished.append, self.told.append),
            **given,
        )
        try:
            self.stopped = self.engine.run(Limits(intervals))
        finally:
            self.engine.close()
            self.segments, self.decisions = self.journal.segments(), self.journal.decisions()
            self.by_id = {segment.id: segment for segment in self.segments}


@pytest.fixture(scope="module")
def ran() -> Trained:
    return Trained()


def test_the_record_holds_what_the_task_was_given(ran: Trained) -> None:
    for s in ran.segments:
        given = {"lr": s.hparams["lr"], "mix": s.hparams["mix"], "width": float(s.hparams["width"]),
                 "kind": float("abc".index(str(s.hparams["kind"])))}  # fmt: skip
        assert {name: s.metrics[name] for name in given} == given
        assert s.metrics["first_step"] == s.first_step
        assert s.metrics["steps"] == s.last_step == s.first_step + 3


def test_the_record_holds_what_the_plan_said(ran: Trained) -> None:
    for decision in ran.decisions:
        plan = decision.plan
        assert plan.members == tuple(range(5))
        for member, source, hparams, changes in zip(
            plan.members, plan.sources, plan.hparams, plan.changes, strict=True
        ):
            segment = ran.by_id[member, decision.number + 1]
            assert segment.source == (source, decision.number)
            assert (segment.hparams, segment.changes) == (hparams, changes)


def test_an_heir_starts_from_its_donors_final_state_of_that_interval(ran: Trained) -> None:
    heirs = [s for s in ran.segments if s.id in lineage.inherited(ran.segments)]
    assert heirs
    for s in ran.segments:
        if s.source is not None:
            donor = ran.by_id[s.source]
            assert s.source[1] == s.interval - 1
            assert s.metrics["at_start"] == donor.metrics["end"] == shortened(donor.digest)
            assert s.first_step == donor.last_step


def test_exploring_leaves_alone_what_is_init_only(ran: Trained) -> None:
    for s in ran.segments:
        if s.id in lineage.inherited(ran.segments):
            donor = ran.by_id[s.source]  # type: ignore[index]
            assert s.hparams["width"] == donor.hparams["width"]
            assert s.hparams["lr"] != donor.hparams["lr"]


def test_every_recorded_value_is_in_the_space(ran: Trained) -> None:
    for s in ran.segments:
        assert SPACE.check(s.hparams) == s.hparams
        assert set(s.changes) == set(SPACE)


@pytest.mark.parametrize("intervals", [1, 2, 4])
def test_one_decision_less_than_intervals_and_nobody_is_evaluated_after_inheriting(
    intervals: int,
) -> None:
    ran = Trained(intervals=intervals)
    assert [d.number for d in ran.decisions] == list(range(intervals - 1))
    assert [s.id[::-1] for s in ran.segments] == list(itertools.product(range(intervals), range(5)))
    assert [end.decision is None for end in ran.told] == [False] * (intervals - 1) + [True]
    assert ran.stopped == "finished"


def test_watchers_are_told_of_each_segment_and_each_interval(ran: Trained) -> None:
    assert sorted(s.id for s in ran.finished) == sorted(ran.by_id)
    assert [end.interval for end in ran.told] == list(range(5))
    for end in ran.told:
        assert end.segments == tuple(s for s in ran.segments if s.interval == end.interval)
    assert [end.decision for end in ran.told[:-1]] == ran.decisions
    assert sorted(end.seconds for end in ran.told) == [end.seconds for end in ran.told]


def test_same_seed_same_run_and_another_seed_another(ran: Trained) -> None:
    again, other = Trained(), Trained(seed=1)
    assert (again.segments, again.decisions) == (ran.segments, ran.decisions)
    assert other.segments != ran.segments


@pytest.mark.parametrize("how", ["nan", "inf", "-inf", "raise"])
def test_a_failed_member_is_recorded_and_replaced_at_the_next_decision(how: str) -> None:
    ran = Trained(Spy(broken={(2, 1): how}))
    failed = ran.by_id[2, 1]
    assert (failed.status, failed.failed) == ("failed", True)
    assert ("broken on purpose" if how == "raise" else f"is {how}") in failed.error
    assert [s.id for s in ran.segments if s.failed] == [(2, 1)]
    source = ran.by_id[2, 2].source
    assert source is not None
    assert source[0] != 2
    assert not ran.by_id[source].failed
    assert len(ran.segments) == 25


def test_failed_members_are_replaced_beyond_half_of_the_population() -> None:
    ran = Trained(Spy(broken=dict.fromkeys([(0, 0), (1, 0), (2, 0), (4, 0)], "nan")))
    assert ran.decisions[0].plan.sources == (3, 3, 3, 3, 3)
    assert all(not s.failed for s in ran.segments if s.interval > 0)


def test_where_nobody_is_copied_a_failed_member_stays_failed_and_the_others_go_on() -> None:
    ran = Trained(Spy(broken={(2, 1): "raise", (4, 0): "nan"}), strategy=random_search(SPACE))
    assert [s.interval for s in ran.segments if s.member == 2] == [0, 1]
    assert [s.interval for s in ran.segments if s.member == 4] == [0]
    assert [s.id for s in ran.segments if s.interval == 4] == [(0, 4), (1, 4), (3, 4)]
    assert all(s.source in (None, (s.member, s.interval - 1)) for s in ran.segments)


@pytest.mark.parametrize("last", [0, 2, 4])
@pytest.mark.parametrize("make", [pbt, random_search])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raise", "all 5 members have failed.*broken on purpose: member 0, interval {}"),
        ("nan", r"finite score.*the score \(q\) is nan"),
    ],
)
def test_the_run_stops_when_nobody_is_left_and_says_what_failed_first(
    how: str, says: str, make: Any, last: int
) -> None:
    task = Spy(broken={(m, last): how for m in range(5)})
    with pytest.raises(AllMembersFailedError, match=f"(?s){says.format(last)}"):
        Trained(task, strategy=make(SPACE))


def test_the_record_stays_when_nobody_is_left() -> None:
    journal: list[Segment] = []
    task = Spy(broken={(m, 1): "nan" for m in range(2)})
    engine = Engine(
        task, pbt(SPACE), partial(Serial, task, [torch.device("cpu")]), Journal(None, create=True), None,
        seed=0, size=2, interval=parse_interval("1"), callbacks=Callbacks(on_segment=journal.append),
    )  # fmt: skip
    with pytest.raises(AllMembersFailedError, match="score \\(q\\) is nan"):
        engine.run(Limits(3))
    engine.close()
    assert [s.status for s in journal] == ["done", "done", "failed", "failed"]


def test_a_score_that_ranks_by_the_least_is_turned_round() -> None:
    ran = Trained(Spy(score="-q"))
    assert all(s.score == -s.metrics["q"] for s in ran.segments)


def test_a_score_that_the_task_does_not_evaluate_is_refused() -> None:
    with pytest.raises(UsageError, match="'accuracy', but it evaluates q, at_start"):
        Trained(Spy(score="accuracy"))


def test_an_interval_in_epochs_needs_a_task_that_counts_them() -> None:
    with pytest.raises(UsageError, match="interval: a Plain counts no epochs"):
        Trained(Plain(), interval="1 epoch")


def test_a_strategy_decides_with_its_memory_and_its_hyperparameters_are_checked() -> None:
    seen: list[Any] = []

    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        seen.append((memory["count"], population.scores.tolist(), population.intervals.tolist()))
        with pytest.raises(ValueError, match="read-only"):
            population.scores[0] = 0.0
        hparams = tuple({**population.hparams[i], "mix": memory["count"] / 2} for i in ready)
        plan = Plan((0, 1), (1, 0), hparams, tuple({"mix": "given"} for _ in ready))
        return plan, {"count": memory["count"] + 1}

    swap = Strategy(init=lambda: {"count": 0}, step=step)
    ran = Trained(strategy=swap, size=2, intervals=4)
    assert [s.source for s in ran.segments[2:]] == [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2), (0, 2)]
    assert [s.hparams["mix"] for s in ran.segments[2:]] == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert [count for count, *_ in seen] == [0, 1, 2]
    assert [d.memory for d in ran.decisions] == [{"count": 1}, {"count": 2}, {"count": 3}]
    assert seen[1][1:] == ([s.score for s in ran.segments[2:4]], [2, 2])
    with pytest.raises(UsageError, match=r"the plan for member 0.mix: expected .*, got 1.5"):
        Trained(strategy=swap, size=2, intervals=5)


def test_a_plan_is_checked_also_where_a_member_keeps_its_weights() -> None:
    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        hparams = tuple({**each, "lr": 7.0} for each in population.hparams)
        return Plan((0, 1), (0, 1), hparams, ({}, {})), memory

    with pytest.raises(UsageError, match=r"the plan for member 0.lr: expected .*, got 7.0"):
        Trained(strategy=Strategy(init=dict, step=step), size=2)


@pytest.mark.parametrize(
    ("members", "sources", "why"),
    [
        ((0,), (0,), "the strategy's plan is for"),
        ((0, 0), (0, 0), "the strategy's plan is for"),
        ((0, 1), (0,), "the strategy's plan is for"),
        ((0, 1), (0, 2), "inherit from 2, which has no state"),
        ((0, 1), (1, 1), "inherit from 1, which has no state"),  # member 1 has failed
    ],
)
def test_a_plan_that_cannot_be_obeyed_is_refused(members: Any, sources: Any, why: str) -> None:
    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        hparams = tuple(population.hparams[member] for member in members)
        return Plan(members, sources, hparams, tuple({} for _ in members)), memory

    with pytest.raises(RunError, match=why):
        Trained(strategy=Strategy(init=dict, step=step), size=2, task=Spy(broken={(1, 0): "nan"}))


def test_a_plans_numbers_are_recorded_in_the_spaces_own_types() -> None:
    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        hparams = tuple({**each, "lr": np.float64(0.5)} for each in population.hparams)
        return Plan((0, 1), (0, 1), hparams, ({}, {})), memory

    ran = Trained(strategy=Strategy(init=dict, step=step), size=2)
    assert {type(segment.hparams["lr"]) for segment in ran.journal.segments()} == {float}


def test_the_first_members_take_what_they_are_given_and_the_rest_from_the_space() -> None:
    free, _ = first_hparams(SPACE, Rng(0), 3, ())
    hparams, changes = first_hparams(SPACE, Rng(0), 3, ({"lr": 0.5}, {}))
    assert hparams[0] == {**free[0], "lr": 0.5}
    assert hparams[1:] == free[1:]
    assert changes[0] == {"lr": "given", "mix": "sampled", "width": "sampled", "kind": "sampled"}
    assert set(changes[1].values()) == {"sampled"}


def test_a_state_that_was_let_go_is_trained_again() -> None:
    ran = Trained()
    for segment in ((0, 0), (3, 2)):
        assert digest(ran.engine.state(segment)) == ran.by_id[segment].digest


def test_a_target_counts_only_scores_that_are_finite() -> None:
    task = Spy(broken={(0, 0): "inf", (1, 0): "nan"})
    engine = Engine(
        task, pbt(SPACE), partial(Serial, task, [torch.device("cpu")]), Journal(None, create=True), None,
        seed=0, size=4, interval=parse_interval("1"),
    )  # fmt: skip
    try:
        assert engine.run(Limits(3, target_score=1e9)) == "finished"
    finally:
        engine.close()
