"""Reports of the commands: evaluation, soup, final report, replay, doctor, gc, tasks, strategies."""

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from popgrad.cli.printing import out, print_folded, print_json, print_line, print_text
from popgrad.core.segment import Segment
from popgrad.record.explanation import Explanation
from popgrad.record.live import Curves
from popgrad.record.record import Record
from popgrad.reports.text import ROWS, lineage_line, schedule_table, summary, summary_data
from popgrad.reports.timings import timings_table
from popgrad.reports.tree import TreeTable, tree_data
from popgrad.runs.advice import call, command, next_steps, shown_path
from popgrad.runs.status import Status

if TYPE_CHECKING:  # each of these but the first needs torch, which takes seconds
    from popgrad.cli.arguments import RecordedRun
    from popgrad.doctor import Finding
    from popgrad.runs.evaluate import Evaluation
    from popgrad.runs.replay import Replay
    from popgrad.runs.result import Result
    from popgrad.runs.soup import Soup
    from popgrad.store.retention import Garbage

_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "bold red")}
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
    read_test = read_test and result.has_test
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
        print_folded(status_line(run))
    show(run, as_json=as_json, every_row=every_row)


def status_line(run: Run) -> str:
    """Return the status of a run, and of an interrupted one how to continue it."""
    line = run.status.describe()
    if run.record.study is not None:
        return f"study, {line}"
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


def show_tree(run: Run, *, every_branch: bool, as_json: bool) -> None:
    """Print the ancestry of the members as a tree.

    Args:
        run: The run.
        every_branch: Whether to show every member, and branches that died out.
        as_json: Whether to print JSON instead.
    """
    directory = run.directory
    if as_json:
        data = {"directory": None if directory is None else str(directory)}
        print_json(data | tree_data(run.record, every_branch=every_branch))
        return

    print_folded(status_line(run))
    if not run.record.segments:
        print_line("No segment is finished yet.")
        return
    more = "" if directory is None else f"{command('show', directory)} --tree --all"
    out.print(TreeTable(run.record, every_branch=every_branch, more=more))


def show_timings(run: "RecordedRun", *, as_json: bool) -> None:
    """Print where the time of a run went."""
    if as_json:
        print_json({"directory": str(run.directory), **run.timings.data()})
        return
    print_folded(status_line(run))
    out.print(timings_table(run.timings))


def show_schedule(lineage: Sequence[Segment], record: Record, curves: Curves) -> None:
    """Print a lineage and the hyperparameters along it.

    Args:
        lineage: Segments of the lineage, root first.
        record: Record of the run; constants of its space are left out.
        curves: Telemetry by segment, for live values.
    """
    out.print(Text.assemble(("Lineage  ", "bold"), lineage_line(lineage, record.copied)))
    out.print(schedule_table(lineage, record.space, curves))


def show_explanations(explanations: Sequence[Explanation], *, as_json: bool) -> None:
    """Print the shape of each hyperparameter's path, and the code that makes it."""
    if as_json:
        print_json([explanation.row() for explanation in explanations])
        return

    table = Table.grid(padding=(0, 2))
    for explanation in explanations:
        if explanation.fits:
            words = explanation.description
        else:
            words = f"no simple shape fits; nearest: {explanation.description}"
        off = f"off by {explanation.error:.2g} perturbations"
        table.add_row(Text(explanation.name, style="bold"), Text(words), Text(off))
    out.print(table)
    out.print()
    for explanation in explanations:
        print_line(f"# {explanation.note}")
        print_text(f"{explanation.code}\n")


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


def show_soup(soup: "Soup", path: Path | None, *, as_json: bool) -> None:
    """Print the winner, the soups and the ensemble side by side, and whether a soup helps.

    Args:
        soup: All of them.
        path: File of the chosen soup's weights.
        as_json: Whether to print JSON instead.
    """
    if as_json:
        print_json(soup.as_data() | {"file": None if path is None else str(path)})
        return

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "members"):
        table.add_column(heading)
    # The metric that ranks comes first.
    names = sorted(soup.winner.metrics, key=lambda name: name != soup.ranking.metric)
    tested = [name for name in names if name in (soup.winner.test or {})]
    for heading in (*names, *(f"{name}, test" for name in tested)):
        table.add_column(heading, justify="right")

    for candidate in soup.candidates:
        label = candidate.name
        if label == "ensemble":
            label += f" (mean of the {soup.mean})"
        members = ", ".join(map(str, sorted(candidate.members)))
        numbers = [candidate.metrics.get(name, math.nan) for name in names]
        numbers += [(candidate.test or {}).get(name, math.nan) for name in tested]
        table.add_row(label, members, *(f"{number:.4g}" for number in numbers))

    out.print(table)
    for member, reason in soup.left_out.items():
        print_line(f"member {member} is in no average: {reason}")
    print_folded(soup.verdict)
    if path is not None:
        print_line(f"{soup.chosen.name} kept as {shown_path(path)}")


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
    tasks = {}
    for name, factory in factories.items():
        space = {key: dimension.describe() for key, dimension in factory().space.items()}
        tasks[name] = {**describe(factory), "space": space}
    _show_factories(tasks, as_json)


def show_strategies(factories: Mapping[str, Callable[..., Any]], as_json: bool) -> None:
    """Print each strategy, and its options."""
    _show_factories({name: describe(factory) for name, factory in factories.items()}, as_json)


def describe(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the description of a factory as plain data: its first line, its options with defaults."""
    parameters = inspect.signature(factory).parameters.values()
    return {
        "about": (inspect.getdoc(factory) or "").partition("\n")[0],
        "options": {p.name: p.default for p in parameters if p.name not in ("space", "score")},
    }


def _show_factories(described: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    """Print factories by name, each with its description."""
    if as_json:
        print_json(described)
        return

    for name, parts in described.items():
        out.print(Text.assemble((name, "bold"), f": {parts['about']}"))
        table = Table.grid(padding=(0, 2))
        for key, value in parts.get("space", {}).items():
            table.add_row(Text("space"), Text(key), Text(value))
        for key, value in parts["options"].items():
            table.add_row(Text("option"), Text(key), Text(_value(value)))
        out.print(Padding(table, (0, 0, 1, 2), expand=False))


def _value(value: object) -> str:
    """Return an option's default as a configuration file has it; strings without their quotes."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
