"""The journal: one SQLite file, the only truth about a run. Its tables are only appended to.

The record (segments, decisions) is equal between equal runs; telemetry never is, and has tables of its own.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Decision, Segment, SegmentId, Telemetry
from popgrad.core.space import Space
from popgrad.record.check import check_facts
from popgrad.record.record import Record
from popgrad.store import database, rows

_INSERT = (
    f"INSERT INTO segments VALUES ({', '.join('?' * len(rows.COLUMNS))}) ON CONFLICT DO NOTHING"
)
_SELECT = f"SELECT {', '.join(rows.COLUMNS)} FROM segments"


class Journal:
    """An open journal. One of an older format is brought to the present one.

    Args:
        path: The file; None = in memory, for a run without a directory.
        create: Start a new one, there as a whole or not at all; else open an existing one.
        about: What a new one knows of the run as a whole, JSON-able by key.
        durable: Flush every commit to the disk: it survives a failure of power, and not only any kill.
        readonly: Look only; a copy in memory is read, so that a run in progress is not disturbed.

    Raises:
        RunError: The file is no journal, is damaged or of a newer format, or there is one where it is to be
            created. Every method raises it when the file cannot be read or written.
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
        if path is not None and path.exists() == create:
            raise RunError(
                f"there is a journal at {path} already: resume that run, or choose another directory"
                if create
                else f"there is no journal at {path}: this is not the directory of a run"
            )
        with self._said():
            if create or path is None:
                known = {key: json.dumps(value) for key, value in (about or {}).items()}
                self._db = database.create(path, known, durable=durable)
            else:
                self._db = (
                    database.copy(path) if readonly else database.connect(path, durable=durable)
                )
        try:
            with self._said():
                database.check(self._db, path)
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turn what SQLite raises into a `RunError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(
                f"the journal {self._path} cannot be read or written: {error}"
            ) from error

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._said():
            return self._db.execute(query, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._said(), self._db:
            yield

    def close(self) -> None:
        """Close; leaves no write-ahead log behind."""
        self._db.close()

    def about(self) -> dict[str, Any]:
        """What is known of the run as a whole: configuration, versions, fingerprint."""
        found = self._rows("SELECT key, value FROM about")
        try:
            return {key: json.loads(value) for key, value in found}
        except (ValueError, TypeError, RecursionError) as error:
            raise RunError(f"the journal {self._path} is damaged: {error}") from None

    def set_about(self, **facts: object) -> None:
        """Keep JSON-able facts of the run as a whole, in one transaction."""
        with self._transaction():
            self._set(**facts)

    def _set(self, **facts: object) -> None:
        for key, value in facts.items():
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def sizes(self) -> list[int]:
        """Sizes of the population, from the first to the present one; empty if none is recorded."""
        return list(self.about().get("sizes", []))

    def record(self, *, all_decisions: bool = False) -> Record:
        """Read the record of the run.

        Args:
            all_decisions: Whether to read the decisions in any case. Without it they are read only if the
                population has changed its size, since only then the state of the members depends on them.

        Raises:
            RunError: The journal is damaged.
        """
        facts = self.about()
        check_facts(facts)
        try:
            space = Space.from_spec(facts["space"])
        except (UsageError, AttributeError, TypeError) as error:
            raise RunError(f"the journal {self._path} is damaged: {error}") from None

        resized = len(facts["sizes"]) > 1
        return Record(
            space=space,
            score_name=facts["score"],
            segments=tuple(self.segments()),
            decisions=tuple(self.decisions()) if all_decisions or resized else (),
            sizes=tuple(facts["sizes"]),
            config=facts["config"],
            given_task=facts["given_task"],
            task_digest=facts["task_digest"],
            fingerprint=facts.get("fingerprint", {}),
            stopped=facts["stopped"],
        )

    def append_segments(self, segments: Sequence[Segment], telemetry: Sequence[Telemetry]) -> None:
        """Append finished segments in one transaction. One that is there already and equal is left alone.

        Raises:
            RunError: One is there already and differs: the run was not computed as it was before.
        """
        with self._transaction():
            for segment, facts in zip(segments, telemetry, strict=True):
                self._append(segment, facts)

    def _append(self, segment: Segment, facts: Telemetry) -> None:
        row = rows.segment_row(segment)
        key = (segment.interval, segment.member)
        if self._db.execute(_INSERT, row).rowcount:
            mine = (*key, facts.seconds, facts.worker, rows.curve_text(facts))
            self._db.execute("INSERT INTO telemetry VALUES (?, ?, ?, ?, ?)", mine)
            return
        found = self._rows(f"{_SELECT} WHERE interval = ? AND member = ?", key)
        if found[0][:-1] != row[:-1]:  # the last is the error, whose text may name places in memory
            recorded = rows.segment_of(found[0]).digest[:12]
            raise RunError(
                f"member {segment.member}, interval {segment.interval} was computed again and differs from "
                f"the record (digest {segment.digest[:12]}…, recorded {recorded}…): is this another machine, "
                "another number of threads, or another version of the task?"
            )

    def append_decision(self, decision: Decision) -> None:
        """Append one decision, with the population's size if it changes.

        One that is there already and equal is left alone.

        Raises:
            RunError: There is one of this number already, and it differs.
        """
        row = rows.decision_row(decision)
        with self._transaction():
            found = self._rows(
                "SELECT number, plan, memory FROM decisions WHERE number = ?", row[:1]
            )
            if not found:
                self._db.execute("INSERT INTO decisions VALUES (?, ?, ?)", row)
                if decision.size is not None:
                    self._set(sizes=[*self.sizes(), decision.size])
            elif found[0] != row:
                raise RunError(
                    f"decision {decision.number} was made again and differs from the record: is this another "
                    "version of the strategy?"
                )

    def append_reading(
        self, at: str, reader: str, split: str, segment: SegmentId, metrics: Mapping[str, float]
    ) -> None:
        """Note that a split was read: when, by which command, of which segment, with which result."""
        row = (at, reader, split, *segment, rows.numbers_text(metrics))
        with self._transaction():
            self._db.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?)", row)

    def segments(self) -> list[Segment]:
        """Every segment, in order of (interval, member)."""
        return [rows.segment_of(row) for row in self._rows(f"{_SELECT} ORDER BY interval, member")]

    def decisions(self) -> list[Decision]:
        """Every decision, in order."""
        query = "SELECT number, plan, memory FROM decisions ORDER BY number"
        return [rows.decision_of(row) for row in self._rows(query)]

    def telemetry(self) -> dict[SegmentId, Telemetry]:
        """What differs between equal runs, by segment."""
        query = "SELECT member, interval, seconds, worker, curve FROM telemetry"
        return {(row[0], row[1]): rows.telemetry_of(*row[2:]) for row in self._rows(query)}

    def readings(self) -> list[dict[str, Any]]:
        """Every reading of a split outside of training, in order."""
        names = ("at", "reader", "split", "member", "interval", "metrics")
        found = self._rows(f"SELECT {', '.join(names)} FROM readings ORDER BY rowid")
        return [
            dict(zip(names, row, strict=True)) | {"metrics": rows.numbers(row[-1])} for row in found
        ]

    def set_failures_aside(self, segments: Sequence[SegmentId]) -> None:
        """Take failed segments out of the record, to be trained again; keep when, and their errors, apart.

        Only for segments that no decision has seen: a retry that succeeds leaves the record as it would be
        without the failure.

        Args:
            segments: Who; each has failed.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction():
            for member, interval in segments:
                where = "WHERE interval = ? AND member = ? AND status = 'failed'"
                self._db.execute(
                    f"INSERT INTO failures SELECT interval, member, ?, error FROM segments {where}",
                    (at, interval, member),
                )
                self._db.execute(f"DELETE FROM segments {where}", (interval, member))
                self._db.execute(
                    "DELETE FROM telemetry WHERE interval = ? AND member = ?", (interval, member)
                )

    def failures(self) -> list[tuple[SegmentId, str, str]]:
        """Failures that were set aside, in order: segment, when, the error."""
        query = "SELECT member, interval, at, error FROM failures ORDER BY rowid"
        return [((row[0], row[1]), row[2], row[3]) for row in self._rows(query)]

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file; empty = nothing."""
        found = [str(row[0]) for row in self._rows("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found
