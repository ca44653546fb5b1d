"""Should explore resample a hyperparameter now and then? PBT with three probabilities, next to each other.

    python benchmarks/resampling.py --repeat 20                      digits; a few minutes of one core
    python benchmarks/resampling.py --repeat 5 --tasks mnist-fc      15 runs, each about a minute or more of one core

Each seed is a run of each probability, with the same first members. All else is the default of `pbt`.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import Row, begin, finish

from popgrad.config.model import parse
from popgrad.record import lineage
from popgrad.runs.api import start

PROBABILITIES = (0.0, 0.1, 0.25)
SIZES: Mapping[str, Mapping[str, Any]] = {
    "digits": {"population": 10, "intervals": 20, "interval": "1 epoch"},
    "mnist-fc": {"population": 10, "intervals": 20, "interval": 50},
}
"""Population, intervals and their length, by task."""

TINY = {"population": 4, "intervals": 2, "interval": 5}
MEASURES = (
    "winner, validation",
    "winner, test",
    "median member, validation",
)
RESAMPLES = 10_000
"""Of the bootstrap."""


def accuracies(task: str, size: Mapping[str, Any], probability: float, seed: int) -> list[float]:
    """Train a population, and return its `MEASURES`, in percent."""
    config = parse(
        {
            "task": task,
            "strategy": {"name": "pbt", "resample_probability": probability},
            "seed": seed,
            # A split of its own for each seed, so that the comparison is not of one split.
            "options": {"split_seed": seed},
            "executor": "vectorised",
            "workers": 1,
            "outputs": False,
            "checkpoint_every": size["intervals"],
            **size,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        result = start(config, directory=Path(folder) / "run")
        test = result.test(reader="resampling benchmark")["accuracy"]
    ends = [s.score for s in lineage.last_segments(result.segments).values() if not s.failed]
    return [100 * result.winner.score, 100 * test, 100 * float(np.median(ends))]


def compare(task: str, size: Mapping[str, Any], seeds: int) -> list[Row]:
    """Run each probability with each seed, in turn."""
    found = {
        (seed, probability): accuracies(task, size, probability, seed)
        for seed in range(seeds)
        for probability in PROBABILITIES
    }
    return [
        Row(
            f"{task}: {measure}",
            "%",
            {f"{p:g}": [found[seed, p][i] for seed in range(seeds)] for p in PROBABILITIES},
        )
        for i, measure in enumerate(MEASURES)
    ]


def interval(values: Sequence[float], statistic: Any) -> str:
    """A statistic of values with its 95% interval, by the bootstrap over seeds."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(statistic(np.asarray(values)[drawn], axis=1), [2.5, 97.5])
    return f"{statistic(np.asarray(values)):.2f} [{low:.2f}, {high:.2f}]"


def page_table(rows: Sequence[Row]) -> str:
    """The table of the decision page: medians, and the mean differences of pairs of one seed."""
    lines = [
        "| accuracy in % | probability | median | mean difference to 0 |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        never = np.array(row.values["0"])
        for name, values in row.values.items():
            difference = "" if name == "0" else interval(np.array(values) - never, np.mean)
            lines.append(f"| {row.what} | {name} | {interval(values, np.median)} | {difference} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--tasks", nargs="+", choices=list(SIZES), default=["digits"])
    given, others = own.parse_known_args(argv)
    bench = begin("resampling", __doc__, others)
    sizes = {"digits": TINY} if bench.smoke else {task: SIZES[task] for task in given.tasks}

    rows = [row for task, size in sizes.items() for row in compare(task, size, bench.repeat)]
    print(page_table(rows))
    finish(bench, rows, sizes={task: dict(size) for task, size in sizes.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
