"""Make docs/results.md: what populations reach on digits and on the real MNIST, next to random search.

And what the four configurations of the original project reach.

    python benchmarks/results.py              every experiment; takes long, and goes on where it was stopped
    python benchmarks/results.py digits       one of them
    python benchmarks/results.py --page       only write the page again from what has been run

Runs lie under runs/results/. MNIST is looked for where POPGRAD_DATA says.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import popgrad
from popgrad.config.files import read
from popgrad.config.model import parse
from popgrad.config.original import convert
from popgrad.engine.callbacks import Callbacks
from popgrad.record import lineage
from popgrad.reports import figures
from popgrad.runs.api import start

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "results"
PAGE = ROOT / "docs" / "results.md"
NOTES = ROOT / "benchmarks" / "results-notes.md"
PICTURES = ROOT / "docs" / "figures"


@dataclass(frozen=True)
class Experiment:
    """A run, and how the page speaks of it."""

    name: str
    title: str
    command: str
    values: Mapping[str, Any] = field(default_factory=dict)
    pictures: bool = False


def population(
    name: str, task: str, intervals: int, strategy: str, title: str, *, pictures: bool = False
) -> Experiment:
    """Ten members, intervals of one epoch, seed 0."""
    command = f"popgrad run {task} --population 10 --intervals {intervals} --interval '1 epoch' --strategy {strategy} --seed 0"
    values = {
        "task": task,
        "population": 10,
        "intervals": intervals,
        "strategy": {"name": strategy},
        "seed": 0,
    }
    return Experiment(name, title, command, values, pictures)


def original(
    name: str, file: str, epochs: int, command: str, title: str, *, pictures: bool = False
) -> Experiment:
    """One of the original's configurations, for as many epochs; without its TensorBoard events."""
    values, _ = convert(read(ROOT / "configs" / file))
    values |= {"epochs": epochs, "events": False}
    return Experiment(
        name, title, f"popgrad {command} configs/{file} --epochs {epochs}", values, pictures
    )


EXPERIMENTS = [
    population("digits", "digits", 30, "pbt", "digits, PBT", pictures=True),
    population("digits-random", "digits", 30, "random-search", "digits, random search"),
    population("mnist-fc", "mnist-fc", 50, "pbt", "MNIST fully connected, PBT", pictures=True),
    population(
        "mnist-fc-random", "mnist-fc", 50, "random-search", "MNIST fully connected, random search"
    ),
    original("fc_PBT", "fc_PBT.json", 50, "run", "original, fc_PBT.json", pictures=True),
    original("fc", "fc.json", 30, "train", "original, fc.json (one network)"),
    original("conv", "conv.json", 15, "train", "original, conv.json (one network)"),
    original("conv_PBT", "conv_PBT.json", 15, "run", "original, conv_PBT.json", pictures=True),
]


@contextmanager
def timed(place: Path) -> Iterator[None]:
    """Add the wall seconds of a session to what earlier sessions of the run took."""
    file = place.with_suffix(".seconds")
    begin = time.perf_counter()
    try:
        yield
    finally:
        before = float(file.read_text()) if file.exists() else 0.0
        file.write_text(str(before + time.perf_counter() - begin))


def train(experiment: Experiment) -> None:
    """Run an experiment, or go on with it."""
    place = RUNS / experiment.name
    RUNS.mkdir(parents=True, exist_ok=True)

    def report(end: popgrad.IntervalEnd) -> None:
        best = max(segment.score for segment in end.segments)
        print(
            f"{experiment.name} {end.interval + 1}: best {best:.4f} ({end.seconds:.0f} s)",
            flush=True,
        )

    with timed(place):
        if (place / "journal.db").exists():
            result = popgrad.resume(place, on_interval=report)
        else:
            result = start(
                parse(experiment.values), directory=place, callbacks=Callbacks(on_interval=report)
            )
    (place / "test.json").write_text(json.dumps(tested(result), indent=2))


def tested(result: popgrad.Result) -> dict[str, float]:
    """Test accuracy of every member that is alive at the end."""
    last = lineage.last_segments(result.segments)
    return {
        str(m): result.test(m, reader="results page")["accuracy"]
        for m, s in last.items()
        if not s.failed
    }


