"""Rows of the journal's tables, and the record that they hold: each is checked as it is read."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from popgrad.core.errors import RunError
from popgrad.core.population import Decision, Plan, Segment, Telemetry

COLUMNS = (
    *(
        "interval",
        "member",
        "source_member",
        "source_interval",
        "seed",
        "first_step",
        "steps",
        "samples",
    ),
    *("hparams", "changes", "score", "metrics", "digest", "status", "error"),
)
"""Of the table of segments, in order."""

_DIGEST = re.compile(r"[0-9a-f]{0,64}")
_Made = TypeVar("_Made")


def segment_row(segment: Segment) -> tuple[Any, ...]:
    """A segment as it is kept."""
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
        numbers_text(segment.metrics),
        segment.digest,
        segment.status,
        segment.error.encode(errors="backslashreplace").decode(),  # SQLite takes no lone surrogates
    )


def segment_of(row: Sequence[Any]) -> Segment:
    """The segment that a row holds. Raises `RunError` where it holds none."""
    return _read(_segment, row)


def _segment(row: Sequence[Any]) -> Segment:
    values = dict(zip(COLUMNS, row, strict=True))
    for name in ("interval", "member", "seed", "first_step", "steps", "samples"):
        _check(isinstance(values[name], int), name)
    member, interval = values.pop("source_member"), values.pop("source_interval")
    _check(isinstance(member, int | None) and type(member) is type(interval), "source")
    values["source"] = None if member is None else (member, interval)
    _check(isinstance(values["score"], float | None), "score")
    values["score"] = math.nan if values["score"] is None else values["score"]
    values["hparams"], values["changes"] = (
        _scalars(json.loads(values[n])) for n in ("hparams", "changes")
    )
    values["metrics"] = numbers(values["metrics"])
    # A digest names a file: nothing else than one may reach a path.
    _check(_DIGEST.fullmatch(values["digest"]) is not None, "digest")
    _check(isinstance(values["status"], str) and isinstance(values["error"], str), "status")
    return Segment(**values)


def decision_row(decision: Decision) -> tuple[int, str, str]:
    """A decision as it is kept: number, plan, memory."""
    plan = {
        "members": decision.plan.members,
        "sources": decision.plan.sources,
        "hparams": [dict(hparams) for hparams in decision.plan.hparams],
        "changes": [dict(changes) for changes in decision.plan.changes],
        **({"starts": decision.starts} if decision.starts else {}),
        **({} if decision.size is None else {"size": decision.size}),
    }
    return decision.number, json.dumps(plan), json.dumps(decision.memory)


def decision_of(row: Sequence[Any]) -> Decision:
    """The decision that a row holds. Raises `RunError` where it holds none."""
    return _read(_decision, row)


def _decision(row: Sequence[Any]) -> Decision:
    number, plan, memory = row[0], json.loads(row[1]), json.loads(row[2])
    members, sources = tuple(plan["members"]), tuple(plan["sources"])
    _check(all(isinstance(each, int) for each in (number, *members, *sources)), "members")
    hparams, changes = (tuple(map(_scalars, plan[name])) for name in ("hparams", "changes"))
    _check(len(members) == len(sources) == len(hparams) == len(changes), "members")
    _check(isinstance(memory, dict), "memory")
    starts = tuple(None if each is None else (each[0], each[1]) for each in plan.get("starts", ()))
    _check(all(isinstance(number, int) for each in starts if each for number in each), "starts")
    _check(len(starts) in (0, len(members)), "starts")
    size = plan.get("size")
    _check(size is None or members == tuple(range(size)) != (), "size")
    return Decision(number, Plan(members, sources, hparams, changes), memory, starts, size)


def curve_text(telemetry: Telemetry) -> str:
    """A training curve as it is kept."""
    return json.dumps([[step, name, _plain(value)] for step, name, value in telemetry.curve])


def telemetry_of(seconds: Any, worker: Any, curve: Any) -> Telemetry:
    """The telemetry that a row holds. Raises `RunError` where it holds none."""
    return _read(_telemetry, (seconds, worker, curve))


def _telemetry(row: Sequence[Any]) -> Telemetry:
    curve = tuple((int(step), str(name), float(value)) for step, name, value in json.loads(row[2]))
    return Telemetry(float(row[0]), str(row[1]), curve)


def numbers_text(values: Mapping[str, float]) -> str:
    """Metrics as they are kept. Standard JSON knows no nan and no infinities: they are kept as texts."""
    return json.dumps({name: _plain(value) for name, value in values.items()})


def numbers(text: str) -> dict[str, float]:
    """Metrics from a text. Raises `RunError` where it holds none."""
    return _read(_numbers, text)


def _numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in json.loads(text).items()}


def _plain(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def _scalars(values: Any) -> dict[str, Any]:
    _check(isinstance(values, dict), "hparams")
    _check(all(isinstance(each, bool | int | float | str) for each in values.values()), "hparams")
    return values  # type: ignore[no-any-return]


def _check(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"its {name} cannot be")


def _read(make: Callable[[Any], _Made], row: Any) -> _Made:
    try:
        return make(row)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        why = " ".join(str(error).split())[:200]
        raise RunError(
            f"the journal is damaged: a row {str(row[:2])[:80]} cannot be read: {why}"
        ) from None
