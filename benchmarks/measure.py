"""How each benchmark here measures, and the form in which it says what it found: a table, and a JSON file."""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results import ROOT, cpu

from popgrad.hardware import available_cores

RUNS = ROOT / "runs" / "benchmarks"
SEED = 0
"""Of every run, population and state."""


def machine() -> dict[str, Any]:
    """What a number depends on beside the code; the load is that before anything was measured."""
    versions = {}
    for name in ("popgrad", "torch", "numpy", "ray"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu(),
        "cores": available_cores(),
        "python": platform.python_version(),
        **versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


@dataclass(frozen=True)
class Bench:
    """One benchmark, as it was asked for on the command line.

    Attributes:
        name: Of its file of results.
        repeat: How often each subject is measured, at least 1.
        smoke: Only a tiny size, to see that it works; its numbers mean nothing.
        out: Where the JSON goes.
        machine: As `machine` gives it.
    """

    name: str
    repeat: int
    smoke: bool
    out: Path
    machine: Mapping[str, Any] = field(default_factory=machine)


def begin(name: str, about: str | None, argv: Sequence[str] | None) -> Bench:
    """Read the command line; `about` is the module's own docstring."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeat", type=int, default=3, help="measurements of each subject (default: 3)"
    )
    parser.add_argument("--smoke", action="store_true", help="a tiny size, once: does it work?")
    parser.add_argument(
        "--out", type=Path, help=f"JSON file (default: runs/benchmarks/{name}.json)"
    )
    given = parser.parse_args(argv)
    if given.repeat < 1:
        parser.error(f"--repeat: expected at least 1, got {given.repeat}")
    # A tiny size never takes the place of what was measured.
    out = given.out or RUNS / f"{name}{'-smoke' if given.smoke else ''}.json"
    return Bench(name, 1 if given.smoke else given.repeat, given.smoke, out)


def alternate(subjects: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """Measure each subject in turn, `repeat` times: A B A B. What slows the machine down then meets all.

    Args:
        subjects: By name, each measures itself once and returns the number.
        repeat: At least 1.

    Returns:
        Every number, by subject, in order.
    """
    values: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repeat):
        for name, subject in subjects.items():
            gc.collect()
            values[name].append(subject())
    return values


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Wall seconds of one call, the mean of `times` calls in a row."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


@dataclass(frozen=True)
class Row:
    """One comparison, or one number.

    Attributes:
        what: Was measured.
        unit: Of the values.
        values: Every single one, by subject.
        ratio: Two subjects: the median of the first is divided by that of the second.
        at_most: What the ratio has to reach; without a ratio, the median of the first subject.
        at_least: The same, where more is better.
    """

    what: str
    unit: str
    values: Mapping[str, Sequence[float]]
    ratio: tuple[str, str] | None = None
    at_most: float | None = None
    at_least: float | None = None

    def data(self) -> dict[str, Any]:
        """As it is kept: with medians, the ratio, that of each pair, and whether the goal is reached."""
        medians = {name: statistics.median(values) for name, values in self.values.items()}
        found: dict[str, Any] = {
            "what": self.what, "unit": self.unit, "medians": medians,
            "values": {name: list(values) for name, values in self.values.items()},
        }  # fmt: skip
        number = next(iter(medians.values()))
        if self.ratio is not None:
            above, below = self.ratio
            number = medians[above] / medians[below]
            pairs = [a / b for a, b in zip(self.values[above], self.values[below], strict=True)]
            found["ratio"] = {"above": above, "below": below, "value": number, "pairs": pairs}
        for word, goal in (("at most", self.at_most), ("at least", self.at_least)):
            if goal is not None:
                reached = number <= goal if word == "at most" else number >= goal
                found["goal"] = {"text": f"{word} {goal:g}{'x' if self.ratio else ' ' + self.unit}"}
                found["goal"]["reached"] = reached
        return found


HEADER = ("measured", "medians", "ratio", "to reach", "reached")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of a JSON file as cells below `HEADER`."""
    medians = "; ".join(
        f"{name} {value:.3g} {row['unit']}" for name, value in row["medians"].items()
    )
    ratio, goal = "", row.get("goal")
    if found := row.get("ratio"):
        low, high = min(found["pairs"]), max(found["pairs"])
        ratio = f"{found['value']:.3g}x ({low:.3g}..{high:.3g}) {found['above']} / {found['below']}"
    reached = "" if goal is None else "yes" if goal["reached"] else "no"
    return row["what"], medians, ratio, "" if goal is None else goal["text"], reached


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of a JSON file for a terminal."""
    lines = [HEADER, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def finish(bench: Bench, rows: Sequence[Row], **sizes: Any) -> None:
    """Print the table, and write all of it.

    Args:
        bench: What was asked for.
        rows: What was found.
        **sizes: Of what was measured, JSON-able.
    """
    found = [row.data() for row in rows]
    content = {
        "name": bench.name, "smoke": bench.smoke, "machine": dict(bench.machine), "seed": SEED,
        "repeat": bench.repeat, "sizes": sizes, "rows": found,
    }  # fmt: skip
    bench.out.parent.mkdir(parents=True, exist_ok=True)
    bench.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    print(f"wrote {bench.out}")
