"""Reports of the commands: evaluation, final report, replay, doctor, gc, tasks."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from popgrad.cli.printing import out, print_json, print_line
from popgrad.core.population import Segment
from popgrad.core.space import Space
from popgrad.record.record import Record
from popgrad.report import summary, summary_data
from popgrad.report.text import lineage_line, schedule_table

if TYPE_CHECKING:  # each of these needs torch, which takes seconds
    from popgrad.doctor import Finding
    from popgrad.runs.evaluate import Evaluation
    from popgrad.runs.replay import Replay
    from popgrad.runs.result import Result
    from popgrad.store.retention import Garbage

_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "bold red")}
_OUTPUTS = (".png", ".csv", ".safetensors")


# --- runs -------------------------------------------------------------------------------------------


def finish(result: "Result", *, read_test: bool, as_json: bool) -> None:
    """Print the final report: the summary, and the winner on data that selection has never seen."""
    metrics = result.test(reader="final report") if read_test else None
    show(result.record, result.directory, as_json=as_json, test=metrics)
    if as_json:
        return

    if metrics is not None:
        print_line(f"on the test split, which selection has never seen: {_words(metrics)}")
    path = _relative(result.directory)
    if path is not None:
        names = sorted(file.name for file in path.iterdir() if file.suffix in _OUTPUTS)
        print_line(f"kept in {path} ({result.stopped}): {', '.join(names)}")


def _relative(path: Path | None) -> Path | None:
    """Return the path relative to the working directory, if it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if path is not None and path.is_relative_to(here) else path


def show(
    record: Record,
    directory: Path | None,
    *,
    as_json: bool,
    test: Mapping[str, float] | None = None,
) -> None:
    """Print the winner, its schedule, its lineage and the population.

    Args:
        record: Record of the run.
        directory: Directory of the run; None = in memory only.
        as_json: Whether to print JSON.
        test: Metrics of the winner on the test split; None = it was not read.
    """
    if not as_json:
        out.print(summary(record))
        return
    path = None if directory is None else str(directory)
    data: dict[str, Any] = {"directory": path, "stopped": record.stopped}
    data |= summary_data(record)
    print_json(data | ({"test": _plain(test)} if test is not None else {}))


def show_schedule(lineage: Sequence[Segment], space: Space) -> None:
    """Print a lineage and the hyperparameters along it.

    Args:
        lineage: Segments of the lineage, root first.
        space: Dimensions that were searched; constants are left out.
    """
    out.print(Text.assemble(("Lineage  ", "bold"), lineage_line(lineage)))
    out.print(schedule_table(lineage, space))


def show_evaluation(evaluation: "Evaluation", as_json: bool) -> None:
    """Print the metrics of a network on a split, beside those of its card."""
    if as_json:
        data = {
            "of": evaluation.subject,
            "split": evaluation.split,
            "metrics": _plain(evaluation.metrics),
        }
        card = {} if evaluation.card is None else {"card": _plain(evaluation.card)}
        print_json(data | card)
        return

    line = f"{evaluation.subject}, on the {evaluation.split} split: {_words(evaluation.metrics)}"
    if evaluation.card is not None:
        line += f" (its card states {_words(evaluation.card)})"
    print_line(line)


def _words(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


# --- replay -----------------------------------------------------------------------------------------


def show_replay(replay: "Replay", seconds: float, *, as_json: bool) -> None:
    """Print whether retraining a lineage has given the same bits."""
    segment, lineage = replay.winner.segment, replay.winner.lineage
    if as_json:
        print_json(
            {
                "member": segment.member,
                "interval": segment.interval,
                "segments": len(lineage),
                "steps": segment.last_step,
                "seconds": seconds,
                "identical": replay.identical,
                "digest": segment.digest,
                "differing": replay.differing,
                "machine": list(replay.machine),
            }
        )
        return

    if replay.differing is None:
        verdict = f"bit-identical to the record (digest {segment.digest[:16]}…)"
    else:
        member, interval = replay.differing
        verdict = f"NOT identical: it differs from member {member}, interval {interval} on"
    work = f"{segment.last_step:,} steps in {len(lineage)} segments retrained in {seconds:.1f} s"
    print_line(f"member {segment.member}, interval {segment.interval}: {verdict}; {work}")
    for difference in replay.machine:
        print_line(f"this machine's arithmetic differs: {difference}")


def compare_scores(fresh: "Result", recorded: Segment) -> None:
    """Print the score of a model that a schedule has trained beside that of its recorded model."""
    score, name = fresh.winner.score, fresh.score_name
    print_line(
        f"under the schedule alone, {name} {score:.4g}; the recorded model has {recorded.score:.4g}"
    )


# --- maintenance ------------------------------------------------------------------------------------


def show_garbage(garbage: "Garbage", directory: Path, *, dry_run: bool, as_json: bool) -> None:
    """Print what a collection has freed, or would free."""
    from popgrad.doctor.finding import size

    if as_json:
        files = [str(path) for path in garbage.files]
        print_json(dataclasses.asdict(garbage) | {"files": files, "dry_run": dry_run})
        return

    verb = "stays" if garbage.kept == 1 else "stay"
    plural = "" if garbage.kept == 1 else "s"
    stay = f"{garbage.kept} checkpoint{plural} {verb} ({size(garbage.kept_size)})"
    if not garbage.files:
        print_line(f"{directory}: nothing to free; {stay}")
        return
    freed = "would be freed" if dry_run else "freed"
    count = f"{len(garbage.files)} files that nothing needs"
    print_line(f"{directory}: {size(garbage.size)} {freed} ({count}); {stay}")


def show_findings(findings: Sequence["Finding"], *, as_json: bool) -> None:
    """Print the findings of the doctor, with its advice."""
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
        return

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.level]
        text = Text(finding.text)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="bold")
        table.add_row(Text(mark, style=style), finding.about, text)
    out.print(table)

    problems = sum(finding.level == "problem" for finding in findings)
    if problems:
        out.print(f"{problems} problem{'s' if problems != 1 else ''}")
    else:
        out.print("no problems")


def show_tasks(factories: Mapping[str, Callable[..., Any]], as_json: bool) -> None:
    """Print each task, its space, and its options."""
    tasks = {name: describe(factory) for name, factory in factories.items()}
    if as_json:
        print_json(tasks)
        return

    for name, task in tasks.items():
        out.print(Text.assemble((name, "bold"), f": {task['about']}"))
        table = Table.grid(padding=(0, 2))
        for key, value in task["space"].items():
            table.add_row(Text("space"), Text(key), Text(value))
        for key, value in task["options"].items():
            table.add_row(Text("option"), Text(key), Text(str(value)))
        out.print(Padding(table, (0, 0, 1, 2), expand=False))


def describe(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the description of a task as plain data: its first line, its space, its options."""
    parameters = inspect.signature(factory).parameters.values()
    return {
        "about": (inspect.getdoc(factory) or "").partition("\n")[0],
        "space": {name: each.describe() for name, each in factory().space.items()},
        "options": {p.name: p.default for p in parameters if p.name not in ("space", "score")},
    }
