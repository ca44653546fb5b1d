"""The line of a run in the list: kept up to date from a few columns of the segments that arrive."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from popgrad import config as configuration
from popgrad.comparison.groups import strategy_label
from popgrad.core.errors import PopgradError, RunError
from popgrad.record.record import Record
from popgrad.runs.status import Status, status_of
from popgrad.store.directory import Directory
from popgrad.store.facts import record_of
from popgrad.store.parts import segment_parts_of
from popgrad.store.snapshot import stamp
from popgrad.store.tail import Arrivals, Row, Update
from popgrad.views.plain import Json, plain_number

_COLUMNS = (
    *("segments.interval", "segments.member", "segments.score", "parts.parts"),
    "telemetry.began",
)


@dataclass(frozen=True)
class _Point:
    """A segment as far as the list needs it."""

    interval: int
    member: int
    score: float  # nan = failed
    length: int
    began: float | None


def _point(row: Row) -> _Point:
    interval, member, score, parts, began = row
    if not all(isinstance(number, int) for number in (interval, member)):
        raise RunError("the journal is damaged: a segment without a number")
    score = float(score) if isinstance(score, float) else math.nan
    length = 1
    if parts:
        try:
            length = int(segment_parts_of(parts)["length"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RunError(f"the journal is damaged: {error}") from None
    known = isinstance(began, float) and math.isfinite(began)
    return _Point(interval, member, score, length, began if known else None)


@dataclass
class _Totals:
    """Totals of the segments so far."""

    last: dict[int, _Point] = field(default_factory=dict)
    best: float = math.nan  # as it is ranked
    spent: int = 0
    segments: int = 0
    began: float | None = None

    def add(self, point: _Point) -> None:
        self.segments += 1
        self.spent += point.length
        before = self.last.get(point.member)
        if before is None or before.interval < point.interval:
            self.last[point.member] = point
        if math.isfinite(point.score) and not self.best >= point.score:
            self.best = point.score
        if point.began is not None and (self.began is None or point.began < self.began):
            self.began = point.began

    def completed(self, given: Record) -> int:
        """Return the intervals that every present member without a failure has completed."""
        if given.shared_budget:
            return self.spent // max(1, int(given.config.get("population", given.size)))
        present = [point for member, point in self.last.items() if member < given.size]
        if len(present) < given.size:
            return 0
        return min((each.interval + 1 for each in present if math.isfinite(each.score)), default=0)


class Summary:
    """The line of one run.

    Args:
        directory: Directory of the run.
        run_id: Name of the run in addresses.
        name: Name to show.
    """

    def __init__(self, directory: Path, run_id: str, name: str) -> None:
        self._directory = Directory(directory)
        self._names: Json = {"id": run_id, "name": name, "path": str(directory)}
        self._begin()

    def _begin(self) -> None:
        self._arrivals = Arrivals(self._directory.journal, _COLUMNS)
        self._totals = _Totals()
        self._given: Record | None = None

    def read(self) -> Json:
        """Return the line, which holds the key "error" if the run cannot be read.

        Only what has arrived since the last reading is read.
        """
        try:
            process = self._directory.holder()
            self._update()
            assert self._given is not None
            status = status_of(self._given, self._totals.completed(self._given), process)
            return self._line(self._given, status)
        except (PopgradError, OSError) as error:
            self._begin()
            return {**self._names, "error": str(error)}

    def _update(self) -> None:
        more = True
        while more:
            update: Update[_Point] = self._arrivals.read(_point)
            if update.restarted:
                self._totals = _Totals()
            if update.facts is not None:
                self._given = self._facts(update.facts)
            for point in update.arrivals:
                self._totals.add(point)
            more = update.more

    def _facts(self, facts: Mapping[str, Any]) -> Record:
        record = record_of(facts, (), (), self._directory.journal)
        configuration.parse(record.config)
        return record

    def _line(self, given: Record, status: Status) -> Json:
        strategy = given.config.get("strategy")
        if not isinstance(strategy, Mapping):
            strategy = {"name": strategy or "pbt"}
        totals = self._totals
        return self._names | {
            "task": str(given.config.get("task", "")),
            "strategy": str(strategy.get("name", "pbt")),
            "label": strategy_label({"name": "pbt", **strategy}),
            "seed": given.config.get("seed", 0),
            "members": given.size,
            "intervals": status.intervals,
            "completed": status.completed,
            "segments": totals.segments,
            "state": status.state,
            "status": status.describe(),
            "score": given.ranking.metric,
            "lower_is_better": given.ranking.minimize,
            "best": plain_number(given.ranking.shown(totals.best)),
            "began": totals.began,
            "changed": max(changed for _, changed, _ in stamp(self._directory.journal)) / 1e9,
        }