def row(experiment: Experiment) -> str:
    """An experiment's row of the table."""
    place = RUNS / experiment.name
    result = popgrad.load(place)
    test = json.loads((place / "test.json").read_text())
    line = lineage.lineage(result.segments, lineage.winner(result.segments).id)
    seconds = float(place.with_suffix(".seconds").read_text())
    ends = list(lineage.last_segments(result.segments).values())
    first = [segment for segment in result.segments if segment.interval == 0]
    winner = test[str(line[-1].member)]
    cells = [
        experiment.title,
        f"{len(ends)}",
        f"{ends[0].interval + 1} x {result.config.interval}",
        f"{100 * winner:.2f}%",
        f"{100 * max(test.values()):.2f}%",
        f"{100 * statistics.median(test.values()):.2f}%",
        *(
            f"{spread(first, name)} → {spread(ends, name)}; winner {trace(line, name)}"
            for name in ("lr", "keep_prob")
        ),
        f"{seconds:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def spread(segments: Sequence[popgrad.Segment], name: str) -> str:
    """The range of a hyperparameter over members."""
    values = sorted(float(segment.hparams[name]) for segment in segments)
    return f"{values[0]:.2g}..{values[-1]:.2g}"


def trace(line: Sequence[popgrad.Segment], name: str) -> str:
    """A hyperparameter at the start and at the end of a lineage."""
    return f"{float(line[0].hparams[name]):.2g} → {float(line[-1].hparams[name]):.2g}"


def draw(experiment: Experiment) -> list[str]:
    """Both figures of an experiment, and how the page shows them."""
    result = popgrad.load(RUNS / experiment.name)
    made = {"results": figures.results(result.record), "schedule": figures.schedule(result.record)}
    PICTURES.mkdir(parents=True, exist_ok=True)
    lines = []
    for kind, figure in made.items():
        file = PICTURES / f"{experiment.name}-{kind}.png"
        figures.save(figure, file)
        lines.append(f"![{experiment.title}: {kind}](figures/{file.name})")
    return lines


def write_page() -> None:
    """Write docs/results.md from the experiments that have been run to their end."""
    done = [
        experiment for experiment in EXPERIMENTS if (RUNS / experiment.name / "test.json").exists()
    ]
    lines = [
        "# Results",
        "",
        "Made by `python benchmarks/results.py`, which anyone can run again: the same seed gives the same numbers except for the",
        "wall time, on the same kind of processor. Selection saw the validation split only; for this page the test split was read",
        "once for each member, at the end. *Winner* is the member with the best final validation score, *best* the best of all",
        "members on the test split (so it is chosen by the test split, and a little optimistic), *median* the middle one.",
        "",
        f"Machine: {cpu()}, {os.cpu_count()} cores, torch {popgrad_torch()}, Python {platform.python_version()}; "
        "two worker processes, one thread each. Wall time covers the whole run with its directory and checkpoints.",
        "",
        "| run | members | intervals | test: winner | test: best | test: median | lr: all members, start → end | keep_prob: all members, start → end | wall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(row, done),
        "",
    ]
    for experiment in done:
        lines += [
            f"## {experiment.title}",
            "",
            "```console no-run",
            f"$ {experiment.command}",
            "```",
            "",
        ]
        lines += [*draw(experiment), ""] if experiment.pictures else []
    PAGE.write_text("\n".join(lines) + NOTES.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"wrote {PAGE}")


def cpu() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(
            line.partition(":")[2].strip()
            for line in text.splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def popgrad_torch() -> str:
    """The version of torch."""
    return str(popgrad.load(RUNS / EXPERIMENTS[0].name).config.made_with["torch"])


def main() -> None:
    """Run what was asked for, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        choices=[[], *(each.name for each in EXPERIMENTS)],
        help="experiments; all when none",
    )
    parser.add_argument("--page", action="store_true", help="run nothing, only write the page")
    given = parser.parse_args()
    if not given.page:
        for experiment in EXPERIMENTS:
            if not given.names or experiment.name in given.names:
                train(experiment)
    write_page()


if __name__ == "__main__":
    main()
