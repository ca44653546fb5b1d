"""Members that decide one by one: nobody waits, nobody starves, and nothing that is recorded is lost."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import popgrad
from popgrad import AllMembersFailedError, Segment, UsageError, pbt, random_search
from popgrad.core.interval import parse_interval
from popgrad.core.plan import Decision, Entry, plan_of
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.engine.limits import Limits
from popgrad.engine.loop import Engine
from popgrad.executors import Serial
from popgrad.executors.simulated import Cluster, Simulated
from popgrad.record.record import Record
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from spies import Spy, record, shortened

CPU = [torch.device("cpu")]


class Ran:
    """A run of members that decide one by one, on an imagined cluster."""

    def __init__(
        self,
        task: Any = None,
        *,
        cluster: Cluster | None = None,
        strategy: Any = None,
        size: int = 5,
        intervals: int = 4,
        interval: str = "2",
        mode: Any = "async",
        journal: Journal | None = None,
        stop_after: int | None = None,
        deadline: float | None = None,
        make: Callable[..., Any] | None = None,
        grow: Any = None,
        **limits: Any,
    ) -> None:
        task = task or Spy()
        self.told: list[IntervalEnd] = []
        self.order: list[tuple[int, int]] = []
        self.journal = journal or Journal(None, create=True, about={"sizes": [size]})
        self.executors: list[Any] = []

        def executor() -> Any:
            made = (make or partial(Simulated, cluster=cluster, deadline=deadline))(task, CPU)
            self.executors.append(made)
            return made

        def segment(finished: Segment) -> None:
            self.order.append(finished.id)
            if len(self.order) == stop_after:
                raise KeyboardInterrupt

        engine = Engine(
            task,
            strategy or pbt(task.space, fraction=0.4),
            executor,
            self.journal,
            None,
            seed=0,
            size=size,
            interval=parse_interval(interval),
            mode=mode,
            grow=grow,
            callbacks=Callbacks(segment, self.told.append),
        )
        self.stopped = ""
        try:
            self.stopped = engine.run(Limits(intervals, **limits))
        except KeyboardInterrupt:
            pass
        finally:
            engine.close()
        self.segments, self.decisions = self.journal.segments(), self.journal.decisions()
        self.by_id = {each.id: each for each in self.segments}
        self.last = Record(
            space=task.space,
            score_name=task.score,
            segments=tuple(self.segments),
            decisions=tuple(self.decisions),
            sizes=tuple(self.journal.sizes()) or (size,),
        ).last

    @property
    def events(self) -> tuple[str, str]:
        return repr(self.segments), repr(self.decisions)


def test_every_member_trains_every_interval_and_decides_after_each_but_the_last() -> None:
    ran = Ran()
    assert Counter(member for member, _ in ran.by_id) == dict.fromkeys(range(5), 4)
    assert Counter(m for d in ran.decisions for m in d.plan.members) == dict.fromkeys(range(5), 3)
    assert [d.number for d in ran.decisions] == list(range(15))
    assert ran.stopped == "finished"


def test_an_heir_starts_from_what_its_donor_had_finished_when_the_decision_was_made() -> None:
    ran = Ran(cluster=Cluster((1.0, 0.4, 0.7)), intervals=8)
    heirs = 0
    finished: set[tuple[int, int]] = set()
    decisions = {(m, i): d for d in ran.decisions for i, m in enumerate(d.plan.members)}
    assert decisions
    for segment in ran.segments:
        if segment.source is None:
            continue
        donor = ran.by_id[segment.source]
        assert segment.metrics["at_start"] == donor.metrics["end"] == shortened(donor.digest)
        assert segment.first_step == donor.last_step
        heirs += segment.source[0] != segment.member
    for which in ran.order:  # nobody starts from what was finished later
        finished.add(which)
        source = ran.by_id[which].source
        assert source is None or source in finished
    assert heirs > 3


def test_the_record_holds_what_each_decision_said() -> None:
    ran = Ran(cluster=Cluster((1.0, 0.4)), intervals=6)
    counts: Counter[int] = Counter()
    for decision in ran.decisions:
        for i, member in enumerate(decision.plan.members):
            counts[member] += 1
            segment = ran.by_id[member, counts[member]]
            assert segment.source == decision.starts[i]
            assert segment.source[0] == decision.plan.sources[i]
            assert segment.hparams == decision.plan.hparams[i]


def test_with_one_slot_it_is_what_one_worker_gives(tmp_path: Path) -> None:
    runs: list[tuple[str, str]] = []
    for executor in ("serial", "processes"):
        popgrad.run(
            Spy(), population=5, intervals=4, interval=2, fraction=0.4, mode="async",
            executor=executor, workers=1, directory=tmp_path / executor, outputs=False,
        )  # fmt: skip
        runs.append(record(tmp_path / executor))
    assert runs[0] == runs[1] == Ran().events == Ran(make=Serial).events


def test_equal_speeds_leave_nobody_behind() -> None:
    ran = Ran(
        size=7, cluster=Cluster((1.0, 1.0, 1.0)), intervals=10, strategy=random_search(Spy().space)
    )
    done = Counter(dict.fromkeys(range(7), 0))
    for member, _ in ran.order:
        done[member] += 1
        assert max(done.values()) - min(done.values()) <= 2


def test_the_fast_do_not_wait_for_the_slow() -> None:
    slow = Cluster((1.0, 1.0, 1.0, 0.1))
    one_by_one = Ran(size=4, cluster=slow, intervals=8)
    together = Ran(size=4, cluster=slow, intervals=8, mode="sync")
    assert one_by_one.executors[0].now < together.executors[0].now
    assert one_by_one.executors[0].steps == together.executors[0].steps == 4 * 8 * 2


@pytest.mark.parametrize("after", range(1, 20))
def test_a_killed_run_goes_on_and_loses_nothing_that_was_recorded(after: int) -> None:
    cluster = Cluster((1.0, 0.3), failure=0.1)
    ran = Ran(cluster=cluster, stop_after=after)
    before, decided = ran.segments, ran.decisions
    again = Ran(cluster=cluster, journal=ran.journal)
    assert [again.by_id[each.id] for each in before] == before
    assert again.decisions[: len(decided)] == decided
    assert again.stopped == "finished"
    assert Counter(member for member, _ in again.by_id) == dict.fromkeys(range(5), 4)


@pytest.mark.parametrize("after", range(1, 20, 3))
def test_with_one_slot_a_killed_run_becomes_one_that_never_was(after: int) -> None:
    ran = Ran(stop_after=after)
    again = Ran(journal=ran.journal)
    assert again.events == Ran().events


def test_a_killed_run_of_processes_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "population": 4, "intervals": 5, "interval": 2, "fraction": 0.5, "mode": "async",
        "executor": "processes", "workers": 2, "outputs": False,
    }  # fmt: skip
    count = 0

    def stop(_: Segment) -> None:
        nonlocal count
        count += 1
        if count == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Spy(), directory=tmp_path / "run", on_segment=stop, **given)
    before = popgrad.load(tmp_path / "run").segments
    result = popgrad.resume(tmp_path / "run", task=Spy())
    assert result.stopped == "finished"
    assert len(result.segments) == 20
    assert [each for each in result.segments if each.id in {s.id for s in before}] == list(before)
    for member in range(4):
        assert popgrad.replay(tmp_path / "run", member, task=Spy()).identical
    kept = {path.stem for path in Checkpoints(tmp_path / "run" / "checkpoints").folder.iterdir()}
    assert {result.lineage(member)[-1].digest for member in range(4)} <= kept


# --- failures -----------------------------------------------------------------------------------------


def test_a_failed_member_inherits_and_goes_on() -> None:
    ran = Ran(Spy(broken={(2, 1): "raise", (3, 2): "nan"}), cluster=Cluster((1.0, 0.6)))
    assert sorted(s.id for s in ran.segments if s.failed) == [(2, 1), (3, 2)]
    for failed in ((2, 1), (3, 2)):
        heir = ran.by_id[failed[0], failed[1] + 1]
        assert heir.source is not None
        assert heir.source[0] != failed[0]
    assert len(ran.segments) == 20


def test_the_first_to_finish_may_fail_and_waits_for_somebody_to_inherit_from() -> None:
    ran = Ran(Spy(broken={(0, 0): "nan", (1, 0): "raise"}))
    assert [len(d.plan.members) for d in ran.decisions][:3] != [1, 1, 1]
    for member in (0, 1):
        source = ran.by_id[member, 1].source
        assert source is not None
        assert source[0] > 1
    assert len(ran.segments) == 20


def test_where_nobody_is_copied_a_failed_member_stays_failed() -> None:
    ran = Ran(Spy(broken={(2, 1): "raise"}), strategy=random_search(Spy().space))
    assert Counter(member for member, _ in ran.by_id) == {0: 4, 1: 4, 2: 2, 3: 4, 4: 4}
    assert ran.stopped == "finished"


def test_when_nobody_is_left_it_stops_and_can_go_on() -> None:
    journal = Journal(None, create=True)
    broken = Spy(broken={(m, i): "raise" for m in range(3) for i in range(4)})
    with pytest.raises(
        AllMembersFailedError, match=r"(?s)all 3 members have failed.*broken on purpose"
    ):
        Ran(broken, size=3, journal=journal)
    again = Ran(size=3, journal=journal)
    assert not [each for each in again.segments if each.failed]
    assert len(again.segments) == 12


# --- limits -------------------------------------------------------------------------------------------


def test_a_target_lets_those_in_training_finish_and_starts_nobody_else() -> None:
    whole = Ran(cluster=Cluster((1.0, 0.5, 0.8)), intervals=6)
    target = sorted(s.score for s in whole.segments)[10]
    ran = Ran(cluster=Cluster((1.0, 0.5, 0.8)), intervals=6, target_score=target)
    assert ran.stopped == "target score"
    assert 5 <= len(ran.segments) < 30
    reached = next(i for i, each in enumerate(ran.order) if ran.by_id[each].score >= target)
    assert len(ran.order) - reached - 1 <= 5
    assert (
        Ran(cluster=Cluster((1.0, 0.5, 0.8)), intervals=6, journal=ran.journal).stopped
        == "finished"
    )


def test_more_intervals_go_on_where_it_ended() -> None:
    ran = Ran(intervals=2)
    again = Ran(intervals=4, journal=ran.journal)
    assert len(again.segments) == 20
    assert again.segments[:10] == ran.segments


def test_watchers_are_told_of_an_interval_once_all_have_finished_it() -> None:
    ran = Ran(cluster=Cluster((1.0, 0.3)), intervals=5)
    assert [end.interval for end in ran.told] == list(range(5))
    for end in ran.told:
        assert [segment.id for segment in end.segments] == [(m, end.interval) for m in range(5)]


# --- stragglers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_member_over_the_deadline_has_failed_in_that_interval(mode: str) -> None:
    ran = Ran(mode=mode, size=4, cluster=Cluster((1.0, 1.0, 1.0, 0.1)), deadline=5.0)
    late = [s for s in ran.segments if s.failed]
    assert late
    assert {s.error for s in late} == {"the segment took longer than the deadline of 5 s"}
    assert len(ran.segments) == 16
    for segment in late:
        heir = ran.by_id.get((segment.member, segment.interval + 1))
        assert heir is None or (heir.source is not None and heir.source[0] != segment.member)


def test_a_straggling_worker_is_given_up(tmp_path: Path) -> None:
    task = Spy()
    result = popgrad.run(
        _Straggles(), population=3, intervals=3, interval=2, fraction=0.4, executor="processes", workers=2,
        deadline=1.0, directory=tmp_path / "run", outputs=False,
    )  # fmt: skip
    assert [s.id for s in result.segments if s.failed] == [(1, 1)]
    assert "longer than the deadline of 1 s" in next(s.error for s in result.segments if s.failed)
    assert len(result.segments) == 9
    assert task.space == result.space


class _Straggles(Spy):
    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        if (ctx.member, ctx.interval) == (1, 1):
            import signal

            signal.pause()
        return super().train(state, hparams, steps, ctx)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"deadline": 1.0, "executor": "serial"},
            "deadline: the executor serial cannot abandon a segment; use processes",
        ),
        ({"deadline": 0}, "deadline: expected more than 0, got 0"),
        ({"mode": "asynchronous"}, "mode: expected one of sync, async, got 'asynchronous'"),
        (
            {"mode": "async", "executor": "vectorised"},
            "mode: async needs members that train independently; use the executor processes",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        popgrad.run(Spy(), population=3, intervals=1, interval=1, **given)


# --- another size -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("after", range(6, 22, 3))
def test_a_population_of_another_size_waits_once_and_goes_on_one_by_one(
    size: int, after: int
) -> None:
    cluster = Cluster((1.0, 0.3, 0.5))
    ran = Ran(cluster=cluster, stop_after=after, intervals=8)
    before, decided = ran.segments, ran.decisions
    again = Ran(cluster=cluster, journal=ran.journal, size=size, intervals=8)
    assert [again.by_id[each.id] for each in before] == before
    assert again.decisions[: len(decided)] == decided
    (change,) = (decision for decision in again.decisions if decision.size is not None)
    assert change.plan.members == tuple(range(size))
    assert again.decisions[change.number + 1 :]
    assert all(len(d.plan.members) < 5 for d in again.decisions[change.number + 1 :])
    for segment in again.segments:
        if segment.source is not None:
            assert segment.metrics["at_start"] == again.by_id[segment.source].metrics["end"]
    last = again.last
    assert sorted(last) == list(range(size))
    assert all(last[member].interval == 7 for member in range(min(size, 5)))


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("after", range(1, 14))
def test_with_one_slot_a_change_that_is_interrupted_becomes_one_that_never_was(
    size: int, after: int
) -> None:
    runs = []
    for stop in (None, after):
        journal = Ran(stop_after=8, intervals=5).journal
        if stop is not None:
            Ran(journal=journal, size=size, intervals=5, stop_after=stop)
        runs.append(Ran(journal=journal, size=size, intervals=5))
    assert runs[0].events == runs[1].events
    assert runs[0].journal.sizes() == runs[1].journal.sizes() == [5, size]


def test_a_slot_never_trains_an_interval_twice() -> None:
    """Member 2 is fast, leaves, and its slot is filled again by one who begins where the slow ones are."""
    cluster = Cluster((0.1, 0.1, 1.0), overhead=0.0)
    ran = Ran(
        size=3, cluster=cluster, intervals=12, stop_after=14, strategy=random_search(Spy().space)
    )
    come = max(interval for member, interval in ran.by_id if member == 2)
    Ran(size=2, cluster=cluster, journal=ran.journal, intervals=12, stop_after=5)
    again = Ran(size=3, cluster=cluster, journal=ran.journal, intervals=14)
    assert again.stopped == "finished"
    assert again.journal.sizes() == [3, 2, 3]
    assert [i for m, i in sorted(again.by_id) if m == 2] == sorted(
        {*range(come + 1), *range(come + 1, 14)}
    )


def test_members_that_fail_where_the_size_changes_are_replaced_or_leave() -> None:
    broken = Spy(broken={(0, 1): "nan", (3, 1): "raise", (1, 2): "nan"})
    for size in (3, 7):
        ran = Ran(broken, stop_after=9, intervals=5)
        again = Ran(broken, journal=ran.journal, size=size, intervals=5)
        assert again.stopped == "finished"
        assert not any(segment.failed for segment in again.last.values())
        assert sorted(again.last) == list(range(size))


# --- no deadlock --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 7),
    speeds=st.lists(st.sampled_from([1.0, 0.5, 0.33, 0.1]), min_size=1, max_size=4),
    intervals=st.integers(1, 5),
    interval=st.integers(1, 7),
    mode=st.sampled_from(["sync", "async"]),
    settings_of_pbt=st.fixed_dictionaries(
        {
            "fraction": st.sampled_from([0.0, 0.2, 0.5]),
            "burn_in": st.integers(0, 4),
            "same_age": st.booleans(),
            "min_donor_steps": st.integers(0, 30),
        }
    ),
    failure=st.sampled_from([0.0, 0.2, 0.6]),
    preemption=st.sampled_from([0.0, 20.0]),
    deadline=st.sampled_from([None, 3.0, 50.0]),
    broken=st.dictionaries(
        st.tuples(st.integers(0, 6), st.integers(0, 4)),
        st.sampled_from(["nan", "raise"]),
        max_size=3,
    ),
)
def test_no_combination_comes_to_a_halt(
    size: int, speeds: list[float], intervals: int, interval: int, mode: str, settings_of_pbt: Any,
    failure: float, preemption: float, deadline: float | None, broken: Any,
) -> None:  # fmt: skip
    task = Spy(broken=broken)
    cluster = Cluster(
        tuple(speeds), overhead=0.1, failure=failure, preemption=preemption, away=30.0
    )
    try:
        ran = Ran(
            task, size=size, cluster=cluster, intervals=intervals, interval=str(interval), mode=mode,
            strategy=pbt(task.space, **settings_of_pbt), deadline=deadline,
        )  # fmt: skip
    except AllMembersFailedError:
        return
    last = {member: max(i for m, i in ran.by_id if m == member) for member in range(size)}
    unfinished = [m for m, i in last.items() if i + 1 < intervals]
    assert all(ran.by_id[m, last[m]].failed for m in unfinished)  # who had nobody to inherit from
    assert isinstance(ran.decisions, list)
    assert all(isinstance(each, Decision) for each in ran.decisions)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(2, 6),
    new_size=st.integers(2, 8),
    after=st.integers(1, 20),
    speeds=st.lists(st.sampled_from([1.0, 0.5, 0.33, 0.1]), min_size=1, max_size=4),
    intervals=st.integers(1, 4),
    mode=st.sampled_from(["sync", "async"]),
    settings_of_pbt=st.fixed_dictionaries(
        {
            "fraction": st.sampled_from([0.0, 0.2, 0.5]),
            "same_age": st.booleans(),
            "min_donor_steps": st.integers(0, 30),
        }
    ),
    grow=st.sampled_from(["clone", "sample"]),
    broken=st.dictionaries(
        st.tuples(st.integers(0, 7), st.integers(0, 5)),
        st.sampled_from(["nan", "raise"]),
        max_size=4,
    ),
)
def test_no_change_of_the_population_comes_to_a_halt(
    size: int, new_size: int, after: int, speeds: list[float], intervals: int, mode: str,
    settings_of_pbt: Any, grow: str, broken: Any,
) -> None:  # fmt: skip
    task = Spy(broken=broken)
    given: dict[str, Any] = {
        "cluster": Cluster(tuple(speeds), overhead=0.1), "mode": mode,
        "strategy": pbt(task.space, **settings_of_pbt),
    }  # fmt: skip
    try:
        journal = Ran(task, size=size, intervals=intervals, stop_after=after, **given).journal
        intervals += 2  # so that a decision is to come
        ran = Ran(task, size=new_size, intervals=intervals, grow=grow, journal=journal, **given)
    except AllMembersFailedError:
        return
    assert ran.journal.sizes() == ([size] if new_size == size else [size, new_size])
    unfinished = [
        m for m in range(new_size) if m not in ran.last or ran.last[m].interval + 1 < intervals
    ]
    assert all(ran.last[m].failed for m in unfinished)  # who had nobody to inherit from


# --- members that rest ----------------------------------------------------------------------------


def napping() -> popgrad.Strategy:
    """Members 0 and 1 rest after their first interval; the fifth decision wakes member 0."""

    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        number = memory["number"]
        seen = [*memory["seen"], [sorted(map(int, ready)), sorted(population.resting)]]
        plan = {
            member: Entry(
                member,
                population.hparams[member],
                {},
                rests=member < 2 and (member, number) != (0, 4),
            )
            for member in map(int, ready)
        }
        return plan_of(plan), {"number": number + 1, "seen": seen}

    return popgrad.Strategy(init=lambda: {"number": 0, "seen": []}, step=step)


def test_a_member_that_rests_is_ready_at_each_later_decision() -> None:
    ran = Ran(strategy=napping(), size=4, intervals=4)
    seen = ran.journal.decisions()[-1].memory["seen"]
    assert isinstance(seen, list)
    assert all(set(resting) <= set(ready) for ready, resting in seen)
    trained = Counter(segment.member for segment in ran.journal.segments())
    assert trained[1] == 1
    assert trained[0] > 1


@pytest.mark.parametrize("after", range(4, 11))
def test_a_resumed_run_lets_rest_what_rested(after: int) -> None:
    stopped = Ran(strategy=napping(), size=4, intervals=4, stop_after=after)
    resumed = Ran(strategy=napping(), size=4, intervals=4, journal=stopped.journal)
    whole = Ran(strategy=napping(), size=4, intervals=4)
    trained = Counter(segment.member for segment in resumed.journal.segments())
    assert trained == Counter(segment.member for segment in whole.journal.segments())
