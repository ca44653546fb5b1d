"""The head of a run: what it was given, how far it has come, and its winner."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.space import Dimension
from popgrad.record.record import Record
from popgrad.views.plain import Json, plain

FORMAT = 1
"""Format of the JSON that pages draw."""


def header(
    record: Record,
    *,
    name: str,
    status: Mapping[str, object],
    spent: int | None = None,
    directory: str = "DIR",
    verdict: str = "",
) -> Json:
    """Return the head of a run.

    Args:
        record: Its record; the last segment of each member suffices, with `spent`.
        name: Name to show, usually that of its directory.
        status: Its status as plain values: state, reason, text, completed, intervals.
        spent: Member-intervals of all segments; None = those of the record.
        directory: Directory as commands name it.
        verdict: Sentence of its ablation; "" = there is none.
    """
    config = record.config
    winner = None
    with suppress(AllMembersFailedError):
        winner = record.winner.id

    strategy = config.get("strategy", {})
    return {
        "format": FORMAT,
        "name": name,
        "run_id": record.run_id,
        "task": str(config.get("task", "")),
        "strategy": str(strategy.get("name", "pbt") if isinstance(strategy, Mapping) else strategy),
        "members": record.size,
        "intervals": int(config.get("intervals", 0)),
        "interval": str(config.get("interval", "")),
        "seed": config.get("seed", 0),
        "executor": str(config.get("executor", "")),
        "score": {"name": record.ranking.metric, "lower_is_better": record.ranking.minimize},
        "space": [dimension_json(name, each) for name, each in record.space.items()],
        "sizes": list(record.sizes),
        "shared_budget": record.shared_budget,
        "spent": record.spent if spent is None else spent,
        "present": [segment.id for segment in record.last.values()],
        "winner": winner,
        "status": dict(status),
        "directory": directory,
        "verdict": verdict,
        "config": plain(config),
    }


def dimension_json(name: str, dimension: Dimension) -> Json:
    """Return a dimension as a page needs it: name, kind, scale, init_only, bounds or options, words."""
    spec: dict[str, Any] = dimension.spec()
    return {
        "name": name,
        "kind": dimension.kind,
        "scale": dimension.scale,
        "init_only": dimension.init_only,
        "low": spec.get("low"),
        "high": spec.get("high"),
        "start": plain(spec.get("start")),
        "options": plain(spec.get("options")),
        "value": plain(spec.get("value")),
        "text": dimension.describe(),
    }
