"""The record as a table: one row per segment, for spreadsheets, pandas and `history.csv`."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId, Telemetry
from popgrad.core.space import Constant, Dimension, Space
from popgrad.record.live import live_values
from popgrad.record.record import Record
from popgrad.store.atomic import replacing

if TYPE_CHECKING:  # popgrad works without pandas
    from pandas import DataFrame

Row = dict[str, object]

_BEFORE = ("member", "interval", "step", "samples", "score")
_AFTER = ("source_member", "source_interval", "seconds", "status")


def searched(space: Space) -> dict[str, Dimension]:
    """Return the dimensions that are not constant, in declared order."""
    return {name: each for name, each in space.items() if not isinstance(each, Constant)}


def rows(record: Record, telemetry: Mapping[SegmentId, Telemetry]) -> list[Row]:
    """Return one row per segment, all with the same columns.

    Columns: member, interval, step (training steps behind the final state), samples, score (higher
    is better; nan = failed), every metric (nan if the member was not evaluated), every
    hyperparameter, change_<hyperparameter> (the factor or the word for its origin), source_member
    and source_interval (None for a fresh member), seconds (wall time; nan if unknown), status. If a
    scheduler of the task changed some hyperparameters, live_<hyperparameter> follows: the last
    live value, beside the base. A hyperparameter or metric with a name that is taken already
    becomes hparam_<name> or metric_<name>.
    """
    live = {segment.id: live_values(segment, telemetry) for segment in record.segments}
    hparams, changes, metrics = _columns(record)
    taken = {*_BEFORE, *_AFTER, *hparams.values(), *changes.values(), *metrics.values()}
    rates = {
        name: _free(f"live_{name}", "hparam_", taken)
        for name in record.space
        if any(name in ends for ends in live.values())
    }
    table: list[Row] = []
    for segment in record.segments:
        known = telemetry.get(segment.id)
        numbers = (
            segment.member,
            segment.interval,
            segment.last_step,
            segment.samples,
            segment.score,
        )
        source = segment.source or (None, None)
        end = (*source, known.seconds if known else math.nan, segment.status)

        row: Row = dict(zip(_BEFORE, numbers, strict=True))
        row |= {column: segment.metrics.get(name, math.nan) for name, column in metrics.items()}
        row |= {column: segment.hparams[name] for name, column in hparams.items()}
        row |= {column: segment.changes.get(name) for name, column in changes.items()}
        row |= zip(_AFTER, end, strict=True)
        for name, column in rates.items():
            _, row[column] = live[segment.id].get(name, (None, segment.hparams[name]))
        table.append(row)
    return table


def _columns(record: Record) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the columns of hyperparameters, of their changes, and of metrics, each by name."""
    taken = {*_BEFORE, *_AFTER}
    hparams = {name: _free(name, "hparam_", taken) for name in record.space}
    changes = {name: _free(f"change_{name}", "hparam_", taken) for name in record.space}
    names = dict.fromkeys(name for segment in record.segments for name in segment.metrics)
    return hparams, changes, {name: _free(name, "metric_", taken) for name in names}


def _free(name: str, prefix: str, taken: set[str]) -> str:
    while name in taken:
        name = prefix + name
    taken.add(name)
    return name


def write_csv(path: str | PathLike[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows of equal columns; floats are written so that they read back exactly, None as an empty cell.

    The file appears as a whole, in place of an older one. No rows, an empty file.
    """
    table = list(rows)
    with replacing(Path(path)) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, fieldnames=list(table[0]) if table else [], lineterminator="\n"
        )
        if table:
            writer.writeheader()
        # The csv module writes floats by repr, so they are read back with the same
        # bits.
        writer.writerows(table)


def frame(rows: Sequence[Mapping[str, object]]) -> "DataFrame":
    """Return rows as a `pandas.DataFrame`.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError("a data frame needs pandas: pip install pandas") from error
    return pandas.DataFrame(list(rows))
