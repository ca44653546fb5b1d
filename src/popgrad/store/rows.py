"""Rows of the journal's tables: written from values of the record, and checked as they are read."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from popgrad.core.errors import RunError
from popgrad.core.plan import Decision, Plan
from popgrad.core.segment import Segment, Telemetry
from popgrad.store.parts import plan_parts, plan_parts_of, segment_parts_of

COLUMNS = (
    *("interval", "member", "source_member", "source_interval", "seed", "first_step", "steps"),
    *("samples", "hparams", "changes", "score", "metrics", "digest", "status", "error"),
)
"""Columns of the table of segments, in order."""

TELEMETRY = ("seconds", "worker", "curve", "began", "task")
"""Columns of the table of telemetry that hold facts, in order."""

NO_CURVE = "[]"
"""Text of an empty training curve."""

_DIGEST = re.compile(r"[0-9a-f]{0,64}")
_LONGEST_ERROR = 100_000
"""Most characters of an error that are recorded."""

_MOST_POINTS = 100_000
"""Most points of a training curve that are recorded; a longer curve is thinned out."""

_SCALARS = (bool, int, float, str)
_INTEGERS = ("interval", "member", "seed", "first_step", "steps", "samples")
_Value = TypeVar("_Value")

# --- segments -------------------------------------------------------------------------------------


def segment_row(segment: Segment) -> tuple[Any, ...]:
    """Return the row of a segment."""
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
        None if math.isnan(segment.score) else float(segment.score),  # SQLite has no nan
        numbers_text(segment.metrics),
        segment.digest,
        segment.status,
        _shortened(segment.error),
    )


def _shortened(error: str) -> str:
    """Return an error as SQLite can hold it; of a very long one the beginning and the end."""
    if len(error) > _LONGEST_ERROR:
        half = _LONGEST_ERROR // 2
        error = f"{error[:half]}\n...\n{error[-half:]}"
    return error.encode(errors="backslashreplace").decode()  # SQLite takes no lone surrogates


def segment_of(row: Sequence[Any], parts: str = "") -> Segment:
    """Return the segment of a row and of the text of its parts. Raises `RunError` if they hold none."""
    return _read(_segment, (*row, parts))


def _segment(row: Sequence[Any]) -> Segment:
    values = dict(zip(COLUMNS, row[:-1], strict=True))
    for name in _INTEGERS:
        if not isinstance(values[name], int):
            raise _impossible(name)

    member = values.pop("source_member")
    interval = values.pop("source_interval")
    _check(isinstance(member, int | None) and type(member) is type(interval), "source")
    values["source"] = None if member is None else (member, interval)

    _check(isinstance(values["score"], float | None), "score")
    values["score"] = math.nan if values["score"] is None else values["score"]
    values["hparams"] = _scalars(_parse(values["hparams"]))
    values["changes"] = _scalars(_parse(values["changes"]))
    values["metrics"] = numbers(values["metrics"])

    # A digest names a file: nothing but a digest may reach a path.
    _check(_DIGEST.fullmatch(values["digest"]) is not None, "digest")
    _check(isinstance(values["status"], str) and isinstance(values["error"], str), "status")
    # The longest that is recorded, with each character escaped.
    _check(len(values["error"]) <= 8 * _LONGEST_ERROR, "error")
    parts = segment_parts_of(row[-1]) if row[-1] else {}
    return Segment(**values, **parts)


# --- decisions ------------------------------------------------------------------------------------


def decision_row(decision: Decision) -> tuple[int, str, str]:
    """Return the row of a decision: number, plan, memory."""
    plan: dict[str, object] = {
        "members": decision.plan.members,
        "sources": decision.plan.sources,
        "hparams": [dict(hparams) for hparams in decision.plan.hparams],
        "changes": [dict(changes) for changes in decision.plan.changes],
    }
    if decision.starts:
        plan["starts"] = decision.starts
    if decision.size is not None:
        plan["size"] = decision.size
    plan |= plan_parts(decision)
    return decision.number, json.dumps(plan), json.dumps(decision.memory)


def decision_of(row: Sequence[Any]) -> Decision:
    """Return the decision of a row. Raises `RunError` if the row holds none."""
    return _read(_decision, row)


def _decision(row: Sequence[Any]) -> Decision:
    number = row[0]
    plan = json.loads(row[1])
    memory = json.loads(row[2])
    _check(isinstance(memory, dict), "memory")

    members = tuple(plan["members"])
    sources = tuple(plan["sources"])
    hparams = tuple(map(_scalars, plan["hparams"]))
    changes = tuple(map(_scalars, plan["changes"]))
    _check(all(isinstance(value, int) for value in (number, *members, *sources)), "members")
    _check(len(members) == len(sources) == len(hparams) == len(changes), "members")

    starts = tuple(
        None if start is None else (start[0], start[1]) for start in plan.get("starts", ())
    )
    _check(all(isinstance(value, int) for start in starts if start for value in start), "starts")
    _check(len(starts) in (0, len(members)), "starts")

    size = plan.get("size")
    _check(size is None or members == tuple(range(size)) != (), "size")
    parts, archived = plan_parts_of(plan, len(members))
    obeyed = Plan(members, sources, hparams, changes, **parts)
    return Decision(number, obeyed, memory, starts, size, archived)


# --- telemetry and metrics ------------------------------------------------------------------------


def curve_text(telemetry: Telemetry) -> str:
    """Return a training curve as JSON text."""
    stride = -(-len(telemetry.curve) // _MOST_POINTS) or 1
    points = telemetry.curve[::stride]
    return json.dumps([[step, name, _plain(value)] for step, name, value in points])


def telemetry_row(telemetry: Telemetry) -> tuple[Any, ...]:
    """Return the row of a segment's telemetry."""
    curve = curve_text(telemetry)
    return telemetry.seconds, telemetry.worker, curve, telemetry.began, telemetry.task


