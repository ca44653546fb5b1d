"""Make docs/science.md: do the strategies of the papers do what the papers claim?

    python benchmarks/science.py                     the toys, about ten minutes of one core, then the page
    python benchmarks/science.py --page              the page and its figures, from the results that exist
    python benchmarks/science.py --digits runs/benchmark-digits --mnist-fc runs/benchmark-mnist-fc --page
    python benchmarks/science.py --ablation RUN/ablation.json --soup "popgrad soup RUN --json, as a file" --page

It continues where it was stopped: a result is a line of benchmarks/science-results/toys.jsonl. The other
options copy the numbers of finished benchmarks, of an ablation and of a soup to that folder.
"""

import argparse
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import findings

import popgrad

FOLDER = Path(__file__).resolve().parent / "science-results"
PAGE = FOLDER.parents[1] / "docs" / "science.md"

DECISIONS = (3, 10, 30, 100)
STEPS = {"toy-plain": 900, "toy-time-linked": 900, "toy-drifting": 300, "toy-triangle": 600}
"""Steps of a member, the same for each number of decisions, which all of them divide."""

POPULATION = 16
"""Four members for each of four sub-populations of MF-PBT, and eight quarters of four for the others."""

SEEDS = 10
WINDOW = 100
"""Segments that PB2 learns from; its time grows with the cube."""

COMMON: Mapping[str, Any] = {"fraction": 0.25, "factors": [0.5, 2.0]}
"""Settings that Chebykin et al. 2025 gave to all variants."""

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "pbt": COMMON,
    "random-search": {},
    "tournament": {"factors": COMMON["factors"]},
    "threshold": {},
    "gap": {},
    "initiator": {"factors": COMMON["factors"]},
    "backtracking": COMMON,
    "pb2": {"fraction": COMMON["fraction"], "window": WINDOW},
    "mf-pbt": {"factors": COMMON["factors"]},
    "fire": COMMON,
    "pairwise": {},
}
"""Strategies on the toys with their settings; all else is the default."""

FREQUENCIES = {2: [1], 3: [1, 2], 10: [1, 5], 30: [1, 5, 10]}
"""Frequencies of MF-PBT by the decisions of a run; `SLOW` with more of them."""

SLOW = [1, 5, 10, 25]

PUBLISHED = "published"
"""Part of the results at the sizes of the publications."""


