"""What every executor and the record keep of a plan with all its parts; the strategy is `seam.scripted`."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

import popgrad
from popgrad import LogUniform, Space, TorchTask
from popgrad.core.plan import Transform
from popgrad.data import Splits
from popgrad.strategies.base import Start, Strategy
from program import popgrad as command
from seam import SHRINK, role, scripted
from spies import read, record

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers find no test modules by name

SPACE = Space({"lr": LogUniform(1e-3, 1e-1)})


def model(hparams: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def data() -> Splits:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(56, 5, generator=generator)
    y = (x.sum(1) > 0).long()
    return Splits(*((x[rows], y[rows]) for rows in torch.arange(56).split([32, 16, 8])))


def metrics(outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, Any]:
    """A score of several samples: one for each half of the split."""
    right = (outputs.argmax(1) == targets).double()
    margin = (outputs.softmax(1).gather(1, targets[:, None])).double().flatten()
    return {"margin": [float(half.mean()) for half in margin.chunk(2)], "accuracy": right.mean()}


def task() -> TorchTask:
    return TorchTask(
        space=SPACE,
        score="margin",
        model=model,
        optimizer=lambda module, hparams: torch.optim.SGD(
            module.parameters(), momentum=0.9, lr=0.1
        ),
        data=data,
        metrics=metrics,
    )


def run(directory: Path | None = None, executor: str = "serial", **options: Any) -> popgrad.Result:
    settings = {"population": 3, "intervals": 5, "interval": 6, "progress": False, **options}
    return popgrad.run(
        task(), strategy=scripted(SPACE), directory=directory, executor=executor, **settings
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in this process, never interrupted."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    run(directory)
    return directory


@pytest.fixture
def _leave_ray() -> Iterator[None]:
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


# --- what is recorded --------------------------------------------------------------------------------------


def test_extra_members_start_and_are_charged_to_the_budget(whole: Path) -> None:
    opened = popgrad.load(whole, task=task()).record
    first = [segment for segment in opened.segments if segment.interval == 0]
    assert opened.sizes == (6,)
    assert len(first) == 6
    assert 15 - 3 < opened.spent <= 15
    assert opened.shared_budget


def test_roles_lengths_and_transforms_are_those_of_the_plans(whole: Path) -> None:
    segments, decisions = read(whole)
    assert {segment.role for segment in segments if segment.interval == 0} == {"even -1", "odd -1"}
    for decision in decisions:
        started = [each for each in segments if each.interval == decision.number + 1]
        plan = decision.plan
        resting = {
            m for m, rests in zip(plan.members, plan.rests or [False] * 6, strict=True) if rests
        }
        assert {segment.member for segment in started} == set(plan.members) - resting
        assert all(each.role == role(each.member, decision.number) for each in started)
    twice = [segment for segment in segments if segment.interval == 2]
    assert [(segment.length, segment.steps) for segment in twice] == [(2, 12)] * 2
    assert all(each.transform == SHRINK for each in segments if each.interval == 3)
    assert any(each.interval == 3 for each in segments)


def test_a_source_is_named_by_its_segment(whole: Path) -> None:
    segments, decisions = read(whole)
    by_id = {segment.id: segment for segment in segments}
    kept = decisions[0].plan.keep
    best = max((each for each in segments if each.interval == 0), key=lambda each: each.score)
    assert kept == (best.id,)
    assert decisions[1].archived == {0: best.id}
    assert by_id[0, 2].source == best.id
    assert by_id[1, 2].source is None
    assert by_id[1, 2].first_step == 0
    assert {by_id[member, 3].source for member in range(2)} == {best.id}


def test_evaluations_and_samples_are_recorded(whole: Path) -> None:
    segments, _ = read(whole)
    for segment in segments:
        steps = [each.step for each in segment.evaluations]
        begin = [0] if segment.source is None else []
        third = segment.steps // 3
        assert steps == [*begin, third, 2 * third, segment.steps]
        assert segment.evaluations[-1].metrics == segment.metrics
        samples = segment.metric_samples["margin"]
        assert len(samples) == 2
        assert segment.score == pytest.approx(sum(samples) / 2)


def test_the_history_has_every_segment_behind_its_source(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    strategy = scripted(SPACE)

    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        seen.append(population.history)
        return strategy.step(rng, population, ready, memory)

    settings = {"population": 3, "intervals": 5, "interval": 6, "progress": False}
    watched: Strategy = strategy._replace(step=step)
    result = popgrad.run(task(), strategy=watched, executor="serial", **settings)
    last = seen[-1]
    by_id = {segment.id: segment for segment in result.segments}
    ids = list(zip(last.members.tolist(), last.intervals.tolist(), strict=True))
    assert len(last) == len(result.segments) - len(
        [s for s in result.segments if s.interval == len(seen)]
    )
    for row, own in enumerate(ids):
        segment = by_id[own]
        parent = last.parents[row]
        assert parent < row
        assert (None if parent < 0 else ids[parent]) == segment.source
        assert last.scores[row] == segment.score
        assert (last.first_steps[row], last.steps[row]) == (segment.first_step, segment.last_step)
        np.testing.assert_array_equal(last.hparams[row], SPACE.encode(segment.hparams))
        if segment.source is None:
            assert last.starts[row] == segment.evaluations[0].metrics["margin"]
        elif segment.transform is None:
            assert last.starts[row] == by_id[segment.source].score


# --- every executor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["processes", "ray"])
@pytest.mark.usefixtures("_leave_ray")
def test_every_executor_gives_the_same_record(executor: str, whole: Path, tmp_path: Path) -> None:
    if executor == "ray":
        ray = pytest.importorskip("ray", reason="the extra ray is not installed")
        ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=10**8)
    run(tmp_path / "run", executor, workers=2)
    assert record(tmp_path / "run") == record(whole)


def test_a_stack_trains_the_same_plans(whole: Path) -> None:
    result = run(executor="vectorised")
    expected, _ = read(whole)
    assert len(result.segments) == len(expected)
    for segment, alone in zip(result.segments, expected, strict=True):
        if (
            segment.interval < 2
        ):  # later ones start from the best, and scores differ in their last bits
            assert segment.source == alone.source
            assert segment.score == pytest.approx(alone.score, abs=1e-4)
        parts = (segment.id, segment.role, segment.length, segment.transform, segment.steps)
        assert parts == (alone.id, alone.role, alone.length, alone.transform, alone.steps)
        assert [e.step for e in segment.evaluations] == [e.step for e in alone.evaluations]
        assert segment.metric_samples.keys() == alone.metric_samples.keys()


def test_a_simulated_cluster_gives_the_same_record(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from popgrad.executors import EXECUTORS
    from popgrad.executors.simulated import Cluster, Simulated

    cluster = Cluster((1.0, 3.0), overhead=1.0, preemption=60.0, away=5.0)
    simulated: Callable[..., Any] = partial(Simulated, cluster=cluster)
    monkeypatch.setitem(EXECUTORS, "serial", simulated)
    run(tmp_path / "run")
    assert record(tmp_path / "run") == record(whole)


# --- resume, replay, retention, show ------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0, 1, 2])
def test_a_run_that_is_stopped_anywhere_is_resumed_to_the_same_record(
    interval: int, whole: Path, tmp_path: Path
) -> None:
    stopped = run(tmp_path / "run", on_interval=lambda end: end.interval == interval)
    assert stopped.stopped == "callback"
    resumed = popgrad.resume(
        tmp_path / "run", task=task(), strategy=scripted(SPACE), progress=False, executor="serial"
    )
    assert resumed.stopped == "finished"
    assert record(tmp_path / "run") == record(whole)


@pytest.mark.parametrize("interval", [0, 1, 2])
def test_a_resumed_run_reports_no_interval_again(interval: int, tmp_path: Path) -> None:
    """Members that rest lie behind the others, and their intervals were reported long ago."""
    run(tmp_path / "run", outputs=False, on_interval=lambda end: end.interval == interval)
    ends: list[popgrad.IntervalEnd] = []
    popgrad.resume(
        tmp_path / "run",
        task=task(),
        strategy=scripted(SPACE),
        progress=False,
        population=4,
        on_interval=ends.append,
    )
    numbers = [end.interval for end in ends]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] == interval + 1
    assert sum(end.decision is not None and end.decision.size is not None for end in ends) == 1


@pytest.mark.parametrize("member", [0, 1, None])
def test_a_member_is_replayed_bit_for_bit_through_archive_and_transform(
    member: int | None, whole: Path
) -> None:
    lineage = popgrad.load(whole, task=task()).record.lineage(member)
    assert any(segment.transform for segment in lineage) == (member in (0, 1))
    assert popgrad.replay(whole, member, task=task()).identical


def test_a_schedule_is_replayed_for_as_many_steps_as_its_lineage(tmp_path: Path) -> None:
    run(tmp_path / "run", on_interval=lambda end: end.interval == 2)
    lineage = popgrad.load(tmp_path / "run", task=task()).record.lineage(0)
    assert lineage[-1].length == 2
    again = popgrad.replay_schedule(tmp_path / "run", 3, 0, task=task(), progress=False)
    assert again.winner.segment.last_step == lineage[-1].last_step


def test_an_archived_state_stays_until_nothing_needs_it(whole: Path) -> None:
    segments, decisions = read(whole)
    kept = decisions[-1].plan.keep[0]
    digest = next(segment.digest for segment in segments if segment.id == kept)
    names = {path.name for path in (whole / "checkpoints").iterdir()}
    assert any(digest in name for name in names)
    needed = {segment.digest for segment in segments if segment.interval == 3}
    assert needed <= {name.partition(".")[0] for name in names}


def test_show_and_the_tables_have_roles_lengths_and_transforms(whole: Path) -> None:
    shown = command("show", str(whole))
    assert "role" in shown.out
    rows = json.loads(command("show", str(whole), "--json").out)["population"]
    assert all(row["role"] for row in rows)
    assert any(row.get("transform", {}).get("name") == "shrink-perturb" for row in rows)
    header = (whole / "history.csv").read_text().splitlines()[0]
    assert {"role", "length", "transform"} <= set(header.split(","))


# --- mistakes -----------------------------------------------------------------------------------------------


def planning(change: Callable[[Any, Any], Any], **attributes: Any) -> Strategy:
    """The strategy with a mistake in each plan."""
    strategy = scripted(SPACE)

    def step(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
        plan, after = strategy.step(rng, population, ready, memory)
        return change(plan, population), after

    return strategy._replace(step=step, **attributes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda plan, _: plan.__class__(**{**vars(plan), "roles": ("one",)}),
            "1 roles for 6 members",
        ),
        (
            lambda plan, _: plan.__class__(**{**vars(plan), "lengths": (0,) * 6}),
            "expected at least 1",
        ),
        (
            lambda plan, _: plan.__class__(**{**vars(plan), "keep": ((7, 7),)}),
            "neither the last segment",
        ),
        (
            lambda plan, _: plan.__class__(**{**vars(plan), "sources": (99,) * 6}),
            "which has no state",
        ),
    ],
)
def test_a_plan_that_cannot_be_obeyed_is_refused(change: Any, message: str) -> None:
    with pytest.raises(popgrad.RunError, match=message):
        popgrad.run(
            task(),
            strategy=planning(change),
            executor="serial",
            population=3,
            intervals=5,
            interval=6,
            progress=False,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"transforms": (Transform("shrink"),) * 6},
            "expected one of shrink-perturb, got 'shrink'",
        ),
        ({"transforms": (Transform("shrink-perturb"),) * 6}, "expected the numbers keep, noise"),
        ({"roles": ("a" * 201,) * 6}, "at most 200 characters"),
        ({"sources": (-2,) * 6}, "inherit from -2, which has no state"),
    ],
)
def test_a_refused_plan_is_not_recorded(change: Any, message: str, tmp_path: Path) -> None:
    """A recorded plan that cannot be obeyed would stop each resumed run, too."""

    def changed(plan: Any, population: Any) -> Any:
        return replace(plan, **change) if len(population.archive) else plan

    with pytest.raises(popgrad.PopgradError, match=message):
        popgrad.run(
            task(),
            strategy=planning(changed),
            directory=tmp_path / "run",
            executor="serial",
            population=3,
            intervals=5,
            interval=6,
            progress=False,
            outputs=False,
        )
    assert len(read(tmp_path / "run")[1]) == 1
    resumed = popgrad.resume(
        tmp_path / "run", task=task(), strategy=scripted(SPACE), progress=False, executor="serial"
    )
    assert resumed.stopped == "finished"


def test_lengths_need_a_shared_budget() -> None:
    with pytest.raises(popgrad.RunError, match="shares_budget=True"):
        popgrad.run(
            task(),
            strategy=scripted(SPACE)._replace(shares_budget=False, start=Start),
            executor="serial",
            population=3,
            intervals=5,
            interval=6,
            progress=False,
        )


def test_a_strategy_for_all_members_at_once_is_refused_in_async() -> None:
    with pytest.raises(popgrad.UsageError, match="decides for all members at once"):
        run(mode="async")


def test_evaluations_can_be_configured_and_change_no_weights() -> None:
    """Training in parts is the same training: the order of the data goes on, and nothing else is drawn."""
    settings = {"population": 2, "intervals": 2, "interval": 6, "executor": "serial"}
    plain = popgrad.run(task(), progress=False, **settings)
    within = popgrad.run(task(), progress=False, evaluations=3, **settings)
    digests = [segment.digest for segment in plain.segments]
    assert [segment.digest for segment in within.segments] == digests
    assert [[e.step for e in s.evaluations] for s in within.segments] == [[2, 4, 6]] * 4
    assert not any(segment.evaluations for segment in plain.segments)