def telemetry_of(row: Sequence[Any]) -> Telemetry:
    """Return the telemetry of a row. Raises `RunError` if the row holds none."""
    return _read(_telemetry, row)


def _telemetry(row: Sequence[Any]) -> Telemetry:
    points = json.loads(row[2]) if row[2] != NO_CURVE else ()
    curve = tuple([(int(step), str(name), float(value)) for step, name, value in points])
    began, task = (None if value is None else float(value) for value in row[3:5])
    return Telemetry(float(row[0]), str(row[1]), curve, began=began, task=task)


def numbers_text(values: Mapping[str, float]) -> str:
    """Return metrics as JSON text; nan and infinities are strings, since standard JSON has neither."""
    return json.dumps({name: _plain(value) for name, value in values.items()})


def numbers(text: str) -> dict[str, float]:
    """Return the metrics of a JSON string. Raises `RunError` if it holds none."""
    return _read(_numbers, text)


def _numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in _parse(text).items()}


def _plain(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


# --- checks ---------------------------------------------------------------------------------------


def _scalars(values: Any) -> dict[str, Any]:
    """Return the values, which have to be plain scalars by name."""
    _check(isinstance(values, dict), "hparams")
    _check(all(isinstance(value, _SCALARS) for value in values.values()), "hparams")
    return values  # type: ignore[no-any-return]


def _parse(text: Any) -> Any:
    """Return the value of a JSON string."""
    # Of a hundred thousand rows, the empty ones then cost nothing.
    return {} if text == "{}" else json.loads(text)


def _check(holds: bool, name: str) -> None:
    if not holds:
        raise _impossible(name)


def _impossible(name: str) -> ValueError:
    return ValueError(f"its {name} cannot be")


def _read(parse: Callable[[Any], _Value], row: Any) -> _Value:
    """Parse a row, and turn whatever a foreign row can raise into a `RunError`."""
    try:
        return parse(row)
    except (
        *(ValueError, TypeError, KeyError, AttributeError),
        *(RecursionError, OverflowError),
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"the journal is damaged: a row {str(row[:2])[:80]} cannot be read: {reason}"
        ) from None
