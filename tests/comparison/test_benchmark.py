"""Benchmarks: equal budgets, one record for each strategy and seed, and the way on after an end."""

from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.comparison import benchmark as module
from popgrad.store.directory import open_record
from popgrad.tasks.toys import Quadratic
from program import readings

KEYS: dict[str, Any] = {
    "population": 3,
    "intervals": 3,
    "interval": "2",
    "executor": "serial",
    "outputs": False,
    "progress": False,
}


def run_names(directory: Path) -> list[str]:
    return sorted(
        str(path.parent.relative_to(directory)) for path in directory.glob("*/*/journal.db")
    )


def test_every_strategy_gets_every_seed_and_as_many_member_steps(tmp_path: Path) -> None:
    comparison = popgrad.benchmark(
        "quadratic",
        strategies="pbt,pbt:fraction=0.4",
        seeds=2,
        seed=5,
        baseline="pbt",
        directory=tmp_path,
        **KEYS,
    )
    assert run_names(tmp_path) == [
        "pbt-fraction=0.4/seed-5",
        "pbt-fraction=0.4/seed-6",
        "pbt/seed-5",
        "pbt/seed-6",
    ]
    (problem,) = comparison.problems
    assert [group.label for group in problem.groups] == ["pbt", "pbt:fraction=0.4"]
    assert [group.steps for group in problem.groups] == [(18,), (18,)]
    assert (tmp_path / "compare.json").exists()
    assert (tmp_path / "compare.png").exists()


def test_a_run_of_a_benchmark_is_the_run_that_popgrad_run_makes(tmp_path: Path) -> None:
    popgrad.benchmark("quadratic", strategies="pbt", seeds=1, directory=tmp_path, **KEYS)
    alone = popgrad.run("quadratic", directory=tmp_path / "alone", **KEYS)
    assert open_record(tmp_path / "pbt" / "seed-0").segments == alone.segments


class Stopping(Quadratic):
    """A task that is interrupted once, in a segment of the second run."""

    trained = 0

    def train(self, state: Any, hparams: Any, steps: int, ctx: Any) -> Any:
        Stopping.trained += 1
        if Stopping.trained == 14:
            raise KeyboardInterrupt
        return super().train(state, hparams, steps, ctx)


def test_a_benchmark_that_was_interrupted_continues(tmp_path: Path) -> None:
    Stopping.trained = 0
    keys = {**KEYS, "seeds": 2, "directory": tmp_path / "bench", "check": False}
    with pytest.raises(KeyboardInterrupt, match="interrupted after 1 of 4 runs; the same command"):
        popgrad.benchmark(Stopping(), **keys)
    assert run_names(tmp_path / "bench") == ["pbt/seed-0", "random-search/seed-0"]

    popgrad.benchmark(Stopping(), **keys)
    # Nothing that is recorded was retrained: 4 runs of 9 segments, and the attempt that was interrupted.
    assert Stopping.trained <= 4 * 9 + 3
    whole = popgrad.benchmark(Quadratic(), **{**keys, "directory": tmp_path / "whole"})
    resumed = popgrad.compare(tmp_path / "bench")
    scores = [
        [group.scores().tolist() for group in each.problems[0].groups] for each in (resumed, whole)
    ]
    assert scores[0] == scores[1]


def test_further_seeds_and_strategies_are_added_to_finished_runs(tmp_path: Path) -> None:
    popgrad.benchmark("quadratic", strategies="pbt", seeds=1, directory=tmp_path, **KEYS)
    before = (tmp_path / "pbt" / "seed-0" / "journal.db").read_bytes()
    comparison = popgrad.benchmark("quadratic", seeds=2, directory=tmp_path, **KEYS)
    assert (tmp_path / "pbt" / "seed-0" / "journal.db").read_bytes() == before
    assert [len(group.counted) for group in comparison.problems[0].groups] == [2, 2]


