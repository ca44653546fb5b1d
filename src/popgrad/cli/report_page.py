"""The command that writes the report of a run as one page: report."""

from popgrad.cli import options
from popgrad.cli.arguments import read_run
from popgrad.cli.printing import print_line
from popgrad.runs.advice import shown_path


def report(directory: options.Run, output: options.Page = None) -> None:
    """Write the report of a run: one page that opens offline, with its lineage, schedule and scores.

    No code of the task is run. Also of a run that is in progress.
    """
    from popgrad.runs.page import write_report
    from popgrad.store.directory import Directory

    run = read_run(directory)
    path = write_report(run.record, run.telemetry, run.status, Directory(run.directory), output)
    size = path.stat().st_size / 1e6
    print_line(f"{shown_path(path.absolute())} ({size:.1f} MB): open it in a browser")
