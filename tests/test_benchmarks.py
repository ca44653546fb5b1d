"""The benchmarks work: each runs in a tiny size where it needs no Ray, and says what it found in one form."""

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import popgrad
from popgrad.data import Splits
from popgrad.statistics.bootstrap import Interval

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """name -> the benchmark's module, which writes nothing outside of the test's folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    found = {"measure", "clocked"}

    def load(name: str) -> ModuleType:
        for user in ("measure", "clocked"):
            monkeypatch.setattr(importlib.import_module(user), "RUNS", tmp_path / "runs")
        if name not in found:  # a folder of tests may have the same name
            monkeypatch.delitem(sys.modules, name, raising=False)
            found.add(name)
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def run(module: ModuleType, out: Path) -> dict[str, Any]:
    """What a tiny size of a benchmark writes."""
    module.main(["--smoke", "--out", str(out)])
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["smoke"]
    assert found["machine"]["torch"] == importlib.metadata.version("torch")
    assert len(found["machine"]["load_before"]) == 3
    for row in found["rows"]:
        assert all(len(values) == 1 and values[0] > 0 for values in row["values"].values()), row
    return found


def without_goals(found: dict[str, Any]) -> list[str]:
    return [row["what"] for row in found["rows"] if "goal" not in row]


@pytest.mark.parametrize("name", ["vectorised", "scale", "scaling", "resampling", "dashboard"])
def test_a_tiny_size_runs(
    bench: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(bench(name), tmp_path / "out.json")
    printed = capsys.readouterr().out
    assert found["name"] == name
    assert all(row["what"] in printed for row in found["rows"])
    assert without_goals(found)  # they are for larger sizes


def test_inheriting_runs_in_a_tiny_size(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bench("exploit")
    monkeypatch.setattr(
        module, "keep_memory", lambda **_: None
    )  # it would hold for all tests that follow
    found = run(module, tmp_path / "out.json")
    assert [row["goal"]["text"] for row in found["rows"] if "goal" in row] == ["at most 3x"] * 3


@pytest.mark.parametrize("name", ["overhead", "step", "own_loop"])
def test_a_tiny_size_runs_on_mnist(bench: Any, name: str, tmp_path: Path, mnist_dir: Path) -> None:
    found = run(bench(name), tmp_path / "out.json")
    assert any("goal" in row for row in found["rows"])


@pytest.mark.parametrize("name", ["peers_fc", "peers_toy"])
def test_what_needs_ray_says_so(bench: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = bench(name)
    monkeypatch.setitem(sys.modules, "ray", None)
    for ours in ("population_seconds", "popgrad_seconds"):
        monkeypatch.setattr(module, ours, lambda *_, **__: 1.0, raising=False)
    with pytest.raises(SystemExit, match=r"popgrad\[benchmark\]"):
        module.main(["--smoke"])


@pytest.mark.slow
def test_under_popgrad_the_recorded_hyperparameters_of_a_trainer_are_live(
    bench: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bench("hf_ray")
    monkeypatch.setenv(module.NOTES, "")  # it is set by the script
    module.main(["popgrad"])
    assert "popgrad: 0 of 48 steps differ" in capsys.readouterr().out


def test_a_comparison_that_needs_ray_says_so(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = bench("hf_ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"popgrad\[benchmark\]"):
        module.run_ray(tmp_path)


def test_a_bench_alternates_between_its_subjects(bench: Any) -> None:
    order: list[str] = []

    def subject(name: str) -> Any:
        return lambda: float(len(order) + bool(order.append(name)))

    found = bench("measure").alternate({"a": subject("a"), "b": subject("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert found == {"a": [0.0, 2.0], "b": [1.0, 3.0]}


def test_a_row_has_medians_their_ratio_and_that_of_each_pair(bench: Any) -> None:
    row = bench("measure").Row(
        "w", "s", {"a": [3.0, 1.0, 8.0], "b": [2.0, 1.0, 4.0]}, ("a", "b"), at_most=1.5
    )
    found = row.data()
    assert found["medians"] == {"a": 3.0, "b": 2.0}
    assert found["ratio"]["value"] == 1.5
    assert found["ratio"]["pairs"] == [1.5, 1.0, 2.0]
    assert found["goal"] == {"text": "at most 1.5x", "reached": True}


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        ({"at_most": 1.9}, False),
        ({"at_most": 2.1}, True),
        ({"at_least": 1.9}, True),
        ({"at_least": 2.1}, False),
    ],
)
def test_a_goal_is_about_the_ratio_or_else_the_number(bench: Any, goal: Any, reached: bool) -> None:
    make = bench("measure").Row
    ratio = make("w", "s", {"a": [6.0], "b": [3.0]}, ("a", "b"), **goal).data()
    number = make("w", "s", {"a": [2.0]}, **goal).data()
    assert (ratio["goal"]["reached"], number["goal"]["reached"]) == (reached, reached)


def test_repeat_is_at_least_once(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench("scale").main(["--repeat", "0"])
    assert "at least 1" in capsys.readouterr().err


def written(measure: Any, name: str, folder: Path, *, smoke: bool = False) -> None:
    asked = measure.Bench(name, 2, smoke, folder / f"{name}.json")
    row = measure.Row("the thing", "s", {"a": [6.0, 6.0], "b": [3.0, 3.0]}, ("a", "b"), at_least=3)
    measure.finish(asked, [row])


def test_the_page_has_what_was_measured_and_how(bench: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for name in bench("performance").NAMES:
        written(bench("measure"), name, tmp_path)
    bench("performance").main(["--page", str(page), "--results", str(tmp_path)])
    text = page.read_text()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(
        bench("performance").NAMES
    )
    assert "| the thing | a 6 s; b 3 s | 2x (2..2) a / b | at least 3x | no |" in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert "one torch thread in it" in text  # of the notes on Ray


def test_no_page_is_made_of_tiny_sizes(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing was measured"):
        bench("performance").main(["--page", str(tmp_path / "page.md"), "--results", str(tmp_path)])
    written(bench("measure"), "scale", tmp_path, smoke=True)
    with pytest.raises(SystemExit, match="smoke"):
        bench("performance").main(["--page", str(tmp_path / "page.md"), "--results", str(tmp_path)])
    assert not (tmp_path / "page.md").exists()


def test_the_page_of_science_is_made_of_a_tiny_size_and_continues(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, results, page = bench("science"), tmp_path / "results", tmp_path / "science.md"
    places = ["--smoke", "--out", str(results), "--to", str(page)]
    module.main(places)
    lines = module.lines(results / "toys.jsonl")
    assert {line["toy"] for line in lines} == set(module.STEPS)
    assert all(len(line["scores"]) == 2 for line in lines)

    text = page.read_text()
    assert "| toy-time-linked | FIRE is better than PBT | | | | not run |" in text
    assert text.count("Not run yet") == len(bench("findings").PARTS)
    assert (tmp_path / "figures" / "science-toys.png").read_bytes().startswith(b"\x89PNG")

    capsys.readouterr()
    module.main(places)
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert module.lines(results / "toys.jsonl") == lines


def test_science_reads_finished_benchmarks(bench: Any, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"population": 4, "intervals": 3, "executor": "serial"}
    popgrad.benchmark("quadratic", seeds=2, directory=tmp_path / "b", progress=False, **keys)
    module, findings, results = bench("science"), bench("findings"), tmp_path / "results"
    module.collect(
        argparse.Namespace(
            digits=tmp_path / "b",
            mnist_fc=None,
            ablation=None,
            soup=None,
            soup_conv=None,
            data_dir=None,
        ),
        results,
    )
    kept = (results / "digits.json").read_text()
    assert str(tmp_path) not in kept
    part = "\n".join(findings.benchmark_part(json.loads(kept)))
    assert "| `random-search` (baseline) | 2 |" in part
    assert "2 seeds cannot show whether pbt helps: the test q" in part


def arm(name: str, mean: Any, gain: Any = None) -> dict[str, Any]:
    """An arm of `ablation.json`; the schedule has no gain over itself."""
    own = {"name": name, "values": [0.92, 0.93], "interquartile_mean": mean}
    return own if gain is None else {**own, "schedule_better_by": gain}


ABLATION = {
    "sentence": "The data do not show whether the schedule helped.",
    "metric": "accuracy",
    "arms": [
        arm("schedule", {"value": 0.9233, "low": 0.92, "high": 0.9267}),
        arm("final values", None, {"value": 0.04, "low": None, "high": None}),
        arm(
            "random search",
            {"value": 0.945, "low": 0.9367, "high": 0.9533},
            {"value": -0.0217, "low": -0.0852, "high": 0.0419},
        ),
    ],
}
SOUP = {
    "verdict": "The soup does not help.",
    "winner": {
        "members": [3],
        "metrics": {"accuracy": 0.90333, "loss": 0.30985},
        "test": {"accuracy": 0.88667, "loss": None},
    },
    "uniform": {"members": [3, 2], "metrics": {"accuracy": 0.0, "loss": None}, "test": None},
    "greedy": {
        "members": [3],
        "metrics": {"accuracy": 0.9, "loss": 0.3},
        "test": {"accuracy": 0.0, "loss": 0.4},
    },
    "ensemble": None,
    "file": "/somewhere/on/a/machine/soup.safetensors",
}


def test_science_reads_an_ablation_and_a_soup(bench: Any, tmp_path: Path) -> None:
    """With numbers that JSON lacks, a test score of zero, and a soup without an ensemble."""
    (tmp_path / "ablation.json").write_text(json.dumps(ABLATION))
    (tmp_path / "soup.json").write_text(json.dumps(SOUP))
    results = tmp_path / "results"
    results.mkdir()
    (results / "toys.jsonl").touch()
    bench("science").main(
        [
            *("--page", "--out", str(results), "--to", str(tmp_path / "page.md")),
            *("--ablation", str(tmp_path / "ablation.json"), "--soup", str(tmp_path / "soup.json")),
        ]
    )
    page = (tmp_path / "page.md").read_text()
    for row in (
        "| schedule | 0.9233 [0.9200, 0.9267] |  |",
        "| final values |  | 0.04 |",
        "| random search | 0.9450 [0.9367, 0.9533] | -0.022 [-0.085, 0.042] |",
        "* The data do not show whether the schedule helped.",
        "| model | members | accuracy | loss |",
        "| winner | 1 | 0.9033 (0.8867) | 0.3099 |",
        "| uniform | 2 | 0 |  |",
        "| greedy | 1 | 0.9 (0) | 0.3 (0.4) |",
        "* The soup does not help.",
    ):
        assert f"\n{row}\n" in page
    assert "/somewhere" not in (results / "soup.json").read_text()


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.1, 0.3, "yes"), (-0.1, 0.3, "not shown"), (-0.3, -0.1, "**no")]
)
def test_a_claim_is_reproduced_only_if_its_interval_shows_it(
    bench: Any, low: float, high: float, words: str
) -> None:
    assert bench("findings").outcome(Interval((low + high) / 2, low, high)).startswith(words)


def test_strategies_are_ranked_over_toys_on_one_scale(bench: Any) -> None:
    lines = [
        {
            "part": "decisions", "toy": toy, "decisions": decisions, "strategy": strategy,
            "scores": [scale * (place + 0.01 * seed) for seed in range(5)],
        }
        for toy, scale in (("small", 1e-3), ("large", 1e3))
        for decisions in (3, 10, 30)
        for place, strategy in enumerate(("random-search", "pbt"))
    ]  # fmt: skip
    ranking, note = bench("findings").rank(lines)
    assert (ranking.labels, ranking.ranks, note) == (("pbt", "random-search"), (1.0, 2.0), "")
    assert ranking.cliques == ()


FAST, SLOW = 605.0, 1805.0
"""Seconds of a segment of 600 steps and 5 seconds besides, in a slot and in a straggler."""


@pytest.mark.parametrize(
    ("members", "slots", "policy", "stragglers", "seconds", "busy"),
    [
        (20, 20, "sync", False, FAST, 20 * FAST),
        (20, 20, "async", False, FAST, 20 * FAST),
        (20, 5, "sync", False, 4 * FAST, 20 * FAST),
        (20, 5, "async", False, 4 * FAST, 20 * FAST),
        (20, 20, "sync", True, SLOW, 18 * FAST + 2 * SLOW),  # all wait for the two stragglers
        (20, 20, "sync with a deadline", True, 1.5 * FAST, 18 * FAST),
        (
            20,
            10,
            "sync",
            True,
            3 * FAST,
            19 * FAST + SLOW,
        ),  # nine slots take the next nine, then the last
        (20, 10, "sync with a deadline", True, 3 * FAST, 18 * FAST),  # the straggler loses two
    ],
)
def test_utilisation_is_what_can_be_worked_out_by_hand(
    bench: Any,
    tmp_path: Path,
    members: int,
    slots: int,
    policy: str,
    stragglers: bool,
    seconds: float,
    busy: float,
) -> None:
    module = bench("scaling")
    case = module.Case(members, slots, 3, policy, stragglers=stragglers, faults=False)
    ran = module.simulate(case, tmp_path / "run")
    assert ran.whole.seconds == pytest.approx(3 * seconds)
    assert ran.whole.utilisation(slots) == pytest.approx(busy / (slots * seconds))
    assert ran.whole.hourly == pytest.approx(ran.whole.steps / (3 * seconds / 3600))
    given_up = 2 / members if "deadline" in policy else 0.0
    assert ran.late == pytest.approx(given_up)
    assert ran.whole.steps == pytest.approx(3 * members * 600 * (1 - given_up))
    assert ran.events == members * (3 + 2)


def test_until_the_first_member_is_done_nobody_waits_for_the_slow(
    bench: Any, tmp_path: Path
) -> None:
    module = bench("scaling")
    ran = module.simulate(module.Case(20, 20, 3, "async", faults=False), tmp_path / "run")
    assert ran.first.seconds == pytest.approx(3 * FAST)
    assert ran.first.utilisation(20) == pytest.approx((18 * 3 * FAST + 2 * SLOW) / (20 * 3 * FAST))
    assert ran.whole.seconds > 3 * SLOW * 0.7
    assert ran.longest > 3  # who was behind inherited from who was ahead


@pytest.mark.parametrize("policy", ["sync", "async"])
def test_what_is_simulated_repeats_itself(bench: Any, tmp_path: Path, policy: str) -> None:
    module = bench("scaling")
    with module.quiet():
        one, other = (
            module.simulate(module.Case(20, 10, 6, policy), tmp_path / f"{k}") for k in range(2)
        )
    assert one.controller > 0
    assert dataclasses.replace(one, controller=other.controller) == other
    worse = one.whole.utilisation(10)
    assert worse < module.simulate(
        module.Case(20, 10, 6, policy, stragglers=False, faults=False), tmp_path / "calm"
    ).whole.utilisation(10)


@pytest.fixture
def simulated(bench: Any, tmp_path: Path) -> Path:
    """A folder with what scaling.py has written, as if it were of full size."""
    run(bench("scaling"), tmp_path / "scaling.json")
    found = json.loads((tmp_path / "scaling.json").read_text())
    (tmp_path / "scaling.json").write_text(json.dumps({**found, "smoke": False}))
    return tmp_path


def test_the_page_for_planning_has_what_was_simulated_and_says_what_was_not_measured(
    bench: Any, simulated: Path
) -> None:
    module, page = bench("planning"), simulated / "page.md"
    written(bench("measure"), "ray", simulated)
    module.main(["--page", str(page), "--results", str(simulated)])
    text = page.read_text()
    assert "| 20 members on 20 slots, nothing goes wrong | 1 |  | 1 | 1 |" in text
    assert "| the thing | a 6 s; b 3 s | 2x (2..2) a / b | at least 3x | no |" in text
    assert "Not measured: run `python benchmarks/peers_fc.py`." in text
    assert "cluster.py`." not in text
    assert (simulated / "figures" / module.FIGURE).read_bytes().startswith(b"\x89PNG")
    assert f"(figures/{module.FIGURE})" in text


def test_no_page_for_planning_is_made_of_tiny_sizes(bench: Any, tmp_path: Path) -> None:
    written(bench("measure"), "scaling", tmp_path, smoke=True)
    with pytest.raises(SystemExit, match="nothing was simulated"):
        bench("planning").main(["--page", str(tmp_path / "page.md"), "--results", str(tmp_path)])
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_loop_by_hand_trains_each_member_as_torch_does(bench: Any, batch_norm: bool) -> None:
    """Full batches, so that orders are of no effect, and no dropout."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(20, 6, generator=generator), torch.arange(20) % 3
    rates = torch.tensor([0.01, 0.1])
    part = inputs, targets
    population = bench("handwritten").Population(
        Splits(part, part, part), (6, 5, 3), rates, torch.ones(2), 20, 0,
        batch_norm=batch_norm, weight_decay=0.1,
    )  # fmt: skip
    networks = []
    for member in range(2):
        norm = [nn.BatchNorm1d(5)] if batch_norm else []
        network = nn.Sequential(nn.Linear(6, 5), *norm, nn.ReLU(), nn.Linear(5, 3))
        linear = [each for each in network if isinstance(each, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(
                linear, population.weights, population.biases, strict=True
            ):
                layer.weight.copy_(weight[member].t())
                layer.bias.copy_(bias[member, 0])
        networks.append(network)
    population.train(5)
    for member, (network, rate) in enumerate(zip(networks, rates.tolist(), strict=True)):
        optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
        for layer, weight in zip((network[0], network[-1]), population.weights, strict=True):
            torch.testing.assert_close(layer.weight.t(), weight[member], atol=1e-4, rtol=1e-3)
        if (
            not batch_norm
        ):  # before one, a bias gets rounding errors for gradients, and Adam takes them for real
            loss = functional.cross_entropy(network.eval()(inputs), targets).item()
            assert population.evaluate()[member]["loss"] == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("keep", [0.5, 0.8, 1.0])
def test_the_masks_by_hand_keep_as_many_and_keep_the_mean(bench: Any, keep: float) -> None:
    part = torch.randn(200, 6), torch.zeros(200, dtype=torch.int64)
    population = bench("handwritten").Population(
        Splits(part, part, part), (6, 500, 2), torch.ones(1), torch.tensor([keep]), 200, 0
    )
    (mask,) = population._masks(1, 200)
    assert mask.count_nonzero() / mask.numel() == pytest.approx(keep, abs=0.01)
    assert mask.max().item() == pytest.approx(1 / keep)
