"""Facts about a run, from the rows of a journal's table `about`, and the record that they begin."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError, UsageError
from popgrad.core.plan import Decision
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record.check import check_facts
from popgrad.record.record import Record


def facts_of(rows: Iterable[Sequence[Any]], path: Path | None) -> dict[str, Any]:
    """Return facts by key.

    Args:
        rows: Key and JSON text of each.
        path: Path of the journal, for messages.

    Raises:
        RunError: A value is no JSON.
    """
    try:
        return {key: json.loads(value) for key, value in rows}
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(f"the journal {path} is damaged: {error}") from None


def record_of(
    facts: Mapping[str, Any],
    segments: Iterable[Segment],
    decisions: Iterable[Decision],
    path: Path | None,
    *,
    resting: frozenset[int] = frozenset(),
) -> Record:
    """Return the record of a run.

    Args:
        facts: Facts by key.
        segments: Its segments, ordered by (interval, member).
        decisions: Its decisions in order.
        path: Path of the journal, for messages.
        resting: Members that rest since the last decision.

    Raises:
        RunError: A fact is missing, or cannot be.
    """
    check_facts(facts)
    try:
        space = Space.from_spec(facts["space"])
    except (UsageError, AttributeError, TypeError) as error:
        raise RunError(f"the journal {path} is damaged: {error}") from None

    return Record(
        space=space,
        score_name=facts["score"],
        segments=tuple(segments),
        decisions=tuple(decisions),
        sizes=tuple(facts["sizes"]),
        config=facts["config"],
        given_task=facts["given_task"],
        task_digest=facts["task_digest"],
        code=facts.get("code", {}),
        run_id=facts.get("run_id", ""),
        fingerprint=facts.get("fingerprint", {}),
        stopped=facts["stopped"],
        reuse=facts.get("reuse"),
        shared_budget=bool(facts.get("shared_budget", False)),
        study=facts.get("study"),
        resting=resting,
    )
