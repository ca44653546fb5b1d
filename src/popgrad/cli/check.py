"""The command that checks a task: check."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from popgrad.cli import options
from popgrad.cli.arguments import read_config
from popgrad.cli.printing import err, out, print_json, print_line

if TYPE_CHECKING:  # it needs torch, which takes seconds
    from popgrad.loops.check import Finding


def check(
    what: options.What,
    steps: options.CheckedSteps = None,
    interval: options.CheckedInterval = None,
    seed: options.CheckedSeed = None,
    device: options.Device = None,
    settings: options.Settings = None,
    as_json: options.Json = False,
) -> None:
    """Train short segments of a task in ways that must give equal bits, and name what differs.

    A loop is repeated, and trained in a new loop, after another member, and in another process.

    Exit code 1 if anything is found.
    """
    from popgrad.loops.check import check as check_segments
    from popgrad.runs.components import make_task, resolve_device

    keys = {"seed": seed, "device": device}
    config, _ = read_config(what, keys, {}, settings or [])
    with err.status("training an interval") as status:
        findings = check_segments(
            make_task(config),
            steps=steps,
            interval=interval if steps is not None else interval or config.interval,
            seed=config.seed,
            device=resolve_device(config),
            progress=lambda text: status.update(f"training {text}"),
        )
    if as_json:
        print_json([{**dataclasses.asdict(each), "page": each.page} for each in findings])
    else:
        _show(findings)
    if findings:
        raise typer.Exit(1)


def _show(findings: Sequence["Finding"]) -> None:
    """Print the findings, each with its parts, variables and cure."""
    if not findings:
        print_line("nothing found")
        return

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.text)
        if finding.parts:
            text.append(f"\ndiffering leaves: {', '.join(finding.parts)}", style="dim")
        if finding.variables:
            text.append(f"\ndiffering before it: {', '.join(finding.variables)}")
        text.append(f"\n→ {finding.advice}", style="bold")
        text.append(f"\n  {finding.page}", style="dim")
        table.add_row(Text(finding.kind, style="bold red"), text)
    out.print(table)
    out.print(f"{len(findings)} finding{'s' if len(findings) != 1 else ''}")
