"""The journal: one SQLite file, the only truth about a run. Its tables are only appended to.

The record (segments, decisions) is equal between equal runs; telemetry never is, and has tables of its own.
"""

import json
import math
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError
from popgrad.core.population import Decision, Plan, Segment, SegmentId, Telemetry

FORMAT = 1
_SCHEMA = f"""
BEGIN;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE segments (
    interval INTEGER NOT NULL, member INTEGER NOT NULL, source_member INTEGER, source_interval INTEGER,
    seed INTEGER NOT NULL, first_step INTEGER NOT NULL, steps INTEGER NOT NULL, samples INTEGER NOT NULL,
    hparams TEXT NOT NULL, changes TEXT NOT NULL, score REAL, metrics TEXT NOT NULL,
    digest TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, PRIMARY KEY (interval, member)
) WITHOUT ROWID;
CREATE TABLE decisions (number INTEGER PRIMARY KEY, plan TEXT NOT NULL, memory TEXT NOT NULL);
CREATE TABLE telemetry (
    interval INTEGER NOT NULL, member INTEGER NOT NULL, seconds REAL NOT NULL, worker TEXT NOT NULL,
    curve TEXT NOT NULL, PRIMARY KEY (interval, member)
) WITHOUT ROWID;
CREATE TABLE readings (at TEXT NOT NULL, reader TEXT NOT NULL, split TEXT NOT NULL, member INTEGER NOT NULL,
    interval INTEGER NOT NULL, metrics TEXT NOT NULL);
INSERT INTO about VALUES ('format', '{FORMAT}');
COMMIT;
"""
_COLUMNS = (
    *("interval", "member", "source_member", "source_interval", "seed", "first_step", "steps", "samples"),
    *("hparams", "changes", "score", "metrics", "digest", "status", "error"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM segments"


class Journal:
    """An open journal.

    Args:
        path: The file; None = in memory, for a run without a directory.
        create: Start a new one, else open an existing one.
        readonly: Look only; a copy in memory is read, so that a run in progress is not disturbed.

    Raises:
        RunError: The file is no journal, is damaged or of another format, or there is one where it is to be
            created. Every method raises it when the file cannot be read or written.
    """

    def __init__(self, path: Path | None, *, create: bool = False, readonly: bool = False) -> None:
        self._path = path
        if path is not None and path.exists() == create:
            raise RunError(
                f"there is a journal at {path} already: resume that run, or choose another directory"
                if create
                else f"there is no journal at {path}: this is not the directory of a run"
            )
        with self._said():
            self._db = _copy(path) if readonly and path is not None else sqlite3.connect(path or ":memory:")
        try:
            with self._said():
                if create:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.executescript(_SCHEMA)
                self._db.execute("PRAGMA synchronous=NORMAL")
            self._check()
        except BaseException:
            self._db.close()
            raise

    def _check(self) -> None:
        found = dict(self._rows("SELECT key, value FROM about")).get("format")
        if found != str(FORMAT):
            raise RunError(f"{self._path} has format {found}; this popgrad reads {FORMAT}")

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turn what SQLite raises into a `RunError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(f"the journal {self._path} cannot be read or written: {error}") from error

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
        return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM about")}

    def set_about(self, key: str, value: object) -> None:
        """Keep one JSON-able fact of the run as a whole."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def append_segments(self, segments: Sequence[Segment], telemetry: Sequence[Telemetry]) -> None:
        """Append finished segments in one transaction. One that is there already and equal is left alone.

        Raises:
            RunError: One is there already and differs: the run was not computed as it was before.
        """
        with self._transaction():
            for segment, facts in zip(segments, telemetry, strict=True):
                self._append(segment, facts)

    def _append(self, segment: Segment, facts: Telemetry) -> None:
        row = _to_row(segment)
        key = (segment.interval, segment.member)
        found = self._rows(f"{_SELECT} WHERE interval = ? AND member = ?", key)
        if not found:
            self._db.execute(f"INSERT INTO segments VALUES ({', '.join('?' * len(_COLUMNS))})", row)
            curve = json.dumps([[step, name, _number(value)] for step, name, value in facts.curve])
            mine = (*key, facts.seconds, facts.worker, curve)
            self._db.execute("INSERT INTO telemetry VALUES (?, ?, ?, ?, ?)", mine)
        elif found[0][:-1] != row[:-1]:  # the last is the error, whose text may name places in memory
            raise RunError(
                f"member {segment.member}, interval {segment.interval} was computed again and differs from "
                f"the record (digest {segment.digest[:12]}…, recorded {_from_row(found[0]).digest[:12]}…): "
                "is this another machine, another number of threads, or another version of the task?"
            )

    def append_decision(self, decision: Decision) -> None:
        """Append one decision. One that is there already and equal is left alone.

        Raises:
            RunError: There is one of this number already, and it differs.
        """
        row = decision.number, json.dumps(_plan_values(decision.plan)), json.dumps(decision.memory)
        with self._transaction():
            found = self._rows("SELECT number, plan, memory FROM decisions WHERE number = ?", row[:1])
            if not found:
                self._db.execute("INSERT INTO decisions VALUES (?, ?, ?)", row)
            elif found[0] != row:
                raise RunError(
                    f"decision {decision.number} was made again and differs from the record: is this another "
                    "version of the strategy?"
                )

    def append_reading(
        self, at: str, reader: str, split: str, segment: SegmentId, metrics: Mapping[str, float]
    ) -> None:
        """Note that a split was read: when, by which command, of which segment, with which result."""
        row = (at, reader, split, *segment, _numbers(metrics))
        with self._transaction():
            self._db.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?)", row)

    def segments(self) -> list[Segment]:
        """Every segment, in order of (interval, member)."""
        return [_from_row(row) for row in self._rows(f"{_SELECT} ORDER BY interval, member")]

    def decisions(self) -> list[Decision]:
        """Every decision, in order."""
        rows = self._rows("SELECT number, plan, memory FROM decisions ORDER BY number")
        return [Decision(n, _plan(json.loads(plan)), json.loads(memory)) for n, plan, memory in rows]

    def telemetry(self) -> dict[SegmentId, Telemetry]:
        """What differs between equal runs, by segment."""
        rows = self._rows("SELECT member, interval, seconds, worker, curve FROM telemetry")
        return {
            (member, interval): Telemetry(
                seconds, worker, tuple((step, name, _parse(value)) for step, name, value in json.loads(curve))
            )
            for member, interval, seconds, worker, curve in rows
        }

    def readings(self) -> list[dict[str, Any]]:
        """Every reading of a split outside of training, in order."""
        names = ("at", "reader", "split", "member", "interval", "metrics")
        rows = self._rows(f"SELECT {', '.join(names)} FROM readings ORDER BY rowid")
        return [dict(zip(names, row, strict=True)) | {"metrics": _parse_numbers(row[-1])} for row in rows]


def _copy(path: Path) -> sqlite3.Connection:
    """A private copy in memory; the file may lie in a read-only directory, or be in use."""
    log = path.with_name(f"{path.name}-wal")
    try:
        # Without a log nobody has it open; saying so keeps SQLite from leaving a log and its index behind.
        return _read(path, "mode=ro" if log.exists() else "immutable=1")
    except sqlite3.OperationalError:
        if not log.exists():
            raise
    with tempfile.TemporaryDirectory() as aside:  # a log is read with an index, which cannot be written there
        for file in (path, log):
            shutil.copy(file, aside)
        return _read(Path(aside) / path.name, "mode=rw")


def _read(path: Path, how: str) -> sqlite3.Connection:
    private = sqlite3.connect(":memory:")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as shared:
            shared.backup(private)
    except BaseException:
        private.close()
        raise
    return private


def _to_row(segment: Segment) -> tuple[Any, ...]:
    member, interval = segment.source or (None, None)
    return (
        segment.interval,
        segment.member,
        member,
        interval,
        segment.seed,
        segment.first_step,
        segment.steps,
        segment.samples,
        json.dumps(dict(segment.hparams)),
        json.dumps(dict(segment.changes)),
        None if math.isnan(segment.score) else float(segment.score),  # SQLite knows no nan
        _numbers(segment.metrics),
        segment.digest,
        segment.status,
        segment.error.encode(errors="backslashreplace").decode(),  # SQLite takes no lone surrogates
    )


def _from_row(row: Sequence[Any]) -> Segment:
    values = dict(zip(_COLUMNS, row, strict=True))
    member, interval = values.pop("source_member"), values.pop("source_interval")
    values["source"] = None if member is None else (member, interval)
    values["score"] = math.nan if values["score"] is None else values["score"]
    values["hparams"], values["changes"] = json.loads(values["hparams"]), json.loads(values["changes"])
    values["metrics"] = _parse_numbers(values["metrics"])
    return Segment(**values)


def _plan_values(plan: Plan) -> dict[str, Any]:
    return {
        "members": plan.members,
        "sources": plan.sources,
        "hparams": [dict(hparams) for hparams in plan.hparams],
        "changes": [dict(changes) for changes in plan.changes],
    }


def _plan(values: Mapping[str, Any]) -> Plan:
    return Plan(**{name: tuple(value) for name, value in values.items()})


def _number(value: float) -> float | str:
    """Standard JSON knows no nan and no infinities: they are kept as strings."""
    return float(value) if math.isfinite(value) else str(float(value))


def _parse(value: float | str) -> float:
    return float(value)


def _numbers(values: Mapping[str, float]) -> str:
    return json.dumps({name: _number(value) for name, value in values.items()})


def _parse_numbers(text: str) -> dict[str, float]:
    return {name: _parse(value) for name, value in json.loads(text).items()}
