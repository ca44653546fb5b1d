"""The report of a run as one page that opens offline: the views of the dashboard, in a file."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.record.record import Record
from popgrad.reports.page import write_page
from popgrad.runs.status import Status
from popgrad.runs.verdict import read_verdict
from popgrad.store.directory import Directory
from popgrad.views.plain import Json
from popgrad.views.run_data import run_data

MOST_SEGMENTS = 250_000
"""Most segments of a page: a browser has all of them in memory, and the file is some 30 MB."""


def write_report(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    status: Status,
    directory: Directory | None,
    path: Path | None = None,
) -> Path:
    """Write the report of a record; needs no torch.

    Args:
        record: Record of the run.
        telemetry: Telemetry by segment.
        status: Its status.
        directory: Directory of the run; None = in memory only.
        path: File to write; None = report.html in the directory.

    Returns:
        Path of the file.

    Raises:
        UsageError: No segment is finished, there are too many, a run in memory is given no path, or
            the file cannot be written.
    """
    if path is None and directory is None:
        raise UsageError(
            "path: the run is in memory only; name the file to write, such as 'report.html'"
        )
    if not record.segments:
        raise UsageError("the run has no finished segment yet, so there is nothing to report")
    if len(record.segments) > MOST_SEGMENTS:
        raise UsageError(
            f"the run has {len(record.segments):,} segments, and a report holds at most {MOST_SEGMENTS:,}: "
            "`popgrad dashboard` shows it"
        )
    found = directory.report if path is None and directory is not None else path
    assert found is not None
    try:
        write_page(_data(record, telemetry, status, directory), found)
    except OSError as error:
        raise UsageError(
            f"path: {str(found)[:200]} cannot be written ({error.strerror or error}); name another file"
        ) from error
    return found


def _data(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    status: Status,
    directory: Directory | None,
) -> Json:
    named = str(record.config.get("task", "run"))
    return run_data(
        record,
        telemetry,
        name=named if directory is None else directory.path.name,
        status=status_row(status),
        directory="DIR" if directory is None else shlex.quote(str(directory.path)),
        verdict="" if directory is None else read_verdict(directory),
        checkpoints=None if directory is None else directory.kept_digests(),
    )


def status_row(status: Status) -> Json:
    """Return a status as plain values, with its words under the key "text"."""
    return {**asdict(status), "text": status.describe()}
