"""Commands that maintain runs and data: doctor, gc, data, convert."""

from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from popgrad import config as configuration
from popgrad.cli import options, printing, reports
from popgrad.cli.arguments import read_config
from popgrad.core.errors import UsageError
from popgrad.store.directory import find_run


def doctor(directory: options.Examined = None, as_json: options.Json = False) -> None:
    """Examine the installation, or a run, and advise.

    No code of the task is run. Exit code 1 if there is a problem.
    """
    from popgrad.doctor import examine_installation, examine_run

    if directory is None:
        findings = examine_installation(Path("runs"))
    else:
        findings = examine_run(find_run(directory, "DIR").path)
    reports.show_findings(findings, as_json=as_json)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def gc(
    directory: options.Run,
    only_winner: options.OnlyWinner = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Delete the checkpoints of a run that nothing needs."""
    from popgrad.store.retention import collect

    path = find_run(directory, "DIR").path
    garbage = collect(path, only_winner=only_winner, dry_run=dry_run)
    reports.show_garbage(garbage, directory, dry_run=dry_run, as_json=as_json)


def data(name: options.Dataset, directory: options.DownloadTo = None) -> None:
    """Download a data set; existing files are checked and kept."""
    from popgrad.data import data_dir, download

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=printing.err, disable=not printing.err.is_terminal) as progress:
        bars: dict[str, Any] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        files = download(name, data_dir(directory), progress=report)
    for file in files:
        printing.print_line(str(file))


def convert(file: options.Original) -> None:
    """Print a JSON file of the original project as TOML, with notes on keys without effect."""
    if not file.endswith((".json", ".toml")):
        raise UsageError(f"FILE: expected a .json file of the original project, got {file!r}")
    config, notes = read_config(file, {}, {}, [])
    printing.explain(notes)
    printing.out.out(configuration.write(config, brief=True), highlight=False)