def test_a_changed_setting_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    popgrad.benchmark("quadratic", strategies="pbt", seeds=1, directory=tmp_path, **KEYS)
    before = sorted(tmp_path.rglob("*"))
    for changed in ({"population": 4}, {"intervals": 4}, {"interval": "3"}, {"options": {"lr": 1}}):
        (key,) = changed
        with pytest.raises(
            popgrad.UsageError, match=f"^{key}: the benchmark in .* was started with"
        ):
            popgrad.benchmark("quadratic", seeds=1, directory=tmp_path, **(KEYS | changed))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_changed_source_of_the_task_is_refused_and_is_another_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "from popgrad.tasks.toys import Quadratic\n\nclass Toy(Quadratic):\n    pass\n"
    Path("first.py").write_text(text)
    keys = {**KEYS, "strategies": "pbt", "check": False}
    popgrad.benchmark("first.py:Toy", seeds=1, directory="bench", **keys)
    Path("first.py").write_text(text + "# changed\n")
    with pytest.raises(popgrad.UsageError, match="task: its source has changed"):
        popgrad.benchmark("first.py:Toy", seeds=2, directory="bench", **keys)

    popgrad.benchmark("first.py:Toy", seeds=1, directory="other", **keys)
    labels = [problem.label for problem in popgrad.compare(["bench", "other"]).problems]
    assert [label.partition("source")[0] for label in labels] == ["first.py:Toy, "] * 2
    assert len(set(labels)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategies": "pb"}, "strategies: expected"),
        ({"strategies": "random-search,pbt:fraction=7"}, "fraction: expected"),
        ({"strategies": "random-search,pbt:burn=7"}, "burn"),
        ({"seeds": 0}, "seeds: expected an integer from 1"),
        ({"seeds": 1001}, "seeds: expected an integer from 1"),
        ({"seeds": True}, "seeds: expected an integer from 1"),
        ({"baseline": "schedule"}, "baseline: expected one of the strategies pbt, random-search"),
        ({"storage": "s3://x/y"}, "storage: it is for a single run"),
        ({"fraction": 0.3}, "fraction: a setting of a strategy"),
        ({"popluation": 3}, "popluation"),
        ({"progress": "bar"}, "progress: expected"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(popgrad.UsageError, match=message):
        popgrad.benchmark("quadratic", **(KEYS | {"directory": tmp_path / "new"} | arguments))
    assert not (tmp_path / "new").exists()


def test_the_directory_of_a_run_or_of_something_else_is_refused(tmp_path: Path) -> None:
    popgrad.run("quadratic", directory=tmp_path / "run", **KEYS)
    with pytest.raises(popgrad.UsageError, match="holds a run, not a benchmark"):
        popgrad.benchmark("quadratic", directory=tmp_path / "run", **KEYS)
    (tmp_path / "benchmark.json").write_text("[]")
    with pytest.raises(popgrad.UsageError, match="describes no benchmark"):
        popgrad.benchmark("quadratic", directory=tmp_path, **KEYS)
    (tmp_path / "file").touch()
    with pytest.raises(popgrad.UsageError, match="cannot be created"):
        popgrad.benchmark("quadratic", directory=tmp_path / "file" / "x", **KEYS)


class Failing(Quadratic):
    """A task on which all members of every run fail."""

    def evaluate(self, state: Any, hparams: Any, split: Any, ctx: Any) -> Any:
        return {"q": float("nan")}


def test_a_run_without_a_winner_does_not_end_the_benchmark(tmp_path: Path) -> None:
    comparison = popgrad.benchmark(Failing(), seeds=2, directory=tmp_path, check=False, **KEYS)
    assert [group.lost for group in comparison.problems[0].groups] == [2, 2]
    assert "4 runs have no winner" in comparison.sentences[0]


def test_the_test_split_is_read_on_request_once_for_each_winner(tmp_path: Path) -> None:
    keys = {**KEYS, "strategies": "pbt", "seeds": 2, "directory": tmp_path}
    popgrad.benchmark("quadratic", **keys)
    assert readings(tmp_path / "pbt" / "seed-0") == []
    for _ in range(2):
        comparison = popgrad.benchmark("quadratic", test=True, **keys)
        assert readings(tmp_path / "pbt" / "seed-0") == ["popgrad compare"]
    (summary,) = comparison.reports[0].summaries
    assert summary.test == summary.winner  # every split of this task is the same


def test_compare_reads_the_test_split_on_request_alone(tmp_path: Path) -> None:
    for seed in range(2):
        popgrad.run("quadratic", seed=seed, directory=tmp_path / str(seed), **KEYS)
    assert popgrad.compare(tmp_path).reports[0].summaries[0].test is None
    assert readings(tmp_path / "0") == []
    tested = popgrad.compare([tmp_path / "0", tmp_path / "1"], test=True)
    assert tested.reports[0].summaries[0].test is not None
    assert readings(tmp_path / "0") == readings(tmp_path / "1") == ["popgrad compare"]


def test_runs_of_an_instance_need_it_for_the_test_split(tmp_path: Path) -> None:
    popgrad.run(Quadratic(), directory=tmp_path / "run", **KEYS)
    assert popgrad.compare(tmp_path).problems[0].label == "Quadratic"
    with pytest.raises(popgrad.UsageError, match="task"):
        popgrad.compare(tmp_path, test=True)
    assert popgrad.compare(tmp_path, test=True, task=Quadratic()).reports[0].summaries[0].test


def test_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    with pytest.raises(popgrad.UsageError, match="expected one run or more"):
        popgrad.compare([])
    with pytest.raises(popgrad.UsageError, match="holds no run"):
        popgrad.compare(tmp_path)


def test_runs_are_in_an_order_that_shares_seeds() -> None:
    config = module.configuration.parse({"task": "quadratic", "seed": 3})
    runs = module.plan_runs(config, ("pbt", "random-search"), 2, Path("d"))
    assert [each.name for each in runs] == [
        "pbt, seed 3",
        "random-search, seed 3",
        "pbt, seed 4",
        "random-search, seed 4",
    ]
