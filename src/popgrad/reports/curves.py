"""Training curves as a table: the numbers that tasks logged, for `loss_summary.csv`."""

import math
from collections.abc import Iterable, Mapping

from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.reports.history import Row

_FIRST = ("member", "interval", "step", "epoch")


def rows(
    telemetry: Mapping[SegmentId, Telemetry], *, steps_per_epoch: int | None = None
) -> list[Row]:
    """Return one row per logged step, ordered by member and then by training.

    Columns: member, interval, step (training steps behind the weights, along the lineage: it jumps
    if a member inherits), epoch (the same in epochs; omitted if `steps_per_epoch` is None), and
    every logged name (nan if it was not logged at that step). A name that is taken already becomes
    curve_<name>; a name that was logged twice at a step has two rows.

    Args:
        telemetry: Telemetry by segment.
        steps_per_epoch: Steps that visit every training sample once, at least 1.
    """
    names = dict.fromkeys(
        name for each in sorted(telemetry) for _, name, _ in telemetry[each].curve
    )
    columns = _columns(names)

    table: list[Row] = []
    for member, interval in sorted(telemetry):
        for step, points in _by_step(telemetry[member, interval].curve):
            row: Row = {"member": member, "interval": interval, "step": step}
            if steps_per_epoch is not None:
                row["epoch"] = step / steps_per_epoch
            row |= {column: points.get(name, math.nan) for name, column in columns.items()}
            table.append(row)
    return table


def _by_step(curve: Iterable[tuple[int, str, float]]) -> list[tuple[int, dict[str, float]]]:
    """Group neighbouring points of the same step, each name once."""
    found: list[tuple[int, dict[str, float]]] = []
    for step, name, value in curve:
        if not found or found[-1][0] != step or name in found[-1][1]:
            found.append((step, {}))
        found[-1][1][name] = value
    return found


def _columns(names: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    taken = set(_FIRST)
    for name in names:
        column = name
        while column in taken:
            column = f"curve_{column}"
        taken.add(column)
        columns[name] = column
    return columns
