"""What `popgrad.run` promises: equal runs, limits, a fair start, and nothing of the caller's disturbed."""

import itertools
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import popgrad
from popgrad import Constant, Plan, Segment, Strategy, Uniform, UsageError
from popgrad.tasks import Quadratic
from spies import Plain, Spy, odd, read, record


def odd_run(
    directory: Path, executor: str, workers: int | None = None, seed: int = 3
) -> popgrad.Result:
    return popgrad.run(
        odd(), population=4, intervals=4, interval=5, seed=seed, fraction=0.5, resample_probability=0.25,
        executor=executor, workers=workers, device="cpu", directory=directory,
    )  # fmt: skip


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> popgrad.Result:
    return odd_run(tmp_path_factory.mktemp("serial"), "serial")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_processes_give_the_record_of_serial(
    workers: int, serial: popgrad.Result, tmp_path: Path
) -> None:
    result = odd_run(tmp_path / "run", "processes", workers)
    assert serial.directory is not None
    assert result.segments == serial.segments
    assert record(tmp_path / "run") == record(serial.directory)
    assert {s.hparams["batch_size"] for s in result.segments} == {1, 32}


def test_same_seed_same_run_and_another_seed_another(
    serial: popgrad.Result, tmp_path: Path
) -> None:
    assert odd_run(tmp_path / "same", "serial").segments == serial.segments
    other = odd_run(tmp_path / "other", "serial", seed=4).segments
    assert {s.digest for s in other}.isdisjoint(s.digest for s in serial.segments)


def test_a_run_without_a_directory_is_the_same_run_and_writes_nothing(
    serial: popgrad.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = popgrad.run(
        odd(), population=4, intervals=4, interval=5, seed=3, fraction=0.5, resample_probability=0.25,
        executor="serial", device="cpu",
    )  # fmt: skip
    assert result.segments == serial.segments
    assert result.directory is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_the_callers_generators_threads_and_grad_mode_are_as_before(
    executor: str, tmp_path: Path
) -> None:
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    torch.set_num_threads(2)
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    before = random.getstate(), torch.get_rng_state()
    with torch.no_grad():
        result = popgrad.run(
            odd(),
            population=2,
            intervals=2,
            interval=2,
            executor=executor,
            workers=1,
            directory=tmp_path / "r",
        )
        assert result.winner.module is not None
        result.test()
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == 2
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]  # noqa: NPY002


def test_a_callback_sees_its_own_generators_and_cannot_change_the_run() -> None:
    def disturb(_: Segment) -> None:
        torch.manual_seed(0)
        random.random()
        drawn.append(float(torch.rand(())))

    drawn: list[float] = []
    task = Spy()
    given: dict[str, Any] = {"population": 2, "intervals": 3, "interval": 2, "executor": "serial"}
    assert (
        popgrad.run(task, on_segment=disturb, **given).segments
        == popgrad.run(task, **given).segments
    )
    assert len(set(drawn)) == 1


def test_no_decision_reads_test_data() -> None:
    """The spy raises when its test split is read, so that only asking for it fails."""
    result = popgrad.run(Spy(), population=3, intervals=3, interval=2, executor="serial")
    with pytest.raises(PermissionError, match="the test split was read"):
        result.test()


def test_the_winner_is_the_best_at_the_end_and_best_ever_is_shown_beside_it() -> None:
    class Falling(Plain):
        def evaluate(self, state: Any, hparams: Any, split: str, ctx: Any) -> dict[str, float]:
            return {"q": state["x"] - 100.0 * ctx.interval}

    result = popgrad.run(Falling(), population=3, intervals=3, interval=2, executor="serial")
    last = [s for s in result.segments if s.interval == 2]
    assert result.winner.score == max(s.score for s in last)
    assert result.winner.segment in last
    assert result.best_ever.interval == 0
    assert result.best_ever.score == max(s.score for s in result.segments)


# --- limits -------------------------------------------------------------------------------------------


