"""A run goes on with more members, or with fewer: by one decision, exactly, and shown as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad import Segment, UsageError
from popgrad.core.plan import Decision
from popgrad.doctor.run import examine_run
from popgrad.engine.callbacks import IntervalEnd
from popgrad.store.journal import Journal
from popgrad.store.retention import collect
from spies import Spy, odd, read, record, shortened

GIVEN: dict[str, Any] = {
    "population": 4,
    "intervals": 3,
    "interval": 2,
    "executor": "serial",
    "fraction": 0.25,
    "outputs": False,
}


def start(directory: Path, task: Any = None, **given: Any) -> popgrad.Result:
    return popgrad.run(task or Spy(), directory=directory, **{**GIVEN, **given})


def go_on(
    directory: Path, population: int | None = None, task: Any = None, **given: Any
) -> popgrad.Result:
    return popgrad.resume(directory, population=population, task=task or Spy(), **given)


def change(directory: Path) -> Decision:
    """The one decision that changed the size."""
    (found,) = (decision for decision in read(directory)[1] if decision.size is not None)
    return found


def sizes(directory: Path) -> list[int]:
    journal = Journal(directory / "journal.db", readonly=True)
    try:
        return journal.sizes()
    finally:
        journal.close()


def members(result: popgrad.Result, interval: int) -> list[int]:
    return [segment.member for segment in result.segments if segment.interval == interval]


# --- grow ---------------------------------------------------------------------------------------------


def test_the_next_decision_gives_new_members_donors(tmp_path: Path) -> None:
    before = start(tmp_path / "run")
    result = go_on(tmp_path / "run", 7, intervals=5)
    decision = change(tmp_path / "run")
    assert (decision.number, decision.size, decision.plan.members) == (2, 7, tuple(range(7)))
    assert sizes(tmp_path / "run") == [4, 7]
    assert [len(members(result, interval)) for interval in range(5)] == [4, 4, 4, 7, 7]
    assert result.segments[:12] == before.segments
    by_id = {segment.id: segment for segment in result.segments}
    for member in (4, 5, 6):
        segment = by_id[member, 3]
        assert segment.source is not None
        donor = by_id[segment.source]
        assert donor.member < 4
        assert segment.metrics["at_start"] == donor.metrics["end"] == shortened(donor.digest)
        assert segment.hparams["width"] == donor.hparams["width"]
        assert segment.hparams["lr"] != donor.hparams["lr"]
    assert list(result.last) == list(range(7))


def test_new_members_may_start_fresh(tmp_path: Path) -> None:
    start(tmp_path / "run")
    result = go_on(tmp_path / "run", 6, grow="sample", intervals=5)
    fresh = [segment for segment in result.segments if segment.source is None]
    assert [segment.id for segment in fresh] == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 3), (5, 3)]
    assert all(set(segment.changes.values()) == {"sampled"} for segment in fresh)
    assert all(segment.first_step == 0 for segment in fresh)
    assert len({segment.hparams["lr"] for segment in fresh}) == 6


def test_who_copies_nobody_lets_new_members_start_fresh(tmp_path: Path) -> None:
    given = {k: v for k, v in GIVEN.items() if k != "fraction"}
    popgrad.run(Spy(), directory=tmp_path / "run", strategy="random-search", **given)
    with pytest.raises(
        UsageError,
        match="grow: expected sample, got 'clone': the strategy random-search copies no members",
    ):
        go_on(tmp_path / "run", 6, grow="clone", intervals=4)
    result = go_on(tmp_path / "run", 6, intervals=4)
    assert [s.id for s in result.segments if s.source is None][-2:] == [(4, 3), (5, 3)]


def test_new_members_begin_with_the_weights_that_all_began_with(tmp_path: Path) -> None:
    start(tmp_path / "first", odd(), intervals=1)
    weights = tmp_path / "first" / "best.safetensors"
    for name, more in (("run", {"weights": weights}), ("other", {})):
        start(tmp_path / name, odd(), **more)
        go_on(tmp_path / name, 6, odd(), grow="sample", intervals=4)
    assert read(tmp_path / "run")[0][-1].digest != read(tmp_path / "other")[0][-1].digest
    assert popgrad.replay(tmp_path / "run", 5, task=odd()).identical
    weights.unlink()
    assert go_on(tmp_path / "run", task=odd(), intervals=5).stopped == "finished"


# --- shrink -------------------------------------------------------------------------------------------


def test_the_best_stay_and_go_on_from_their_own_states(tmp_path: Path) -> None:
    before = start(tmp_path / "run", population=6)
    result = go_on(tmp_path / "run", 3, intervals=5)
    plan = change(tmp_path / "run").plan
    ranked = sorted(before.last, key=lambda member: (-before.last[member].score, member))
    assert plan.members == (0, 1, 2)
    assert set(plan.sources) <= set(ranked[:3])
    assert [len(members(result, interval)) for interval in range(5)] == [6, 6, 6, 3, 3]
    by_id = {segment.id: segment for segment in result.segments}
    for member in range(3):
        segment = by_id[member, 3]
        assert segment.source == (plan.sources[member], 2)
        assert segment.metrics["at_start"] == by_id[segment.source].metrics["end"]
    assert any(source >= 3 for source in plan.sources)  # somebody has moved
    assert list(result.last) == [0, 1, 2]
    assert result.winner.segment in result.last.values()
    assert result.winner.score == max(segment.score for segment in result.last.values())


def test_who_has_left_stays_in_the_record_but_wins_nothing(tmp_path: Path) -> None:
    last = 3

    class Later(Spy):  # whoever leaves would have the best last score
        def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> dict[str, float]:
            return {
                **super().evaluate(state, hparams, split, ctx),
                "q": float(-ctx.interval + ctx.member / 10),
            }

    start(tmp_path / "run", Later(), population=5)
    result = go_on(tmp_path / "run", 2, Later(), intervals=last + 1)
    assert result.winner.segment.interval == last
    assert result.winner.member in (0, 1)
    assert result.best_ever.id == (4, 0)
    assert len([row for row in result.history if row["member"] == 4]) == 3
    assert result.lineage(4)[-1].id == (4, 2)
    kept = {path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert not kept & {s.digest for s in result.segments if s.member > 1}


def test_a_population_may_change_again_and_again(tmp_path: Path) -> None:
    start(tmp_path / "run", population=4, intervals=2)
    for intervals, population in ((3, 6), (4, 2), (5, 5), (6, 3)):
        result = go_on(tmp_path / "run", population, intervals=intervals)
        assert members(result, intervals - 1) == list(range(population)) == list(result.last)
        assert result.winner.segment.interval == intervals - 1
    assert sizes(tmp_path / "run") == [4, 6, 2, 5, 3]
    for member in range(3):
        assert popgrad.replay(tmp_path / "run", member, task=Spy()).identical
    assert popgrad.resume(tmp_path / "run", task=Spy()).segments == result.segments


def test_the_first_members_keep_what_they_were_given(tmp_path: Path) -> None:
    initial = [{"lr": 0.1 * (member + 1)} for member in range(4)]
    start(tmp_path / "run", initial=initial)
    result = go_on(tmp_path / "run", 2, intervals=4)
    assert [s.hparams["lr"] for s in result.segments if s.interval == 0] == [
        each["lr"] for each in initial
    ]


# --- between the decision and what follows from it ------------------------------------------------------


def decided(directory: Path, before: int, after: int, **given: Any) -> popgrad.Result:
    """A run whose population was changed, and nobody has trained since."""
    start(directory, population=before, **given)

    def interrupt(_: IntervalEnd) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_on(directory, after, intervals=5, on_interval=interrupt)
    assert sizes(directory) == [before, after]
    return popgrad.load(directory, task=Spy())


def test_who_has_moved_stands_with_the_state_that_it_has(tmp_path: Path) -> None:
    result = decided(tmp_path / "run", 6, 3)
    sources = change(tmp_path / "run").plan.sources
    assert [segment.id for segment in result.last.values()] == [(source, 2) for source in sources]
    best = max((s for s in result.segments if s.interval == 2), key=lambda segment: segment.score)
    assert result.winner.segment == best
    assert (result.size, list(result.last)) == (3, [0, 1, 2])
    assert result.lineage(0)[-1] == result.last[0]


def test_new_members_have_no_state_yet(tmp_path: Path) -> None:
    result = decided(tmp_path / "run", 4, 6)
    assert (result.size, list(result.last)) == (6, [0, 1, 2, 3])


@pytest.mark.parametrize("after", [2, 3, 8])
def test_what_is_still_needed_is_kept_and_copied(after: int, tmp_path: Path) -> None:
    result = decided(tmp_path / "run", 6, after, storage=f"file://{tmp_path / 'storage'}")
    needed = {(source, 2) for source in change(tmp_path / "run").plan.sources}
    digests = {segment.digest for segment in result.segments if segment.id in needed}
    collect(tmp_path / "run")
    assert digests <= {path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert not [
        f for f in examine_run(tmp_path / "run") if f.level == "problem" and f.about != "task"
    ]
    popgrad.fetch(f"file://{tmp_path / 'storage'}", tmp_path / "fetched")
    assert digests <= {path.stem for path in (tmp_path / "fetched" / "checkpoints").iterdir()}
    assert go_on(tmp_path / "fetched").segments == go_on(tmp_path / "run").segments


def test_the_doctor_finds_a_size_that_no_decision_made(tmp_path: Path) -> None:
    start(tmp_path / "run")
    go_on(tmp_path / "run", 6, intervals=4)
    assert not [f for f in examine_run(tmp_path / "run") if f.level == "problem"]
    journal = Journal(tmp_path / "run" / "journal.db")
    journal.set_about(sizes=[4, 7])
    journal.close()
    (found,) = [f for f in examine_run(tmp_path / "run") if f.level == "problem"]
    assert "the recorded sizes are [4, 7], but the decisions made it [6]" in found.text


# --- exactness ----------------------------------------------------------------------------------------


def interrupted(count: int) -> Callable[[Segment], None]:
    calls: list[Segment] = []

    def callback(segment: Segment) -> None:
        calls.append(segment)
        if len(calls) == count:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize(("before", "after"), [(4, 6), (6, 3)])
@pytest.mark.parametrize("killed", range(1, 12))
def test_killed_anywhere_it_becomes_what_it_would_have_been(
    before: int, after: int, killed: int, tmp_path: Path
) -> None:
    """The change is asked for in the middle of the second interval; the resume is interrupted, too."""
    for name in ("whole", "run"):
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / name, population=before, on_segment=interrupted(before + 2))
    go_on(tmp_path / "whole", after)
    with pytest.raises(KeyboardInterrupt):
        go_on(
            tmp_path / "run",
            after,
            on_segment=interrupted(killed % (2 * min(before, after) - 1) + 1),
        )
    assert go_on(tmp_path / "run").stopped == "finished"  # nobody says again how many are wanted
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert sizes(tmp_path / "run") == sizes(tmp_path / "whole") == [before, after]
    left = [
        sorted(path.name for path in (tmp_path / name / "checkpoints").iterdir())
        for name in ("run", "whole")
    ]
    assert left[0] == left[1]


@pytest.mark.parametrize(("after", "grow"), [(7, "clone"), (7, "sample"), (2, None)])
def test_every_executor_gives_the_same_record(after: int, grow: str | None, tmp_path: Path) -> None:
    start(tmp_path / "serial", odd(), intervals=2)
    start(tmp_path / "processes", odd(), intervals=2)
    for executor in ("serial", "processes"):
        go_on(
            tmp_path / executor, after, odd(), grow=grow, intervals=4, executor=executor, workers=2
        )
    assert record(tmp_path / "serial") == record(tmp_path / "processes")
    assert popgrad.replay(tmp_path / "processes", task=odd()).identical


@pytest.mark.parametrize("after", [7, 2])
def test_a_stack_keeps_its_width_and_its_bits(after: int, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "executor": "vectorised",
        "space": {"batch_size": {"kind": "constant", "value": 32}},
    }
    for name in ("whole", "run"):
        start(tmp_path / name, odd(), intervals=2, **given)
    go_on(tmp_path / "whole", after, odd(), intervals=4)
    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path / "run", after, odd(), intervals=4, on_segment=interrupted(1))
    go_on(tmp_path / "run", task=odd())
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert popgrad.replay(tmp_path / "run", task=odd()).identical


# --- what cannot be had -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"population": 6},
            "population: got 6, but the 4 members have made the decisions of all 3 intervals; "
            "pass --intervals too, at least 4",
        ),
        (
            {"population": 1, "intervals": 5},
            "population: expected at least 2, got 1: pbt copies between members",
        ),
        ({"population": 0, "intervals": 5}, "population: expected at least 1, got 0"),
        (
            {"population": 6, "grow": "copy", "intervals": 5},
            "grow: expected one of clone, sample, got 'copy'",
        ),
        (
            {"grow": "sample", "intervals": 5},
            "grow: got 'sample', but the population has 4 members and does not grow; pass --popul",
        ),
        (
            {"population": 3, "grow": "sample", "intervals": 5},
            "grow: got 'sample', but the population has 4",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_and_changes_nothing(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    start(tmp_path / "run")
    before = (tmp_path / "run" / "journal.db").read_bytes()
    with pytest.raises(UsageError, match=message):
        popgrad.resume(tmp_path / "run", task=Spy(), **given)
    assert (tmp_path / "run" / "journal.db").read_bytes() == before


def test_in_the_last_interval_no_decision_is_to_come(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", on_segment=interrupted(9))
    with pytest.raises(UsageError, match="pass --intervals too, at least 4"):
        go_on(tmp_path / "run", 6)
    assert len(members(go_on(tmp_path / "run", 6, intervals=4), 3)) == 6


def test_as_many_as_there_are_changes_nothing(tmp_path: Path) -> None:
    before = start(tmp_path / "run")
    assert go_on(tmp_path / "run", 4).segments == before.segments
    assert sizes(tmp_path / "run") == [4]


def test_a_change_that_was_not_made_yet_can_be_taken_back(tmp_path: Path) -> None:
    for name in ("whole", "run"):
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / name, on_segment=interrupted(5))
    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path / "run", 8, on_segment=interrupted(1))
    assert go_on(tmp_path / "run", 4).stopped == "finished"
    go_on(tmp_path / "whole")
    assert record(tmp_path / "run") == record(tmp_path / "whole")


# --- a budget that the members share ----------------------------------------------------------------------


def shared(directory: Path, strategy: str, population: int, after: int) -> popgrad.Result:
    """A run of 8 intervals whose members share a budget, stopped after a decision."""
    stops = iter([False] * (after - 1))
    return popgrad.run(
        "quadratic", strategy=strategy, population=population, intervals=8, interval=3,  # type: ignore[arg-type]
        executor="serial", directory=directory, on_interval=lambda _: next(stops, True),
        outputs=False, progress=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "size", "now", "after"),
    [
        *(("successive-halving", 9, now, after) for now, after in ((4, 1), (14, 1), (14, 3))),
        *(("ipbt", 4, now, after) for now, after in ((2, 1), (3, 2), (6, 1), (8, 3))),
    ],
)
def test_a_shared_budget_is_that_of_the_new_population_and_is_spent_exactly(
    strategy: str, size: int, now: int, after: int, tmp_path: Path
) -> None:
    stopped = shared(tmp_path / "run", strategy, size, after)
    assert stopped.record.shared_budget
    result = popgrad.resume(tmp_path / "run", population=now, progress=False)
    assert result.record.spent == 8 * now
    assert result.size == {"successive-halving": now, "ipbt": 2 * now}[strategy]
    assert result.stopped == "finished"
    assert result.status.completed == 8


@pytest.mark.parametrize(
    ("strategy", "size", "now", "least"), [("successive-halving", 9, 4, 19), ("ipbt", 4, 2, 11)]
)
def test_a_population_whose_budget_is_spent_is_refused_with_what_would_do(
    strategy: str, size: int, now: int, least: int, tmp_path: Path
) -> None:
    """Segments that are decided on count: they are trained whatever the size is."""
    shared(tmp_path / "run", strategy, size, 3)
    with pytest.raises(UsageError, match="pass --intervals too, at least") as caught:
        popgrad.resume(tmp_path / "run", population=now, intervals=least - 1, progress=False)
    assert str(caught.value).endswith(f"at least {least}")
    result = popgrad.resume(tmp_path / "run", population=now, intervals=least, progress=False)
    assert result.size == {"successive-halving": now, "ipbt": 2 * now}[strategy]
    assert result.record.spent <= least * now
    assert result.stopped == "finished"


def test_sub_populations_get_another_size_without_a_shared_budget(tmp_path: Path) -> None:
    stopped = shared(tmp_path / "run", "mf-pbt", 8, 2)
    assert not stopped.record.shared_budget
    result = popgrad.resume(tmp_path / "run", population=6, progress=False)
    assert result.size == 6
    # Three intervals of eight members are trained or decided on.
    assert result.record.spent == 3 * 8 + 5 * 6
