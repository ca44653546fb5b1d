"""The standing of a run: its last segments and totals, at the cost of the segments that arrive."""

import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from popgrad import config as configuration
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.record.check import check_segments
from popgrad.record.record import Record
from popgrad.runs.status import run_status
from popgrad.runs.verdict import read_verdict
from popgrad.store.directory import Directory, open_record
from popgrad.store.facts import record_of
from popgrad.views.header import header
from popgrad.views.plain import Json

_PATIENCE = 20
"""Times as long as it took to read a whole record, it is not read again."""


@dataclass
class Standing:
    """Last segment of each member, and the totals of a run.

    Attributes:
        directory: Directory of the run.
        name: Name to show.
        facts: Facts about the run, by key.
        last: Last segment of each slot.
        telemetry: Telemetry of these segments.
        spent: Member-intervals of all segments.
        behind: Whether the head is that of an earlier time, since the whole record is read only at times.
    """

    directory: Directory
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    last: dict[int, Segment] = field(default_factory=dict)
    telemetry: dict[SegmentId, Telemetry] = field(default_factory=dict)
    spent: int = 0
    behind: bool = False
    _whole: Record | None = None
    _read_again: float = 0.0

    def set_facts(self, facts: Mapping[str, Any]) -> Record:
        """Note the facts about the run, and return them as a record without segments.

        Raises:
            RunError: A fact is missing or cannot be.
            UsageError: The configuration is not that of a run.
        """
        record = record_of(facts, (), (), self.directory.journal)
        configuration.parse(record.config)
        self.facts = facts
        return record

    def add(self, arrivals: Iterable[tuple[Segment, Telemetry]], given: Record) -> None:
        """Note segments that have arrived.

        Args:
            arrivals: Segments with their telemetry.
            given: The facts as a record.

        Raises:
            RunError: A segment does not fit the run.
        """
        arrivals = list(arrivals)
        check_segments((segment for segment, _ in arrivals), given)
        for segment, telemetry in arrivals:
            self.spent += segment.length
            before = self.last.get(segment.member)
            if before is None or before.interval < segment.interval:
                self.last[segment.member] = segment
                self.telemetry[segment.id] = telemetry
                if before is not None:
                    del self.telemetry[before.id]

    def header(self, process: str) -> Json:
        """Return the head of the run.

        Args:
            process: Number of the process that works on the run; "" = none does.
        """
        record = self._record()
        status = run_status(record, self.telemetry, process, self.spent)
        state = {
            "state": status.state,
            "reason": status.reason,
            "text": status.describe(),
            "completed": status.completed,
            "intervals": status.intervals,
        }
        return header(
            record,
            name=self.name,
            status=state,
            spent=self.spent,
            directory=shlex.quote(str(self.directory.path)),
            verdict=read_verdict(self.directory),
        )

    def _record(self) -> Record:
        """Return a record that holds at least the last segments."""
        if len(self.facts["sizes"]) == 1:
            segments = sorted(self.last.values(), key=lambda each: (each.interval, each.member))
            return record_of(self.facts, segments, (), self.directory.journal)

        # The decisions state which state is in a slot after the population has changed its size.
        begin = time.monotonic()
        self.behind = self._whole is not None and begin < self._read_again
        if self._whole is None or not self.behind:
            self._whole = open_record(self.directory.path)
            end = time.monotonic()
            self._read_again = end + _PATIENCE * (end - begin)
        return self._whole
