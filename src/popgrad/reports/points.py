"""Points of a segment's curves, as trackers draw them."""

import math
from collections.abc import Iterator

from popgrad.core.score import Score
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Space

INTERVAL = "lineage/interval"
"""Name of the curve that numbers the intervals of a slot."""

Points = dict[int, dict[str, float]]
"""Finite numbers by step within a segment, from 1, and by name; steps ascend."""


def points(segment: Segment, telemetry: Telemetry, space: Space, ranking: Score) -> Points:
    """Return the numbers of a segment that a tracker draws.

    Names: train/<name> logged by the task, validation/<name> the metrics, score/<metric> the one
    that ranks, as it was evaluated, and hyperparameters/<name>, at the first and the last step;
    lineage/source_member, the slot that its weights come from, lineage/failed, 1 if selection
    treats it as failed, and at last lineage/interval. Numbers that are not finite are left out.

    A segment that crashed has all of them at its first step: it may be retrained, and its
    points must not lie before those of the failure.

    Args:
        segment: Finished segment.
        telemetry: Its training curve.
        space: Dimensions that are searched; numbers are drawn.
        ranking: Metric that ranks, with its direction.
    """
    found: Points = {}
    for step, name, value in _all(segment, telemetry, space, ranking):
        if math.isfinite(value):
            found.setdefault(step, {})[name] = value
    return {step: found[step] for step in sorted(found)}


def texts(segment: Segment, space: Space) -> dict[str, str]:
    """Return the hyperparameters that are no numbers, by the names that `points` would give them."""
    return {
        f"hyperparameters/{name}": str(segment.hparams[name])
        for name in space
        if not _is_number(segment.hparams[name])
    }


def _all(
    segment: Segment, telemetry: Telemetry, space: Space, ranking: Score
) -> Iterator[tuple[int, str, float]]:
    """Yield (step, name, number), with steps counted from 1 to the segment's length."""
    last = 1 if segment.broke else segment.steps
    for name in space:
        value = segment.hparams[name]
        if _is_number(value):
            yield 1, f"hyperparameters/{name}", float(value)
            yield last, f"hyperparameters/{name}", float(value)
    if segment.source is not None:
        yield 1, "lineage/source_member", segment.source[0]

    for step, name, value in telemetry.curve:
        # A task may count in its own way, but must not write among the steps of other segments.
        yield min(max(step - segment.first_step, 1), last), f"train/{name}", value

    for name, value in segment.metrics.items():
        yield last, f"validation/{name}", value
    yield last, f"score/{ranking.metric}", ranking.shown(segment.score)
    yield last, "lineage/failed", float(segment.failed)
    yield last, INTERVAL, segment.interval


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
