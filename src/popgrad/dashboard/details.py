"""Parts of a run that a page asks for: the card of a segment, and the schedule of a lineage."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.gates.files import exists
from popgrad.record import lineage
from popgrad.record.check import check_record
from popgrad.record.schedule import Schedule
from popgrad.record.scheduler_source import scheduler_source
from popgrad.store.directory import Directory
from popgrad.store.find import find_segment
from popgrad.views.card import card
from popgrad.views.plain import Json

_DIGEST = re.compile(r"[0-9a-f]{64}")

FORMATS: Mapping[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "torch": "text/plain",
}
"""Formats of a schedule, and the type of each as a response."""


def segment_card(directory: Path, segment: SegmentId) -> Json | None:
    """Return the card of a segment; None = it is not recorded.

    Args:
        directory: Directory of the run.
        segment: Member and interval.

    Raises:
        RunError: The journal is damaged, or cannot be read now.
    """
    paths = Directory(directory)
    found = find_segment(paths.journal, segment)
    if found is None:
        return None
    return card(
        found.segment,
        found.telemetry,
        found.parent,
        checkpoint=_has_checkpoint(directory, found.segment.digest),
        replay=_replay(directory, segment),
    )


def _has_checkpoint(directory: Path, digest: str) -> bool | None:
    if not _DIGEST.fullmatch(digest):
        return False
    try:
        return exists(directory / "checkpoints" / f"{digest}.safetensors")
    except OSError:
        return None


def _replay(directory: Path, segment: SegmentId) -> str:
    """Return the command that trains a segment again."""
    member, interval = segment
    place = shlex.quote(str(directory))
    return f"popgrad replay {place} --member {member} --interval {interval}"


def schedule_text(directory: Path, leaf: int | SegmentId | None, form: str) -> str:
    """Return the schedule of a lineage as text.

    Args:
        directory: Directory of the run.
        leaf: A member, a segment, or None for the winner.
        form: "json", "csv", or "torch": source of a scheduler.

    Raises:
        UsageError: There is no such segment or format.
        RunError: The journal is damaged, or cannot be read now.
    """
    if form not in FORMATS:
        raise UsageError(f"format: expected {', '.join(FORMATS)}, got {form!r:.100}")
    with Directory(directory).reading() as journal:
        record = journal.record()
        telemetry = journal.telemetry()
    check_record(replace(record, decisions=()))
    schedule = lineage.schedule(record.lineage(leaf), telemetry)
    return _text(schedule, form, f"Schedule of the run {directory.name!r}")


def _text(schedule: Schedule, form: str, title: str) -> str:
    if form == "torch":
        return scheduler_source(schedule, title)
    return schedule.to_csv() if form == "csv" else schedule.to_json()
