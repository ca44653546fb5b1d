"""Parts of decisions and segments that most runs have not: written if there are any, checked as read."""

import json
import math
from collections.abc import Mapping
from typing import Any

from popgrad.core.plan import LONGEST_ROLE, LONGEST_SEGMENT, Decision, Transform
from popgrad.core.population import SegmentId
from popgrad.core.segment import Evaluation, Segment

# --- decisions ------------------------------------------------------------------------------------


def plan_parts(decision: Decision) -> dict[str, object]:
    """Return the parts of a decision as plain JSON, without those that are empty."""
    plan = decision.plan
    parts: dict[str, object] = {
        "rests": plan.rests,
        "lengths": plan.lengths,
        "transforms": [_transform_json(transform) for transform in plan.transforms],
        "roles": plan.roles,
        "keep": plan.keep,
        "archived": [[place, *segment] for place, segment in decision.archived.items()],
    }
    return {name: part for name, part in parts.items() if part}


def plan_parts_of(
    plan: Mapping[str, Any], count: int
) -> tuple[dict[str, Any], dict[int, SegmentId]]:
    """Return the parts of a plan, and the archived segments that it starts from.

    Args:
        plan: Plan as plain JSON.
        count: Members of the plan.

    Raises:
        ValueError: A part cannot be.
        TypeError: A part has another type.
    """
    parts: dict[str, Any] = {
        "rests": tuple(plan.get("rests", ())),
        "lengths": tuple(plan.get("lengths", ())),
        "transforms": tuple(map(_transform_of, plan.get("transforms", ()))),
        "roles": tuple(plan.get("roles", ())),
    }
    for name, column in parts.items():
        _check(len(column) in (0, count), name)
    _check(all(isinstance(rests, bool) for rests in parts["rests"]), "rests")
    _check(all(map(_is_count, parts["lengths"])), "lengths")
    _check(all(map(_is_role, parts["roles"])), "roles")

    parts["keep"] = tuple(map(_segment_id, plan.get("keep", ())))
    archived = {place: _segment_id(segment) for place, *segment in plan.get("archived", ())}
    _check(all(type(place) is int and 0 <= place < count for place in archived), "archived")
    return parts, archived


# --- segments -------------------------------------------------------------------------------------


def segment_parts(segment: Segment) -> str:
    """Return the parts of a segment as JSON text; "" = it has none."""
    evaluations = [[each.step, _numbers(each.metrics)] for each in segment.evaluations]
    samples = {name: list(map(_plain, values)) for name, values in segment.metric_samples.items()}
    parts: dict[str, object] = {
        "samples": samples,
        "evaluations": evaluations,
        "transform": _transform_json(segment.transform),
        "role": segment.role,
        "length": segment.length if segment.length != 1 else 0,
    }
    parts = {name: part for name, part in parts.items() if part}
    return json.dumps(parts) if parts else ""


def segment_parts_of(text: str) -> dict[str, Any]:
    """Return the parts of a segment by the name of its field.

    Raises:
        ValueError: The text holds none.
        TypeError: A part has another type.
    """
    parts = json.loads(text)
    _check(isinstance(parts, dict), "parts")
    samples = {
        str(name): tuple(map(float, values)) for name, values in parts.get("samples", {}).items()
    }
    evaluations = tuple(
        Evaluation(step, {str(name): float(value) for name, value in metrics.items()})
        for step, metrics in parts.get("evaluations", ())
    )
    _check(all(type(each.step) is int and each.step >= 0 for each in evaluations), "evaluations")

    role = parts.get("role", "")
    length = parts.get("length", 1)
    _check(_is_role(role), "role")
    _check(_is_count(length), "length")
    return {
        "metric_samples": samples,
        "evaluations": evaluations,
        "transform": _transform_of(parts.get("transform")),
        "role": role,
        "length": length,
    }


# --- values ---------------------------------------------------------------------------------------


def _transform_json(transform: Transform | None) -> list[object] | None:
    if transform is None:
        return None
    return [transform.name, {name: float(value) for name, value in transform.settings.items()}]


def _transform_of(value: Any) -> Transform | None:
    if value is None:
        return None
    name, settings = value
    _check(isinstance(name, str) and isinstance(settings, dict), "transform")
    numbers = {str(key): float(number) for key, number in settings.items()}
    _check(all(map(math.isfinite, numbers.values())), "transform")
    return Transform(name, numbers)


def _segment_id(value: Any) -> SegmentId:
    member, interval = value
    _check(type(member) is int and type(interval) is int, "segment")
    return member, interval


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: float) -> float | str:
    """Return a number as standard JSON has it: nan and infinities as strings."""
    return float(value) if math.isfinite(value) else str(float(value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LONGEST_SEGMENT


def _is_role(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_ROLE


def _check(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"its {name} cannot be")
