"""Exports of a record for other programs, by format; needs no torch."""

from collections.abc import Mapping
from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.core.spelling import did_you_mean
from popgrad.record.record import Record
from popgrad.reports import phylogeny
from popgrad.reports.history import csv_text, parquet, rows
from popgrad.runs.status import Status
from popgrad.store.atomic import replacing
from popgrad.views.columns import all_columns
from popgrad.views.header import header
from popgrad.views.plain import text

FORMATS = ("alife", "newick", "dot", "csv", "parquet", "json")
"""Names of the formats."""


def check_format(name: str, key: str = "format") -> None:
    """Refuse a name that is no format.

    Args:
        name: Name as it was given.
        key: Name of the argument, for the message.

    Raises:
        UsageError: There is no such format.
    """
    if name not in FORMATS:
        raise UsageError(
            f"{key}: expected {', '.join(FORMATS)}, got {name!r}{did_you_mean(name, FORMATS)}"
        )


def export(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    status: Status,
    name: str,
    format: str,  # noqa: A002  # the word of the command line
) -> str | bytes:
    """Return a record in a format of other programs: text, or the bytes of parquet.

    Args:
        record: Record of the run.
        telemetry: Telemetry by segment.
        status: Status of the run.
        name: Name of the run, for json.
        format: One of `FORMATS`.

    Raises:
        UsageError: There is no such format, no segment is finished, or a library is missing.
    """
    check_format(format)
    if not record.segments:
        raise UsageError("there is nothing to export yet: the record has no finished segment")
    if format == "csv":
        return csv_text(rows(record, telemetry))
    if format == "parquet":
        return parquet(rows(record, telemetry))
    if format == "json":
        head = header(record, name=name, status=_plain_status(status))
        columns = all_columns(record.segments, telemetry, record.space, record.ranking)
        return text({"header": head, "segments": columns}) + "\n"
    writers = {"alife": phylogeny.alife, "newick": phylogeny.newick, "dot": phylogeny.dot}
    return writers[format](record)


def _plain_status(status: Status) -> dict[str, object]:
    return {
        "state": status.state,
        "reason": status.reason,
        "text": status.describe(),
        "completed": status.completed,
        "intervals": status.intervals,
    }


def write(content: str | bytes, path: Path) -> None:
    """Write an export as a whole, in place of an older file.

    A string is written as UTF-8; what UTF-8 has not, such as half of a surrogate pair, is escaped.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        with replacing(path) as aside:
            aside.write_bytes(
                content
                if isinstance(content, bytes)
                else content.encode("utf-8", "backslashreplace")
            )
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
