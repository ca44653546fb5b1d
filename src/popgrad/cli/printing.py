"""What the command line prints: results to standard output, all else to standard error."""

import inspect
import io
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from popgrad.cli.escape import Escaping
from popgrad.core.population import Segment
from popgrad.core.space import Space
from popgrad.report import summary, summary_data
from popgrad.report.text import lineage_line, schedule_table
from popgrad.runs.evaluate import Evaluation
from popgrad.runs.result import Result

_BOUNDLESS = 10_000  # columns
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False, markup=False)
for _console in (out, err):
    _console.push_render_hook(Escaping())


def prepare() -> None:
    """Before the first line: what is logged goes to standard error, and no table is cut in a file."""
    logger = logging.getLogger("popgrad")
    logger.addHandler(_LOG)
    logger.setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # an arrow that the terminal cannot show is no error
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _BOUNDLESS  # a file has room for every table


class _ToConsole(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


_LOG = _ToConsole()


def complain(message: object) -> None:
    """One line to standard error."""
    err.print(f"popgrad: {message}", markup=False, soft_wrap=True)


def explain(notes: list[str]) -> None:
    """What of a configuration has no effect, a line each."""
    for note in notes:
        complain(note)


def show_reading(found: Evaluation, as_json: bool) -> None:
    """Metrics of a network on a split, beside those of its card."""
    if as_json:
        data = {"of": found.subject, "split": found.split, "metrics": _plain(found.metrics)}
        print_json(data | ({} if found.card is None else {"card": _plain(found.card)}))
        return
    card = "" if found.card is None else f" (its card says {_words(found.card)})"
    line = f"{found.subject}, on the {found.split} split: {_words(found.metrics)}{card}"
    out.print(line, markup=False, soft_wrap=True)


def finish(result: Result, *, read_test: bool, as_json: bool) -> None:
    """The final report: the summary, and the winner on data that selection has never seen."""
    metrics = result.test(reader="final report") if read_test else None
    show(result, as_json=as_json, test=metrics)
    if as_json:
        return
    if metrics is not None:
        out.print(
            f"on the test split, which selection has never seen: {_words(metrics)}", markup=False
        )
    place = _near(result.directory)
    if place is not None:
        kept = ", ".join(path.name for path in sorted(place.iterdir()) if path.suffix in _OUTPUTS)
        out.print(f"kept in {place} ({result.stopped}): {kept}", markup=False, soft_wrap=True)


def _near(path: Path | None) -> Path | None:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path is not None and path.is_relative_to(here) else path


_OUTPUTS = (".png", ".csv", ".safetensors")


def show(result: Result, *, as_json: bool, test: Mapping[str, float] | None = None) -> None:
    """The winner, its schedule, its lineage and the population."""
    if as_json:
        place = None if result.directory is None else str(result.directory)
        data: dict[str, Any] = {"directory": place, "stopped": result.stopped}
        data |= summary_data(result.record)
        print_json(data | ({"test": _plain(test)} if test is not None else {}))
    else:
        out.print(summary(result.record))


def show_schedule(line: Sequence[Segment], space: Space) -> None:
    """Whose weights a member has, and the hyperparameters that trained them.

    Args:
        line: The member's lineage, root first.
        space: What was searched; constants are left out.
    """
    out.print(Text.assemble(("Lineage  ", "bold"), lineage_line(line)))
    out.print(schedule_table(line, space))


def print_json(data: object) -> None:
    """JSON to standard output, never wrapped or coloured."""
    print_text(json.dumps(data, indent=2) + "\n")


def print_text(text: str) -> None:
    """Text that ends its own lines to standard output, exactly as it is."""
    out.out(text, highlight=False, end="")


def _words(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def show_tasks(factories: Mapping[str, Callable[..., Any]], as_json: bool) -> None:
    """What each task is, what it searches, and its options."""
    listed = {name: describe(factory) for name, factory in factories.items()}
    if as_json:
        print_json(listed)
        return
    for name, each in listed.items():
        out.print(Text.assemble((name, "bold"), f": {each['about']}"))
        rows = [("space", key, value) for key, value in each["space"].items()]
        rows += [("option", key, str(value)) for key, value in each["options"].items()]
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*map(Text, row))
        out.print(Padding(table, (0, 0, 1, 2), expand=False))


def describe(factory: Callable[..., Any]) -> dict[str, Any]:
    """What a task is, what it searches and its options, as plain data."""
    parameters = inspect.signature(factory).parameters.values()
    return {
        "about": (inspect.getdoc(factory) or "").partition("\n")[0],
        "space": {name: each.describe() for name, each in factory().space.items()},
        "options": {
            each.name: each.default for each in parameters if each.name not in ("space", "score")
        },
    }
