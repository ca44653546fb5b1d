"""Rows of a schedule as JSON and CSV text, and back with the same values and types."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.population import Value
from popgrad.gates.sizes import parse_json

Row = Mapping[str, Any]
"""A phase: "first_step", "steps", "hparams", a mapping of names to values, and where a scheduler changed
values "live", a mapping of names to the first and the last live value."""

_STEPS = ("first_step", "steps")
_OWNER = "hparams."
_LIVE = ("live_first.", "live_last.")


def check_row(number: int, row: object) -> Row:
    """Return a row of a schedule.

    Args:
        number: Number of the phase, for messages.
        row: Data from a file.

    Raises:
        UsageError: The row does not describe a phase; names what is wrong.
    """
    keys = {*_STEPS, "hparams"}
    if (
        not isinstance(row, dict)
        or row.keys() - {"live"} != keys
        or not isinstance(row["hparams"], dict)
    ):
        raise UsageError(
            f"phase {number}: expected first_step, steps and a mapping hparams, got {row!r:.80}"
        )

    for name in _STEPS:
        if type(row[name]) is not int:
            raise UsageError(f"phase {number}, {name}: expected an integer, got {row[name]!r}")
    for name, value in row["hparams"].items():
        if not isinstance(value, Value):
            raise UsageError(
                f"phase {number}, {name}: expected a number, string or boolean, got {value!r}"
            )
    _check_live(number, row.get("live", {}), row["hparams"])
    return row


def _check_live(number: int, live: object, hparams: Mapping[str, Any]) -> None:
    expected = "two numbers for each of some hyperparameters"
    if not isinstance(live, dict) or live.keys() - hparams.keys():
        raise UsageError(f"phase {number}, live: expected {expected}, got {live!r:.80}")
    for name, ends in live.items():
        numbers = isinstance(ends, list) and all(type(end) in (int, float) for end in ends)
        if not numbers or len(ends) != 2:
            raise UsageError(f"phase {number}, live: expected {expected}, got {name}: {ends!r:.80}")


# --- JSON -----------------------------------------------------------------------------------------


def to_json(rows: Sequence[Row]) -> str:
    """Return rows as a JSON list, one line a row."""
    return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n"


def from_json(text: str) -> list[Row]:
    """Return the rows of a JSON string. Raises `UsageError` that names what is wrong."""
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise UsageError(f"the schedule is not JSON: {error}") from None
    if not isinstance(rows, list):
        raise UsageError(f"schedule: expected a JSON list of phases, got a {type(rows).__name__}")
    return [check_row(number, row) for number, row in enumerate(rows)]


# --- CSV ------------------------------------------------------------------------------------------


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV: first_step, steps and a column for each hyperparameter.

    A hyperparameter that has the name of another column is headed "hparams.<name>". If a scheduler
    changed some, live_first.<name> and live_last.<name> follow.

    An empty cell is no value. A string that would be read as something else is written in the
    quotation marks that it has in JSON.
    """
    names = list(dict.fromkeys(name for row in rows for name in row["hparams"]))
    live = list(dict.fromkeys(name for row in rows for name in row.get("live", ())))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*_STEPS, *map(_heading, names), *(f"{end}{name}" for name in live for end in _LIVE)]
    )
    for row in rows:
        hparams = row["hparams"]
        cells = [_cell(hparams[name]) if name in hparams else "" for name in names]
        ends = [end for name in live for end in row.get("live", {}).get(name, ("", ""))]
        writer.writerow([row["first_step"], row["steps"], *cells, *ends])
    return text.getvalue()


def _heading(name: str) -> str:
    return _OWNER + name if name in _STEPS or name.startswith((_OWNER, *_LIVE)) else name


def from_csv(text: str) -> list[Row]:
    """Return the rows of a CSV string. Raises `UsageError` that names what is wrong."""
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as error:
        raise UsageError(f"the schedule is not CSV: {error}") from None

    header = lines[0] if lines else []
    if tuple(header[:2]) != _STEPS:
        raise UsageError(
            f"schedule: expected CSV with {' and '.join(_STEPS)} as its first columns, got {header}"
        )
    return [check_row(number, _row(number, header, line)) for number, line in enumerate(lines[1:])]


def _row(number: int, header: list[str], line: list[str]) -> Row:
    if len(line) != len(header):
        raise UsageError(f"phase {number}: expected {len(header)} columns, got {len(line)}")
    hparams: dict[str, Any] = {}
    live: dict[str, list[Any]] = {}
    for heading, cell in zip(header[2:], line[2:], strict=True):
        if cell and heading.startswith(_LIVE):
            live.setdefault(heading.partition(".")[2], []).append(_value(cell))
        elif cell:
            hparams[heading.removeprefix(_OWNER)] = _value(cell)
    row = {"first_step": _value(line[0]), "steps": _value(line[1]), "hparams": hparams}
    return row | {"live": live} if live else row


def _cell(value: Value) -> str:
    """Return the cell that `_value` reads as this value."""
    if not isinstance(value, str):
        return str(value)
    plain = value.isprintable() and value[:1] not in ("", '"') and isinstance(_value(value), str)
    return value if plain else json.dumps(value)


def _value(cell: str) -> Value:
    """Return the value of a cell: a string in quotation marks, a boolean, a number, or a string."""
    if cell.startswith('"'):
        with suppress(ValueError):
            return str(json.loads(cell))
    # Spreadsheets write booleans in capitals.
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    for number in (int, float):
        # Python would read the digits of any script.
        with suppress(ValueError):
            return number(cell) if cell.isascii() else cell
    return cell


# --- a table to read ------------------------------------------------------------------------------


def to_table(rows: Sequence[Row]) -> str:
    """Return rows as lines of aligned columns: steps from..to, each hyperparameter with 4 digits.

    A hyperparameter that a scheduler changed has its live values beside it, first → last.
    """
    names = list(dict.fromkeys(name for row in rows for name in row["hparams"]))
    live = {name for row in rows for name in row.get("live", ())}
    columns = [["steps", *(f"{r['first_step']}..{r['first_step'] + r['steps'] - 1}" for r in rows)]]
    for name in names:
        values = [row["hparams"].get(name) for row in rows]
        columns.append([_heading(name), *map(_rounded, values)])
        if name in live:
            ends = [row.get("live", {}).get(name) for row in rows]
            columns.append([f"live {name}", *map(span, ends)])

    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def span(ends: Sequence[float] | None) -> str:
    """Return a first and a last value in words, "0.03 → 1.4e-05"; None = nothing."""
    return "" if ends is None else " → ".join(map(_rounded, ends))


def _rounded(value: object) -> str:
    if value is None:
        return ""
    return format(value, ".4g") if isinstance(value, float) else str(value)
