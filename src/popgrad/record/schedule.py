"""The schedule: hyperparameters by training step, as an object and as text."""

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams, Value
from popgrad.record.scheduler import Scheduler


@dataclass(frozen=True)
class Phase:
    """A stretch of training under one setting.

    Attributes:
        first_step: Steps trained before it, from 0.
        steps: Its length, at least 1.
        hparams: Complete hyperparameters.
    """

    first_step: int
    steps: int
    hparams: Hparams

    @property
    def end(self) -> int:
        """The first step that is no longer in it."""
        return self.first_step + self.steps


@dataclass(frozen=True)
class Schedule:
    """The hyperparameters behind one model, from its first step to its last.

    Attributes:
        phases: In order, without a gap; at least one.

    Raises:
        UsageError: There is no phase, or one does not begin where the one before it ends.
    """

    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if not self.phases:
            raise UsageError("a schedule has at least one phase, this one has none")
        expected = 0
        for phase in self.phases:
            if phase.first_step != expected or phase.steps < 1:
                raise UsageError(
                    f"a phase of a schedule begins at step {phase.first_step} and takes {phase.steps} steps: "
                    f"it must begin at step {expected}, where the one before it ends, and take at least 1"
                )
            expected = phase.end

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.phases[-1].end

    def at(self, step: int) -> Hparams:
        """The hyperparameters that trained step `step`, counted from 0; past the end, the last ones.

        Raises:
            UsageError: `step` is negative.
        """
        if step < 0:
            raise UsageError(f"step is {step}: steps count from 0")
        return self.phases[
            bisect_right(self.phases, step, key=lambda phase: phase.first_step) - 1
        ].hparams

    def merged(self) -> "Schedule":
        """The same schedule in as few phases as it takes: equal neighbours become one."""
        merged: list[Phase] = []
        for phase in self.phases:
            if merged and dict(merged[-1].hparams) == dict(phase.hparams):
                last = merged.pop()
                phase = Phase(last.first_step, last.steps + phase.steps, last.hparams)
            merged.append(phase)
        return Schedule(tuple(merged))

    def only(self, names: Iterable[str]) -> "Schedule":
        """The same phases with these hyperparameters only."""
        kept = list(names)
        return Schedule(
            tuple(
                Phase(each.first_step, each.steps, {name: each.hparams[name] for name in kept})
                for each in self.phases
            )
        )

    def rows(self) -> list[dict[str, object]]:
        """One JSON-able row per phase: first_step, steps, hparams."""
        return [
            {"first_step": phase.first_step, "steps": phase.steps, "hparams": dict(phase.hparams)}
            for phase in self.phases
        ]

    def scheduler(
        self, optimizer: Optimizer, name: str = "lr", *, last_step: int = -1
    ) -> LRScheduler:
        """A scheduler of torch that sets a hyperparameter to exactly what the schedule says.

        The first value is set at once; call `step` after each training step, and not once an epoch. Its state
        is a few numbers; loading it sets the value that is due.

        Args:
            optimizer: Has `name` as a key of every parameter group; all get the same value.
            name: The hyperparameter.
            last_step: The last step that is trained already, counted from 0; -1 = none.

        Raises:
            UsageError: The schedule or the optimizer has no such hyperparameter, it is not a number, or
                `last_step` is below -1.
        """
        for phase in self.phases:
            if name not in phase.hparams:
                known = ", ".join(phase.hparams) or "none"
                raise UsageError(
                    f"scheduler: given {name!r}; hyperparameters of the schedule are {known}"
                )
            value = phase.hparams[name]
            if isinstance(value, str | bool):
                raise UsageError(
                    f"scheduler: {name} is {value!r}, and only a number can be set: use schedule.at(step)"
                )
        return Scheduler(optimizer, name, lambda step: self.at(step)[name], last_step)

    def to_json(self) -> str:
        """`rows` as JSON text, a line for each phase. `from_json` gives back the same values and types."""
        return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in self.rows()) + "\n]\n"

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        """The inverse of `to_json`. Raises `UsageError` that names what is wrong."""
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the schedule is not JSON: {error}") from None
        if not isinstance(rows, list):
            raise UsageError(f"a schedule is a JSON list of phases, given {type(rows).__name__}")
        return cls(tuple(_phase(i, row) for i, row in enumerate(rows)))

    def to_csv(self) -> str:
        """CSV text: first_step, steps and a column for each hyperparameter; an empty cell is no value.

        `from_csv` gives back the same values and types: a string that would be read as something else is
        written in the quotation marks that it has in JSON.
        """
        names = list(dict.fromkeys(name for phase in self.phases for name in phase.hparams))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_FIRST, *names])
        for phase in self.phases:
            cells = [_cell(phase.hparams[name]) if name in phase.hparams else "" for name in names]
            writer.writerow([phase.first_step, phase.steps, *cells])
        return text.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> "Schedule":
        """The inverse of `to_csv`. Raises `UsageError` that names what is wrong."""
        try:
            header, *lines = [
                line for line in csv.reader(io.StringIO(text, newline="")) if line
            ] or [[]]
        except csv.Error as error:
            raise UsageError(f"the schedule is not CSV: {error}") from None
        if header[:2] != _FIRST:
            raise UsageError(
                f"a schedule as CSV has {', '.join(_FIRST)} as its first columns, given {header}"
            )
        return cls(tuple(_phase(i, _row(i, header, line)) for i, line in enumerate(lines)))

    @classmethod
    def read(cls, path: str | Path) -> "Schedule":
        """Read a schedule from a file.

        Args:
            path: A .json or .csv file, as `to_json` and `to_csv` write them.

        Raises:
            UsageError: The file does not exist, or holds no schedule.
        """
        path = Path(path)
        if path.is_dir():
            raise UsageError(
                f"schedule: expected a .json or .csv file, got the directory {path}; the schedule of a "
                f"run is popgrad.load({str(path)!r}).schedule()"
            )
        parse = {".json": cls.from_json, ".csv": cls.from_csv}.get(path.suffix)
        if parse is None:
            raise UsageError(f"schedule: expected a .json or .csv file, got {path}")
        try:
            return parse(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read a schedule from {path}: {error}") from None


_FIRST = ["first_step", "steps"]


def _phase(number: int, row: object) -> Phase:
    """A row of `Schedule.rows`, checked."""
    if (
        not isinstance(row, dict)
        or row.keys() != {*_FIRST, "hparams"}
        or not isinstance(row["hparams"], dict)
    ):
        raise UsageError(
            f"phase {number}: given {row!r:.80}; it has first_step, steps and a table hparams"
        )
    for name in _FIRST:
        if type(row[name]) is not int:
            raise UsageError(
                f"phase {number}, {name}: given {row[name]!r}; a whole number is allowed"
            )
    for name, value in row["hparams"].items():
        if not isinstance(value, Value):
            raise UsageError(
                f"phase {number}, {name}: given {value!r}; a number, string or boolean is allowed"
            )
    return Phase(row["first_step"], row["steps"], row["hparams"])


def _row(number: int, header: list[str], line: list[str]) -> dict[str, object]:
    """A line of CSV as a row of `Schedule.rows`."""
    if len(line) != len(header):
        raise UsageError(f"phase {number}: has {len(line)} columns, and the header {len(header)}")
    values = {name: _value(cell) for name, cell in zip(header[2:], line[2:], strict=True) if cell}
    return {"first_step": _value(line[0]), "steps": _value(line[1]), "hparams": values}


def _cell(value: Value) -> str:
    """A value as a cell that `_value` reads as the same."""
    if not isinstance(value, str):
        return str(value)
    plain = value.isprintable() and value[:1] not in ("", '"') and isinstance(_value(value), str)
    return value if plain else json.dumps(value)


def _value(cell: str) -> Value:
    if cell.startswith('"'):
        with suppress(ValueError):
            return str(json.loads(cell))
    if cell.lower() in ("true", "false"):  # spreadsheets write them in capitals
        return cell.lower() == "true"
    for number in (int, float):
        with suppress(ValueError):
            return number(cell)
    return cell
