"""Live rates: what a torch scheduler has made of a recorded hyperparameter, read from training curves.

The record holds the base that the scheduler multiplies. The rates that the optimizer trained with
are telemetry: points of the training curve that have the name of the hyperparameter.
"""

import math
from collections.abc import Mapping

from popgrad.core.population import SegmentId, Value
from popgrad.core.segment import Segment, Telemetry

Curves = Mapping[SegmentId, Telemetry]
"""Telemetry by segment; empty = unknown."""

_ROUNDING = 1e-6
"""Relative difference of a rate that was kept in single precision."""


def live_points(segment: Segment, curves: Curves, name: str) -> list[tuple[int, float]]:
    """Return the live values of a hyperparameter in a segment, in order.

    Args:
        segment: Segment to read.
        curves: Telemetry by segment.
        name: Name of the hyperparameter.

    Returns:
        (step, value) pairs, where `step` counts the training steps behind the weights before the
        step that trained with the value; empty if the recorded value was live, or nothing is known.
    """
    base = segment.hparams[name]
    telemetry = curves.get(segment.id)
    if telemetry is None or not _number(base):
        return []

    logged = [point for point in telemetry.curve if point[1] == name]
    if not logged:
        # Several optimizers: each logs its own rate under its own name.
        names = [each for _, each, _ in telemetry.curve if each.endswith(f"_{name}")]
        names = [each for each in names if each not in segment.hparams]
        logged = [point for point in telemetry.curve if names and point[1] == names[0]]
    points = [(step - 1, value) for step, _, value in logged]
    if all(math.isclose(value, float(base), rel_tol=_ROUNDING) for _, value in points):
        return []
    return points


def live_values(segment: Segment, curves: Curves) -> dict[str, tuple[float, float]]:
    """Return the first and the last live value of each hyperparameter that a scheduler has changed."""
    found = {}
    for name in segment.hparams:
        points = live_points(segment, curves, name)
        if points:
            found[name] = (points[0][1], points[-1][1])
    return found


def _number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