def test_no_interval_starts_once_the_target_is_reached(tmp_path: Path) -> None:
    given: dict[str, Any] = {"population": 3, "interval": 2, "executor": "serial"}
    whole = popgrad.run(Spy(), intervals=6, **given)
    first = next(s for s in whole.segments if s.score >= whole.winner.score / 2)
    result = popgrad.run(
        Spy(), intervals=6, target_score=first.score, directory=tmp_path / "run", **given
    )
    assert result.stopped == "target score"
    assert result.segments == tuple(s for s in whole.segments if s.interval <= first.interval)
    again = popgrad.resume(tmp_path / "run", task=Spy())
    assert (again.stopped, again.segments) == ("target score", result.segments)


def test_no_interval_starts_once_the_time_is_over_and_the_run_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"population": 3, "interval": 2, "executor": "serial", "intervals": 5}
    now = [1000.0]

    def leap(segment: Segment) -> None:
        now[0] += 3600.0 if segment.id == (2, 1) else 0.0

    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: now[0])
        stopped = popgrad.run(
            Spy(), max_time="59m", directory=tmp_path / "run", on_segment=leap, **given
        )
        assert stopped.stopped == "time"
        assert {s.interval for s in stopped.segments} == {0, 1}
    popgrad.run(Spy(), directory=tmp_path / "whole", **given)
    assert popgrad.resume(tmp_path / "run", task=Spy()).stopped == "finished"
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_what_was_decided_is_done_before_the_time_can_be_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long reading the record takes, a resumed run goes on where it was, not in its past."""

    def interrupt(segment: Segment) -> None:
        if segment.id == (0, 2):
            raise KeyboardInterrupt

    given: dict[str, Any] = {"population": 3, "interval": 2, "executor": "serial", "intervals": 5}
    with pytest.raises(KeyboardInterrupt):
        popgrad.run(Spy(), max_time="1h", directory=tmp_path / "run", on_segment=interrupt, **given)
    hours = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: 7200.0 * next(hours))
    result = popgrad.resume(tmp_path / "run", task=Spy())
    assert result.stopped == "time"
    assert [s.interval for s in result.segments] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("interval", "steps"), [("1 epoch", 4), ("2 epochs", 8), (5, 5), ("7", 7), ("3 steps", 3)]
)
def test_an_interval_is_steps_or_epochs(interval: int | str, steps: int) -> None:
    result = popgrad.run(
        odd(),
        population=2,
        intervals=1,
        interval=interval,
        executor="serial",
        space={"batch_size": Constant(32)},
    )
    assert [s.steps for s in result.segments] == [steps, steps]


def test_members_with_their_own_batch_size_have_their_own_epochs() -> None:
    result = popgrad.run(
        odd(), population=2, intervals=2, interval="1 epoch", executor="serial", strategy="random-search",
        initial=[{"batch_size": 1}, {"batch_size": 32}],
    )  # fmt: skip
    assert [s.steps for s in result.segments] == [97, 4, 97, 4]
    assert [s.samples for s in result.segments] == [97, 97, 194, 194]


# --- the start ----------------------------------------------------------------------------------------


def test_the_first_members_start_with_what_they_are_given() -> None:
    given: dict[str, Any] = {"population": 3, "intervals": 1, "interval": 1, "executor": "serial"}
    free = popgrad.run(Quadratic(), **given)
    result = popgrad.run(
        Quadratic(), initial=[{"h0": 0.25}, {"h0": np.float64(1), "h1": 0}], **given
    )
    assert result.segments[0].hparams == {"h0": 0.25, "h1": free.segments[0].hparams["h1"]}
    assert result.segments[1].hparams == {"h0": 1.0, "h1": 0.0}
    assert result.segments[2] == free.segments[2]
    assert result.segments[0].changes == {"h0": "given", "h1": "sampled"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"initial": [{}] * 4},
            "initial: expected at most 3 sets of hyperparameters, one a member, got 4",
        ),
        ({"initial": [{"h2": 1.0}]}, r"initial\[0\]: unknown hyperparameter h2; has h0, h1"),
        (
            {"initial": [{}, {"h1": 1.5}]},
            r"initial\[1\].h1: expected uniform 0.0..1.0, got 1.5",
        ),
        ({"initial": {"h0": 1.0}}, "initial: expected a list, got"),
        ({"initial": [3]}, "initial.0: expected a table of hyperparameters such as .*, got 3"),
        ({"interval": "1 epoch"}, "interval: a Quadratic counts no epochs; give a number of steps"),
        (
            {"weights": "w.safetensors"},
            "weights: only a TorchTask can start from weights, got a Quadratic",
        ),
        (
            {"space": {"h0": {"kind": "uniform", "low": 2, "high": 1}}},
            "space.h0: low: expected a number below high = 1.0, got 2.0",
        ),
        (
            {"space": {"h0": (0.1, 0.2)}},
            r"space.h0: expected a dimension such as .*, got \[0.1, 0.2\]",
        ),
        (
            {"options": {"lr": 0.1}},
            "options: they are for a task that is named; this run is given a task object",
        ),
        (
            {"executor": "threads"},
            "executor: expected one of processes, serial, .*, auto, got 'threads'",
        ),
        ({"device": "tpu"}, "device 'tpu' does not exist here; there is cpu"),
        ({"strategy": "cma"}, "strategy: expected pbt, tournament, .*got 'cma'"),
        (
            {"fraction": 0.7},
            r"fraction: expected a share of members in \[0, 0.5\] to replace, got 0.7",
        ),
        ({"factors": [1.0, 2.0]}, "factors: expected numbers above 0 and other than 1"),
        ({"factors": []}, "factors: expected at least one number"),
        (
            {"resample": 0.5},
            r"run\(\) has no keyword 'resample'; did you mean 'resample_probability'",
        ),
        ({"interals": 3}, r"run\(\) has no keyword 'interals'; did you mean 'intervals'\?"),
        ({"stratgy": "pbt"}, r"run\(\) has no keyword 'stratgy'; did you mean 'strategy'\?"),
        ({"colour": 3}, r"run\(\) has no keyword 'colour'; it has task, space"),
        (
            {"sleep": 3},
            r"run\(\) has no keyword 'sleep': it is a key that this function cannot set",
        ),
        ({"strategy": "random_search"}, "got 'random_search'; did you mean 'random-search'"),
        ({"strategy": popgrad.pbt}, r"got the function pbt: call it with the space, pbt\(space\)"),
        ({"strategy": {"name": "pbt"}}, "strategy: expected 'pbt', .* or a Strategy, got {"),
        ({"strategy": 3}, "strategy: expected 'pbt', .* or a Strategy, got 3"),
        ({"space": [1]}, "space: expected dimensions by name, .*, got "),
        ({"space": popgrad.Uniform(0, 1)}, "space: expected dimensions by name, .*, got Uniform"),
        ({"initial": [{"h00": 1.0}]}, "unknown hyperparameter h00; did you mean 'h0'"),
        ({"directory": 3}, 'directory: expected a path such as "runs/first", got 3'),
        ({"task": popgrad.TorchTask}, r"task: got the class TorchTask, .* give an instance"),
        ({"burn_in": -1}, "burn_in: expected a number of intervals, 0 or more, got -1"),
        ({"population": 1}, "population: expected at least 2, got 1: pbt copies between members"),
        (
            {"strategy": "random-search", "fraction": 0.2},
            "strategy random-search has no option 'fraction'",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line_before_anything_is_written(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    usual: dict[str, Any] = {"population": 3, "intervals": 1, "interval": 1, "executor": "serial"}
    with pytest.raises(UsageError, match=message) as caught:
        popgrad.run(**{"task": Quadratic(), "directory": tmp_path / "run", **usual, **given})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_options_reach_a_task_that_is_given_by_name() -> None:
    given: dict[str, Any] = {"population": 2, "intervals": 1, "interval": 1, "executor": "serial"}
    slow, fast = (
        popgrad.run("quadratic", options={"lr": lr}, **given).winner.score for lr in (0.01, 0.1)
    )
    assert slow < fast
    with pytest.raises(UsageError, match=r"option lr: expected a number, got 'high'"):
        popgrad.run("quadratic", options={"lr": "high"}, **given)


def test_the_space_can_be_changed_and_is_what_is_recorded() -> None:
    given: dict[str, Any] = {"population": 3, "intervals": 3, "interval": 1, "executor": "serial"}
    result = popgrad.run(
        Quadratic(), space={"h0": Uniform(0.5, 0.6), "h1": Constant(0.25)}, **given
    )
    assert result.space == Quadratic().space.with_({"h0": Uniform(0.5, 0.6), "h1": Constant(0.25)})
    assert all(
        0.5 <= float(s.hparams["h0"]) <= 0.6 and s.hparams["h1"] == 0.25 for s in result.segments
    )
    spec = {
        "h0": {"kind": "uniform", "low": 0.5, "high": 0.6},
        "h1": {"kind": "constant", "value": 0.25},
    }
    assert popgrad.run(Quadratic(), space=spec, **given).segments == result.segments
    with pytest.raises(UsageError, match="space: a Plain is not a dataclass with a field 'space'"):
        popgrad.run(Plain(), space=spec, **given)


def test_members_start_from_given_weights(serial: popgrad.Result, tmp_path: Path) -> None:
    """From the file or from the run's directory; with no step in between, what comes out is what went in."""
    assert serial.directory is not None
    weights = load_file(serial.directory / "best.safetensors")

    class Untrained(type(odd())):  # type: ignore[misc]
        def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
            return state

    task = Untrained(**vars(odd()))
    for given in (serial.directory, serial.directory / "best.safetensors", str(serial.directory)):
        result = popgrad.run(
            task, population=2, intervals=1, interval=1, executor="serial", weights=given
        )
        state = result.winner.state["model"]
        assert state.keys() == weights.keys()
        assert all(torch.equal(state[name], weights[name]) for name in weights)
    fresh = popgrad.run(
        task, population=2, intervals=1, interval=1, executor="serial"
    ).winner.state["model"]
    assert not torch.equal(fresh["0.weight"], weights["0.weight"])


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read weights from .*nowhere"):
        popgrad.run(odd(), interval=1, executor="serial", weights=tmp_path / "nowhere")