@dataclass(frozen=True)
class Case:
    """A toy at a size, with a strategy: a line of the results.

    Attributes:
        part: "decisions", or "published".
        toy: Name of the task.
        decisions: Intervals of a run.
        interval: Steps of an interval.
        population: Members.
        strategy: Name of the strategy.
        seeds: Seeds, from 0 on.
        start: Hyperparameters that all members start with; empty = as the toy has it.
    """

    part: str
    toy: str
    decisions: int
    interval: int
    population: int
    strategy: str
    seeds: int
    start: Mapping[str, float]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the strategy."""
        if self.strategy == "mf-pbt":
            return {
                **STRATEGIES["mf-pbt"],
                "frequencies": FREQUENCIES.get(self.decisions, SLOW),
            }
        return dict(STRATEGIES[self.strategy])


def cases(*, smoke: bool = False) -> list[Case]:
    """Return all cases, the cheap ones first."""
    found = []
    # Chebykin et al. 2025, section 5.2: 50 intervals of 20 steps.
    for toy in ("toy-plain", "toy-time-linked"):
        for strategy in ("pbt", "random-search", "mf-pbt", "fire", "pb2"):
            found.append(Case(PUBLISHED, toy, 50, 20, POPULATION, strategy, SEEDS, {}))
    for strategy in ("pbt", "random-search", "pb2"):
        found.append(Case(PUBLISHED, "toy-drifting", 40, 1, 4, strategy, 2 * SEEDS, {}))
    # Ray Tune's example: all members start at a rate of 0.0001.
    for strategy in ("pbt", "random-search"):
        rate = {"lr": 1e-4}
        found.append(Case(PUBLISHED, "toy-triangle", 30, 20, 8, strategy, 2 * SEEDS, rate))

    for decisions in DECISIONS:
        for toy, steps in STEPS.items():
            for strategy in STRATEGIES:
                size = (decisions, steps // decisions, POPULATION)
                found.append(Case("decisions", toy, *size, strategy, SEEDS, {}))
    if smoke:
        kept = ("pbt", "random-search", "mf-pbt")
        return [
            Case(each.part, each.toy, 2, 2, 4, each.strategy, 2, each.start)
            for each in found
            if each.strategy in kept and (each.part == PUBLISHED or each.decisions == DECISIONS[0])
        ]
    return sorted(found, key=_cost)


def _cost(case: Case) -> tuple[bool, int]:
    """Return the order of a case: the published ones, then by decisions; the models of PB2 take longest."""
    slow = case.strategy == "pb2" and case.decisions > 30 and case.population > 4
    return slow, 0 if case.part == PUBLISHED else case.decisions


def train(case: Case) -> dict[str, Any]:
    """Run a case with all of its seeds, in memory, and return its line."""
    scores = []
    regrets = []
    for seed in range(case.seeds):
        result = popgrad.run(
            case.toy,
            strategy=case.strategy,  # type: ignore[arg-type]
            population=case.population,
            intervals=case.decisions,
            interval=case.interval,
            initial=[case.start] * case.population if case.start else (),
            seed=seed,
            executor="serial",
            progress=False,
            outputs=False,
            **case.settings,
        )
        spent = sum(segment.steps for segment in result.segments)
        assert spent == case.population * case.decisions * case.interval, (case, spent)
        scores.append(result.winner.score)
        seen = [segment.metrics.get("regret", 0.0) for segment in result.segments]
        regrets.append(sum(seen) / len(seen))
    return {**asdict(case), "scores": scores, "regrets": regrets}


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results; none if there is no such file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def run_toys(wanted: Sequence[Case], file: Path, workers: int) -> None:
    """Run the cases that have no line yet, and append their lines as they come."""
    names = tuple(Case.__dataclass_fields__)
    done = [{name: line[name] for name in names} for line in lines(file)]
    left = [case for case in wanted if asdict(case) not in done]
    file.parent.mkdir(parents=True, exist_ok=True)

    for number, line in enumerate(_trained(left, workers), 1):
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        words = f"{line['toy']}, {line['decisions']} decisions, {line['strategy']}"
        print(f"{number}/{len(left)} {words}: {max(line['scores']):.4g} at best", flush=True)


def _trained(left: Sequence[Case], workers: int) -> Iterator[dict[str, Any]]:
    """Return the lines of cases as they are done."""
    if workers == 1:
        yield from map(train, left)
        return
    # Fresh interpreters, which share no state of torch.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for future in as_completed([pool.submit(train, case) for case in left]):
            yield future.result()


def collect(given: argparse.Namespace, folder: Path) -> None:
    """Copy the numbers of finished benchmarks, of an ablation and of a soup to the results.

    The winners of a benchmark that have no test score on record are evaluated, which is recorded.
    """
    for name in ("digits", "mnist-fc"):
        directory = getattr(given, name.replace("-", "_"))
        if directory is not None:
            comparison = popgrad.compare(directory, test=True, data_dir=given.data_dir)
            _keep(folder / f"{name}.json", findings.compact(comparison.to_dict()))
    for name in ("ablation", "soup", "soup-conv"):
        file = getattr(given, name.replace("-", "_"))
        if file is not None:
            found = json.loads(file.read_text(encoding="utf-8"))
            # Where the soup lies on the machine that made it is no result.
            found.pop("file", None)
            _keep(folder / f"{name}.json", found)


def _keep(file: Path, found: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="run nothing, write the page again")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--smoke", action="store_true", help="a tiny size: does it work?")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--to", type=Path, default=PAGE, help="the page (default: docs/science.md)")
    parser.add_argument("--digits", type=Path, help="directory of a finished benchmark of digits")
    parser.add_argument("--mnist-fc", type=Path, help="the same of mnist-fc")
    parser.add_argument("--ablation", type=Path, help="ablation.json of a run")
    parser.add_argument("--soup", type=Path, help="output of popgrad soup --json, as a file")
    parser.add_argument("--soup-conv", type=Path, help="the same of mnist-conv")
    parser.add_argument("--data-dir", type=Path, help="directory of the data, if it has moved")
    given = parser.parse_args(argv)
    if given.smoke and (given.out == FOLDER or given.to == PAGE):
        parser.error("--smoke: its numbers mean nothing; give --out and --to another place")

    collect(given, given.out)
    if not given.page:
        run_toys(cases(smoke=given.smoke), given.out / "toys.jsonl", given.workers)
    findings.write_page(given.out, given.to, STEPS)
    print(f"wrote {given.to}")


if __name__ == "__main__":
    main()
