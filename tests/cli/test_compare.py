"""benchmark and compare, as commands."""

import importlib
import json
import signal
import time
from pathlib import Path

import pytest

import popgrad as package
from popgrad.store.directory import open_record
from program import SMALL, popgrad, readings, refused, start_program

BENCH = (*SMALL, "--debug", "--plain")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a benchmark that no test changes."""
    place = tmp_path_factory.mktemp("bench") / "bench"
    done = popgrad("benchmark", "quadratic", *BENCH, "--seeds", "5", "--dir", str(place))
    assert done.code == 0
    return place


def test_a_benchmark_prints_the_comparison_and_a_line_for_each_run() -> None:
    done = popgrad("benchmark", "quadratic", *SMALL, "--plain", "--seeds", "2", "--dir", "bench")
    assert done.code == 0
    assert "2 seeds cannot show whether pbt helps" in done.out
    assert [line.partition(":")[0] for line in done.err.splitlines()] == [
        f"{number}/4 runs" for number in (1, 2, 3, 4)
    ]
    assert done.err.splitlines()[1].startswith("2/4 runs: random-search, seed 0: q ")
    assert json.loads(Path("bench/compare.json").read_text())["tasks"][0]["task"] == "quadratic"
    assert Path("bench/compare.png").exists()


def test_a_benchmark_continues_in_its_own_directory_by_default() -> None:
    argv = ("benchmark", "toy.py:Toy", *BENCH, "--seeds", "1", "--set", "runs_dir=here")
    first = popgrad(*argv)
    assert first.code == 0
    assert "finished before" not in first.err
    again = popgrad(*argv)
    assert again.out == first.out
    assert again.err.count("finished before") == 2
    assert [path.name for path in Path("here").iterdir()] == ["benchmark-toy"]


def test_a_file_of_hyperparameters_starts_every_run() -> None:
    Path("initial.json").write_text('[{"h0": 0.25}]')
    done = popgrad(
        "benchmark", "quadratic", *BENCH, "--seeds", "1", "--dir", "b", "--initial", "initial.json"
    )
    assert done.code == 0
    for strategy in ("pbt", "random-search"):
        first = open_record(Path("b") / strategy / "seed-0").segments[0]
        assert first.hparams["h0"] == 0.25


def test_mistakes_have_one_line() -> None:
    assert "a benchmark has several" in refused(
        "benchmark", "quadratic", "--set", "strategy.fraction=0.3"
    )
    assert "--dir" in refused("benchmark", "quadratic", *BENCH, "--dir", "toy.py")
    assert "holds no run" in refused("compare", "nowhere")
    assert "--baseline: expected one of" in refused("compare", str(_run()), "--baseline", "pb2")
    assert "ends in .png" in refused("compare", str(_run()), "--figure", "x.txt")
    assert "cannot write" in refused("compare", str(_run()), "--figure", "toy.py/x.png")


def _run() -> Path:
    if not Path("run").exists():
        assert popgrad("run", "quadratic", *SMALL, "--debug", "--no-test", "--dir", "run").code == 0
    return Path("run")


def test_compare_shows_what_the_benchmark_has_shown(bench: Path) -> None:
    done = popgrad("compare", str(bench))
    again = popgrad("benchmark", "quadratic", *BENCH, "--seeds", "5", "--dir", str(bench))
    assert done.code == 0
    assert done.out == again.out
    assert "95 % interval" in done.out
    assert "shared seeds" in done.out


def test_compare_prints_json_and_every_run(bench: Path) -> None:
    (task,) = popgrad("compare", str(bench), "--json").json["tasks"]
    assert [group["label"] for group in task["groups"]] == ["pbt", "random-search"]
    assert [run["seed"] for run in task["groups"][0]["runs"]] == [0, 1, 2, 3, 4]
    assert task["groups"][0]["member_steps"] == [4 * 3 * 4]
    assert str(bench / "pbt" / "seed-3") in popgrad("compare", str(bench), "--all").out
    turned = popgrad("compare", str(bench), "--baseline", "pbt", "--json").json["tasks"][0]
    assert turned["baseline"] == "pbt"


@pytest.mark.draws
def test_compare_draws_a_figure(bench: Path) -> None:
    assert popgrad("compare", str(bench), "--figure", "compare.png").code == 0
    assert Path("compare.png").read_bytes().startswith(b"\x89PNG")


def test_compare_reads_the_test_split_on_request_alone() -> None:
    run = str(_run())
    assert "test q" not in popgrad("compare", run).out
    assert readings(run) == []
    for _ in range(2):
        assert "test q" in popgrad("compare", run, "--test").out
        assert readings(run) == ["popgrad compare"]


def test_a_run_of_an_instance_is_tested_with_a_task_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(".")
    toy = importlib.import_module("toy")
    keys = {"population": 2, "intervals": 1, "interval": "2", "executor": "serial"}
    package.run(toy.Toy(), directory="given", progress=False, outputs=False, **keys)
    assert "--task" in refused("compare", "given", "--test")
    done = popgrad("compare", "given", "--test", "--task", "toy.py:Toy")
    assert (done.code, "test q" in done.out) == (0, True)


@pytest.mark.slow
def test_ctrl_c_leaves_a_benchmark_that_continues() -> None:
    argv = ("benchmark", "toy.py:Toy", *BENCH, "--seeds", "1", "--dir", "bench")
    process = start_program(*argv, HOLD="1")
    deadline = time.monotonic() + 60
    while not Path("bench/pbt/seed-0/journal.db").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted after 0 of 2 runs; the same command again continues" in err
    done = popgrad(*argv)
    assert done.code == 0
    assert "1 seed cannot show" in done.out