# --- a strategy of one's own --------------------------------------------------------------------------


def everyone_follows(rng: Any, population: Any, ready: Any, memory: Any) -> Any:
    best = int(np.argmax(population.scores))
    hparams = population.hparams[best]
    kept = dict.fromkeys(hparams, "inherited")
    return Plan(
        tuple(ready.tolist()), (best,) * len(ready), (hparams,) * len(ready), (kept,) * len(ready)
    ), memory


FOLLOW = Strategy(init=dict, step=everyone_follows)


def test_a_strategy_of_ones_own_decides(tmp_path: Path) -> None:
    given: dict[str, Any] = {"interval": 2, "executor": "serial", "population": 3}
    popgrad.run(Spy(), strategy=FOLLOW, intervals=3, directory=tmp_path / "run", **given)
    segments, decisions = read(tmp_path / "run")
    for decision in decisions:
        best = max((s for s in segments if s.interval == decision.number), key=lambda s: s.score)
        assert decision.plan.sources == (best.member,) * 3
    with pytest.raises(
        UsageError, match="strategy: the run was given a Strategy object; pass it again"
    ):
        popgrad.resume(tmp_path / "run", task=Spy(), intervals=4)
    assert len(popgrad.load(tmp_path / "run").segments) == 9
    popgrad.resume(tmp_path / "run", task=Spy(), strategy=FOLLOW, intervals=4)
    popgrad.run(Spy(), strategy=FOLLOW, intervals=4, directory=tmp_path / "whole", **given)
    assert record(tmp_path / "run") == record(tmp_path / "whole")


def test_settings_beside_a_strategy_of_ones_own_are_refused() -> None:
    with pytest.raises(UsageError, match="strategy: got fraction beside a Strategy object"):
        popgrad.run(Spy(), strategy=FOLLOW, fraction=0.2, interval=1, executor="serial")


def test_a_population_of_one_trains_where_nobody_is_copied() -> None:
    result = popgrad.run(
        Spy(), population=1, intervals=3, interval=2, executor="serial", strategy="random-search"
    )
    assert [s.source for s in result.segments] == [None, (0, 0), (0, 1)]


def test_a_task_without_hyperparameters_trains(tmp_path: Path) -> None:
    class Bare(Plain):
        space = popgrad.Space({})

        def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
            return {"x": state["x"] + steps}

    result = popgrad.run(
        Bare(), population=2, intervals=2, interval=2, executor="serial", directory=tmp_path / "r"
    )
    assert result.winner.hparams == {}
