"""Single segments of a journal, found by their key in its file itself."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.store import database, rows, snapshot

_SEGMENT = f"SELECT {', '.join(rows.COLUMNS)} FROM segments WHERE member = ? AND interval = ?"
_TELEMETRY = (
    "SELECT seconds, worker, '[]', began, task FROM telemetry WHERE member = ? AND interval = ?"
)
_PARTS = "SELECT parts FROM parts WHERE member = ? AND interval = ?"

_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class FoundSegment:
    """A segment with what belongs to it.

    Attributes:
        segment: The segment.
        telemetry: Its telemetry, without the training curve.
        parent: Segment that it started from; None = it is fresh, or that one is missing.
    """

    segment: Segment
    telemetry: Telemetry
    parent: Segment | None


def find_segment(path: Path, segment: SegmentId) -> FoundSegment | None:
    """Return a segment of a journal; None = it is not recorded.

    Args:
        path: Path of the journal.
        segment: Member and interval.

    Raises:
        RunError: The file is no journal, is damaged, or cannot be read now.
    """

    def query(shared: sqlite3.Connection) -> FoundSegment | None:
        found = _segment(shared, segment)
        if found is None:
            return None
        parent = None if found.source is None else _segment(shared, found.source)
        known = shared.execute(_TELEMETRY, segment).fetchone()
        return FoundSegment(
            found, Telemetry() if known is None else rows.telemetry_of(known), parent
        )

    return snapshot.read(path, query)


def _segment(shared: sqlite3.Connection, segment: SegmentId) -> Segment | None:
    if not all(0 <= number <= _LARGEST for number in segment):
        return None
    row = shared.execute(_SEGMENT, segment).fetchone()
    if row is None:
        return None
    parts = None
    if database.has_table(shared, "parts"):
        parts = shared.execute(_PARTS, segment).fetchone()
    return rows.segment_of(row, "" if parts is None else parts[0])
