"""What the commands print that check and keep: replay, doctor, gc."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from popgrad.cli.printing import err, out, print_json
from popgrad.core.population import Segment
from popgrad.doctor import Finding
from popgrad.doctor.finding import size
from popgrad.runs.replay import Replay
from popgrad.runs.result import Result
from popgrad.store.retention import Garbage

_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "bold red")}


@contextmanager
def advancing(what: str, total: int, *, plain: bool) -> Iterator[Callable[[], None]]:
    """A bar for segments that are trained one after the other; gives what moves it on by one."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=err, disable=plain or not err.is_terminal, transient=True
    ) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda: progress.advance(bar)


def show_replay(found: Replay, seconds: float, *, as_json: bool) -> None:
    """Whether training a lineage again has given the same bits."""
    segment, line = found.winner.segment, found.winner.lineage
    if as_json:
        print_json(
            {
                "member": segment.member,
                "interval": segment.interval,
                "segments": len(line),
                "steps": segment.last_step,
                "seconds": seconds,
                "identical": found.identical,
                "digest": segment.digest,
                "differing": found.differing,
                "machine": list(found.machine),
            }
        )
        return
    whose = f"member {segment.member}, interval {segment.interval}"
    trained = (
        f"{segment.last_step:,} steps in {len(line)} segments trained again in {seconds:.1f} s"
    )
    if found.identical:
        verdict = f"bit-identical to the record (digest {segment.digest[:16]}…)"
    else:
        assert found.differing is not None
        member, interval = found.differing
        verdict = f"NOT identical: it differs from member {member}, interval {interval} on"
    out.print(f"{whose}: {verdict}; {trained}", markup=False, soft_wrap=True)
    for line_ in found.machine:
        out.print(f"this machine computes otherwise: {line_}", markup=False, soft_wrap=True)


def compare_scores(fresh: Result, recorded: Segment) -> None:
    """A model that a schedule has trained anew beside the one whose schedule it was."""
    new = fresh.winner.score
    name = fresh.score_name
    line = (
        f"under the schedule alone, {name} {new:.4g}; the recorded model has {recorded.score:.4g}"
    )
    out.print(line, markup=False, soft_wrap=True)


def show_garbage(found: Garbage, directory: Path, *, dry_run: bool, as_json: bool) -> None:
    """What a collection has freed, or would."""
    if as_json:
        files = [str(path) for path in found.files]
        print_json(dataclasses.asdict(found) | {"files": files, "dry_run": dry_run})
        return
    stay = f"{found.kept} checkpoint{'s stay' if found.kept != 1 else ' stays'} ({size(found.kept_size)})"
    if found.files:
        verb = "would be freed" if dry_run else "freed"
        line = f"{directory}: {size(found.size)} {verb} ({len(found.files)} files that nothing needs); {stay}"
    else:
        line = f"{directory}: nothing to free; {stay}"
    out.print(line, markup=False, soft_wrap=True)


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """What the doctor has found, with what to do."""
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
    out.print(f"{problems} problem{'s' if problems != 1 else ''}" if problems else "no problems")
