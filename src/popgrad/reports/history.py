"""The record as a table: one row per segment, for spreadsheets, pandas and `history.csv`."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Constant, Dimension, Space
from popgrad.record.live import live_values
from popgrad.record.record import Record
from popgrad.store.atomic import replacing

if TYPE_CHECKING:  # popgrad works without pandas
    from pandas import DataFrame

Row = dict[str, object]

_BEFORE = ("member", "interval", "step", "samples", "score")
_AFTER = ("source_member", "source_interval", "seconds", "status")


_PARTS: Mapping[str, Callable[[Segment], object]] = {
    "role": lambda segment: segment.role,
    "length": lambda segment: segment.length if segment.length > 1 else None,
    "transform": lambda segment: segment.transform and segment.transform.name,
}
"""Columns of what most segments have not: each is left out if no segment has it."""


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
    live value, beside the base. If any segment has one: role, length (in intervals, if above 1) and
    transform. The path of the final state follows the status in a study that was
    given paths. A hyperparameter or metric with a name that is taken already
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
    any_path = any(known.path for known in telemetry.values()) and "path" not in taken
    parts = {
        name: part
        for name, part in _PARTS.items()
        if name not in taken and any(map(part, record.segments))
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
        row |= {name: part(segment) for name, part in parts.items()}
        if any_path:
            row["path"] = known.path if known else ""
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
    with replacing(Path(path)) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        _write(file, list(rows))


def csv_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows of equal columns as `write_csv` writes them."""
    text = io.StringIO(newline="")
    _write(text, list(rows))
    return text.getvalue()


def _write(file: TextIO, table: Sequence[Mapping[str, object]]) -> None:
    if not table:
        return
    writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    # The csv module writes floats by repr, so they are read back with the same bits.
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


def parquet(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return rows as the content of a Parquet file.

    A column has one type: integers with missing values are nullable, and a column that mixes texts
    with numbers, such as the origins of values, has texts.

    Raises:
        UsageError: pandas or pyarrow is not installed.
    """
    try:
        import pandas
        import pyarrow  # noqa: F401  # pandas writes by it
    except ImportError as error:
        raise UsageError("parquet needs pandas and pyarrow: pip install pandas pyarrow") from error

    columns = list(rows[0]) if rows else []
    table = pandas.DataFrame(
        {name: _typed([row[name] for row in rows], pandas) for name in columns}
    )
    content = io.BytesIO()
    table.to_parquet(content, engine="pyarrow", index=False)
    return content.getvalue()


def _typed(values: list[object], pandas: Any) -> Any:
    """Return a column with values of one type."""
    types = {type(value) for value in values if value is not None}
    if types == {int} and all(abs(value) < 2**63 for value in values if isinstance(value, int)):
        return pandas.array(values, dtype="Int64")
    if types <= {int, float} and types != {int}:
        return pandas.array(values, dtype="float64") if types else pandas.array(values, "string")
    if types == {bool}:
        return pandas.array(values, dtype="boolean")
    # A lone half of a surrogate pair, which JSON allows, is no text of UTF-8.
    texts = [
        None if value is None else str(value).encode("utf-8", "backslashreplace").decode()
        for value in values
    ]
    return pandas.array(texts, dtype="string")
