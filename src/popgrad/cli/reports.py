"""Reports of the commands: evaluation, final report, replay, doctor, gc, tasks."""

import dataclasses
import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from popgrad.cli.printing import out, print_folded, print_json, print_line
from popgrad.core.population import Segment
from popgrad.core.space import Space
from popgrad.record.live import Curves
from popgrad.record.record import Record
from popgrad.report.escape import Escaped
from popgrad.report.text import ROWS, lineage_line, schedule_table, summary, summary_data
from popgrad.runs.advice import call, command, next_steps, shown_path
from popgrad.runs.status import Status

if TYPE_CHECKING:  # each of these needs torch, which takes seconds
    from popgrad.doctor import Finding
    from popgrad.runs.evaluate import Evaluation
    from popgrad.runs.replay import Replay
    from popgrad.runs.result import Result
    from popgrad.store.retention import Garbage

_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "bold red")}
_WATCH_PERIOD = 2.0
"""Seconds between two views of a run in progress."""
_OUTPUTS = (".png", ".csv", ".safetensors")


# --- runs -------------------------------------------------------------------------------------------


class Run(Protocol):
    """A run that can be shown: a `Result`, or what its journal has of it."""

    @property
    def record(self) -> Record:
        """Its record."""

    @property
    def telemetry(self) -> Curves:
        """Telemetry by segment."""

    @property
    def directory(self) -> Path | None:
        """Its directory; None = in memory only."""

    @property
    def status(self) -> Status:
        """Whether it is in progress, interrupted, or finished."""


def finish(result: "Result", *, read_test: bool, as_json: bool) -> None:
    """Print the final report: the summary, and the winner on data that selection has never seen."""
    metrics = result.test(reader="final report") if read_test else None
    show(result, as_json=as_json, test=metrics)
    if as_json:
        return

    if metrics is not None:
        print_line(f"on the test split, which selection has never seen: {_words(metrics)}")
    path = result.directory
    if path is not None:
        names = sorted(file.name for file in path.iterdir() if file.suffix in _OUTPUTS)
        print_folded(f"kept in {shown_path(path)} ({result.stopped}): {', '.join(names)}")
        for step in next_steps(result):
            print_line(f"next: {step}")


def show_run(run: Run, *, every_row: bool, as_json: bool) -> None:
    """Print the status of a run, and what `show` prints."""
    if not as_json:
        print_folded(_status_line(run))
    show(run, as_json=as_json, every_row=every_row)


def watch(open_run: Callable[[], Run]) -> None:
    """Show a run until it is no longer in progress.

    Args:
        open_run: Opens the run as far as it has come.
    """
    with Live(console=out, auto_refresh=False) as live:
        while True:
            run = open_run()
            shown = Group(Text(_status_line(run)), summary(run.record, run.telemetry))
            live.update(Escaped(shown), refresh=True)
            if run.status.state != "in progress":
                return
            time.sleep(_WATCH_PERIOD)


def _status_line(run: Run) -> str:
    """Return the status of a run, and of an interrupted one how to continue it."""
    line = run.status.describe()
    if run.status.state != "interrupted" or run.directory is None:
        return line
    if run.record.given_task:
        return f"{line}; continue with: {call('resume', run.directory, given_task=True)}"
    return f"{line}; continue with: {command('resume', run.directory)}"


def show(
    run: Run,
    *,
    as_json: bool,
    test: Mapping[str, float] | None = None,
    every_row: bool = False,
) -> None:
    """Print the population, the winner's schedule, its lineage, and the winner."""
    if not as_json:
        path = run.directory
        more = "" if path is None else f"{command('show', path)} --all"
        rows = None if every_row else ROWS
        out.print(summary(run.record, run.telemetry, rows=rows, more=more))
        return

    directory = None if run.directory is None else str(run.directory)
    status = run.status
    data: dict[str, Any] = {
        "directory": directory,
        "stopped": run.record.stopped,
        "in_progress": status.state == "in progress",
        "process": status.process or None,
        "completed_intervals": status.completed,
        "requested_intervals": status.intervals,
        "seconds_left": status.seconds_left,
    }
    data |= summary_data(run.record, run.telemetry)

    print_json(data | ({"test": _plain(test)} if test is not None else {}))


def show_schedule(lineage: Sequence[Segment], space: Space, curves: Curves) -> None:
    """Print a lineage and the hyperparameters along it.

    Args:
        lineage: Segments of the lineage, root first.
        space: Dimensions that were searched; constants are left out.
        curves: Telemetry by segment, for live values.
    """
    out.print(Text.assemble(("Lineage  ", "bold"), lineage_line(lineage)))
    out.print(schedule_table(lineage, space, curves))


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
    ranking = fresh.record.ranking
    score = ranking.shown(fresh.winner.score)
    before = ranking.shown(recorded.score)
    print_line(
        f"under the schedule alone, {ranking.label} {score:.4g}; the recorded model has {before:.4g}"
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
