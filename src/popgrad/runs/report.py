"""The report of a run, by its result or its directory."""

from pathlib import Path

from popgrad.runs.api import load
from popgrad.runs.page import write_report
from popgrad.runs.result import Result


def report(result: Result | str | Path, path: str | Path | None = None) -> Path:
    """Write the report of a run: one page that opens offline, with every view of the dashboard in it.

    It has the winner, the verdict of an ablation if there is one, the lineage and the schedule. No code
    of the task is run.

    Args:
        result: A run, or its directory.
        path: File to write, as a whole or not at all; None = report.html in the directory of the run.

    Returns:
        Path of the file.

    Raises:
        UsageError: No segment is finished, there are too many, or a run in memory is given no path.
        RunError: There is no run in the directory, or it cannot be read.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("quadratic", population=4, intervals=3, executor="serial")
        >>> popgrad.report(result, "quadratic.html").name
        'quadratic.html'
    """
    if not isinstance(result, Result):
        result = load(result)
    return write_report(
        result.record,
        result.telemetry,
        result.status,
        result.run_directory,
        None if path is None else Path(path),
    )
