"""The journal: one SQLite file, the only truth about a run. Rows are only appended.

The record (segments, decisions) is equal between equal runs. Telemetry never is, and has its own
tables.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError
from popgrad.core.plan import Decision, resting
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.gates.files import exists
from popgrad.gates.sizes import CELL
from popgrad.record.check import check_facts
from popgrad.record.record import Record
from popgrad.store import database, rows
from popgrad.store.facts import facts_of, record_of
from popgrad.store.parts import segment_parts

NO_SEGMENT: SegmentId = (-1, -1)
"""Segment of a reading of a model that is made of several members."""

_INSERT = (
    f"INSERT INTO segments VALUES ({', '.join('?' * len(rows.COLUMNS))}) ON CONFLICT DO NOTHING"
)
_TELEMETRY = ("interval", "member", *rows.TELEMETRY)
_INSERT_TELEMETRY = (
    f"INSERT INTO telemetry ({', '.join(_TELEMETRY)}) VALUES ({', '.join('?' * len(_TELEMETRY))})"
)
_PLAN_PER_MEMBER = 16 << 10
"""Most bytes of a plan for a member: values, and what was done to each."""

_SELECT = f"SELECT {', '.join(rows.COLUMNS)} FROM segments"


class Journal:
    """An open journal. Every method raises `RunError` if the file cannot be read or written.

    Args:
        path: Path of the file; None = in memory, for a run without a directory.
        create: Whether to create a new file, as a whole or not at all; else an existing one is
            opened.
        about: Facts about the run that a new journal starts with, JSON-able by key.
        durable: Whether to flush every commit to the disk, to survive a failure of power too.
        readonly: Whether to read a copy in memory, so that a run in progress is not disturbed.

    Raises:
        RunError: The file is not a journal, is damaged or has another format; or it exists already
            although it is to be created.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        create: bool = False,
        about: Mapping[str, object] | None = None,
        durable: bool = False,
        readonly: bool = False,
    ) -> None:
        self._path = path
        self._readonly = readonly
        found = path is not None and self._is_there(path)
        if create and found:
            raise RunError(
                f"there is a journal at {path} already: resume that run, or choose another directory"
            )
        if not create and path is not None and not found:
            raise RunError(f"there is no journal at {path}: this is not the directory of a run")

        if path is not None and not create:
            database.check_file(path)
        with self._errors():
            if create or path is None:
                facts = {key: json.dumps(value) for key, value in (about or {}).items()}
                self._db = database.create(path, facts, durable=durable)
            elif readonly:
                self._db = database.copy(path)
            else:
                self._db = database.connect(path, durable=durable)
        try:
            with self._errors():
                if readonly:
                    database.bound(self._db, CELL)
                database.check(self._db, path)
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def _is_there(path: Path) -> bool:
        try:
            return exists(path)
        except OSError as error:
            raise RunError(f"the journal {path} cannot be read now: {error.strerror}") from error

    def _errors(self) -> AbstractContextManager[None]:
        return database.errors(self._path)

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._errors():
            cursor = self._db.execute(query, parameters)
            if not self._readonly:
                return cursor.fetchall()
            return list(database.bounded(self._db, cursor, self._path))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors(), self._db:
            yield

    def close(self) -> None:
        """Close the file; no write-ahead log stays behind."""
        self._db.close()
        if self._path is not None and not self._readonly:
            database.remove_log(self._path)

    def about(self) -> dict[str, Any]:
        """Return the facts about the run, by key: configuration, space, fingerprint, and others."""
        return facts_of(self._rows("SELECT key, value FROM about"), self._path)

    def set_about(self, **facts: object) -> None:
        """Write JSON-able facts about the run, in one transaction."""
        with self._transaction():
            self._set(**facts)

    def _set(self, **facts: object) -> None:
        for key, value in facts.items():
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def sizes(self) -> list[int]:
        """Return the sizes of the population, from the first to the present one, as far as recorded."""
        return list(self.about().get("sizes", []))

    def record(self, *, all_decisions: bool = False) -> Record:
        """Read the record of the run.

        Args:
            all_decisions: Whether to read the decisions in any case. Without it they are read only
                if the population has changed its size, since only then the state of the members
                depends on them.

        Raises:
            RunError: The journal is damaged.
        """
        facts = self.about()
        check_facts(facts)
        resized = len(facts["sizes"]) > 1
        decisions = self.decisions() if all_decisions or resized else ()
        return record_of(facts, self.segments(), decisions, self._path, resting=self.resting())

    def append_segments(self, segments: Sequence[Segment], telemetry: Sequence[Telemetry]) -> None:
        """Append finished segments in one transaction.

        A segment that is recorded already is compared.

        Args:
            segments: Segments to append.
            telemetry: Telemetry of each segment.

        Raises:
            RunError: A segment is recorded already and differs: the run was not computed as before.
        """
        with self._transaction():
            for segment, own in zip(segments, telemetry, strict=True):
                self._append(segment, own)

    def _append(self, segment: Segment, telemetry: Telemetry) -> None:
        row = rows.segment_row(segment)
        parts = segment_parts(segment)
        key = (segment.interval, segment.member)

        # The insertion does nothing if the segment is recorded already.
        if self._db.execute(_INSERT, row).rowcount:
            self._db.execute(_INSERT_TELEMETRY, (*key, *rows.telemetry_row(telemetry)))
            if telemetry.path:
                database.add(self._db, "paths", *key, telemetry.path)
            if parts:
                database.add(self._db, "parts", *key, parts)
            return

        # Computed again after a kill: equal seeds have to give equal bits.
        recorded = self._rows(f"{_SELECT} WHERE interval = ? AND member = ?", key)[0]
        recorded_parts = self._parts("WHERE interval = ? AND member = ?", key).get(segment.id, "")
        # The last column is the error, which is not compared: it may name memory addresses.
        if recorded[:-1] != row[:-1] or recorded_parts != parts:
            digest = rows.segment_of(recorded).digest[:12]
            raise RunError(
                f"member {segment.member}, interval {segment.interval} was computed again and differs "
                f"from the record (digest {segment.digest[:12]}…, recorded {digest}…): is this another "
                "machine, another number of threads, or another version of the task?"
            )

    def append_decision(self, decision: Decision) -> None:
        """Append one decision, and the size of the population if it changes.

        A decision that is recorded already is compared.

        Raises:
            RunError: A decision of this number is recorded already and differs.
        """
        row = rows.decision_row(decision)
        with self._transaction():
            recorded = self._rows(
                "SELECT number, plan, memory FROM decisions WHERE number = ?", row[:1]
            )

            if not recorded:
                self._db.execute("INSERT INTO decisions VALUES (?, ?, ?)", row)
                if decision.size is not None:
                    self._set(sizes=[*self.sizes(), decision.size])
            elif recorded[0] != row:
                raise RunError(
                    f"decision {decision.number} differs from the recorded one: is this another "
                    "version of the strategy?"
                )

    def append_reading(
        self, at: str, reader: str, split: str, segment: SegmentId, metrics: Mapping[str, float]
    ) -> None:
        """Append a reading of a split.

        Args:
            at: Time of the reading, in ISO 8601.
            reader: Command or function that read the split.
            split: "train", "validation" or "test".
            segment: Segment whose final state was evaluated, or `NO_SEGMENT`.
            metrics: Metrics by name.
        """
        row = (at, reader, split, *segment, rows.numbers_text(metrics))
        with self._transaction():
            self._db.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?)", row)

    def segments(self) -> list[Segment]:
        """Return every segment, ordered by (interval, member)."""
        parts = self._parts()
        found = self._rows(f"{_SELECT} ORDER BY interval, member")
        return [rows.segment_of(row, parts.get((row[1], row[0]), "")) for row in found]

    def _parts(self, condition: str = "", key: Sequence[int] = ()) -> dict[SegmentId, str]:
        """Return the texts of the parts of segments, by segment, of those that have any."""
        texts = self._optional("parts", condition, key)
        return {(member, interval): str(text) for member, interval, text in texts}

    def decisions(self) -> list[Decision]:
        """Return every decision, in order."""
        query = "SELECT number, plan, memory FROM decisions ORDER BY number"
        self._bound_plans()
        return [rows.decision_of(row) for row in self._rows(query)]

    def resting(self) -> frozenset[int]:
        """Return the members that rest since the last decision. Each decision names all that rest."""
        query = "SELECT number, plan, '{}' FROM decisions ORDER BY number DESC LIMIT 1"
        self._bound_plans()
        found = [rows.decision_of(row) for row in self._rows(query)]
        return resting(found[-1].plan) if found else frozenset()

    def _bound_plans(self) -> None:
        """Refuse longer cells than plans from now on, which may be longer than others."""
        if self._readonly:
            members = max(self.sizes(), default=0)
            database.bound(self._db, CELL + members * _PLAN_PER_MEMBER)

    def telemetry(self) -> dict[SegmentId, Telemetry]:
        """Return the telemetry of each segment."""
        query = (
            f"SELECT member, interval, {', '.join(rows.TELEMETRY)} FROM telemetry "
            "ORDER BY interval, member"
        )
        telemetry = {(row[0], row[1]): rows.telemetry_of(row[2:]) for row in self._rows(query)}
        for member, interval, path in self._optional("paths"):
            if (member, interval) in telemetry:
                found = telemetry[member, interval]
                telemetry[member, interval] = replace(found, path=str(path))
        return telemetry

    def _optional(
        self, name: str, condition: str = "", key: Sequence[int] = ()
    ) -> list[tuple[Any, ...]]:
        """Return (member, interval, text) of an optional table; empty if the journal has none."""
        with self._errors():
            exists = database.has_table(self._db, name)
        column = "path" if name == "paths" else name
        query = f"SELECT member, interval, {column} FROM {name} {condition}"
        return self._rows(query, key) if exists else []

    def path(self, segment: SegmentId) -> str:
        """Return the path that was given in place of a segment's final state; "" = none was."""
        found = self._optional("paths", "WHERE member = ? AND interval = ?", segment)
        return str(found[0][2]) if found else ""

    def segment(self, segment: SegmentId) -> Segment | None:
        """Return the row of a segment; None = it is not recorded."""
        condition = "WHERE member = ? AND interval = ?"
        found = self._rows(f"{_SELECT} {condition}", segment)
        parts = self._parts(condition, segment).get(segment, "")
        return rows.segment_of(found[0], parts) if found else None

    def version(self) -> int:
        """Return a number that changes when another process has written to the journal."""
        with self._errors():
            return database.version(self._db)

    def readings(self) -> list[dict[str, Any]]:
        """Return every reading of a split outside of training, in order."""
        names = ("at", "reader", "split", "member", "interval", "metrics")
        readings = self._rows(f"SELECT {', '.join(names)} FROM readings ORDER BY rowid")
        return [
            dict(zip(names, row, strict=True)) | {"metrics": rows.numbers(row[-1])}
            for row in readings
        ]

    def set_failures_aside(self, segments: Sequence[SegmentId]) -> None:
        """Move failed segments out of the record, so that they are retrained.

        Only segments that no decision has seen may be moved: a retry that succeeds then leaves the
        record as it would be without the failure. The time and the errors are kept in a table of
        their own.

        Args:
            segments: Segments that have failed.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction():
            for member, interval in segments:
                condition = "WHERE interval = ? AND member = ? AND status = 'failed'"
                self._db.execute(
                    "INSERT INTO failures SELECT interval, member, ?, error FROM segments "
                    + condition,
                    (at, interval, member),
                )
                self._db.execute(f"DELETE FROM segments {condition}", (interval, member))
                self._db.execute(
                    "DELETE FROM telemetry WHERE interval = ? AND member = ?", (interval, member)
                )
                if database.has_table(self._db, "parts"):
                    self._db.execute(
                        "DELETE FROM parts WHERE interval = ? AND member = ?", (interval, member)
                    )

    def failures(self) -> list[tuple[SegmentId, str, str]]:
        """Return the failures that were set aside, in order: segment, time, error."""
        query = "SELECT member, interval, at, error FROM failures ORDER BY rowid"
        return [((row[0], row[1]), row[2], row[3]) for row in self._rows(query)]

    def damage(self) -> list[str]:
        """Return the damage that SQLite finds in the file; empty = none."""
        problems = [str(row[0]) for row in self._rows("PRAGMA integrity_check(10)")]
        return [] if problems == ["ok"] else problems
