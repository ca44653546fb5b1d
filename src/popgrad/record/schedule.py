"""The schedule behind a model: hyperparameters by training step."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT
from popgrad.record import schedule_text
from popgrad.record.plain_table import html_table, shortened, text_table, value_text

if TYPE_CHECKING:  # torch takes seconds, and to read a schedule needs none of it
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

_SHOWN = 20
"""Phases that the table of a schedule shows at most."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with constant hyperparameters.

    Attributes:
        first_step: Training steps before the phase, from 0.
        steps: Length in training steps, at least 1.
        hparams: Complete hyperparameters.
        live: First and last live value of each hyperparameter that the task's own scheduler has
            multiplied, by name: `hparams` holds its base. Telemetry, so equality ignores it.
    """

    first_step: int
    steps: int
    hparams: Hparams
    live: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False)

    @property
    def end(self) -> int:
        """First step after the phase."""
        return self.first_step + self.steps


@dataclass(frozen=True, repr=False)
class Schedule:
    r"""The hyperparameters behind one model, from its first step to its last.

    Attributes:
        phases: Phases in order, without a gap; at least one.

    Raises:
        UsageError: There is no phase, or a phase does not start at the step at which the one before
            it ends.

    Example:
        >>> import popgrad
        >>> text = "first_step,steps,lr\n0,100,0.1\n100,50,0.01\n"
        >>> schedule = popgrad.Schedule.from_csv(text)
        >>> schedule.steps, schedule.at(120)
        (150, {'lr': 0.01})
    """

    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if not self.phases:
            raise UsageError("schedule: expected at least one phase, got none")

        expected = 0
        for phase in self.phases:
            if phase.first_step != expected or phase.steps < 1:
                raise UsageError(
                    f"schedule: expected a phase that begins at step {expected}, where the one before "
                    "it ends, and takes at least 1 step; got one that begins at step "
                    f"{phase.first_step} and takes {phase.steps} steps"
                )
            expected = phase.end

    def __repr__(self) -> str:
        """Return a short table: a row for each phase, equal neighbours in one."""
        title, rows = self._table()
        return text_table(title, rows)

    def _repr_html_(self) -> str:
        """Return the same table for a notebook."""
        title, rows = self._table()
        return html_table(title, rows, headings=True)

    def _table(self) -> tuple[str, list[Sequence[str]]]:
        """Return the title and the rows of the table, headings first."""
        phases = self.merged().phases
        names = list(dict.fromkeys(name for phase in phases for name in phase.hparams))
        rows = [
            [f"{phase.first_step}..{phase.end - 1}"]
            + [value_text(phase.hparams.get(name, "")) for name in names]
            for phase in phases
        ]
        count = f"{len(phases)} phase{'' if len(phases) == 1 else 's'}"
        return f"Schedule: {self.steps} steps, {count}", [
            ["steps", *names],
            *shortened(rows, _SHOWN),
        ]

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.phases[-1].end

    def at(self, step: int) -> Hparams:
        """Return the hyperparameters of a training step; past the end, the last ones.

        Args:
            step: Training step, counted from 0.

        Raises:
            UsageError: `step` is negative.
        """
        if step < 0:
            raise UsageError(f"step: expected a step counted from 0, got {step}")
        number = bisect_right(self.phases, step, key=lambda phase: phase.first_step) - 1
        return self.phases[number].hparams

    def merged(self) -> "Schedule":
        """Return the same schedule in as few phases as possible: equal neighbours become one."""
        merged: list[Phase] = []
        for phase in self.phases:
            if merged and dict(merged[-1].hparams) == dict(phase.hparams):
                phase = _joined(merged.pop(), phase)
            merged.append(phase)
        return Schedule(tuple(merged))

    def only(self, names: Iterable[str]) -> "Schedule":
        """Return the same phases with only some of the hyperparameters."""
        kept = list(names)
        phases = (
            Phase(
                phase.first_step,
                phase.steps,
                {name: phase.hparams[name] for name in kept},
                {name: ends for name, ends in phase.live.items() if name in kept},
            )
            for phase in self.phases
        )
        return Schedule(tuple(phases))

    def rows(self) -> list[dict[str, object]]:
        """Return one JSON-able row per phase: first_step, steps, hparams, and live if there is any."""
        rows: list[dict[str, object]] = []
        for phase in self.phases:
            row: dict[str, object] = {"first_step": phase.first_step, "steps": phase.steps}
            row["hparams"] = dict(phase.hparams)
            if phase.live:
                row["live"] = {name: list(ends) for name, ends in phase.live.items()}
            rows.append(row)
        return rows

    def __str__(self) -> str:
        """Return a table: a line for each stretch with equal hyperparameters, numbers rounded."""
        return schedule_text.to_table(self.merged().rows())

    def scheduler(
        self, optimizer: "Optimizer", name: str = "lr", *, last_step: int = -1
    ) -> "LRScheduler":
        """Return a scheduler of torch that sets a hyperparameter to exactly its scheduled value.

        The first value is set at once; call `step` after each training step, not once an epoch. Its
        state is a few numbers; loading it sets the value that is due.

        If a scheduler of the task multiplied the hyperparameter, this sets the base alone, and
        warns.

        Args:
            optimizer: Optimizer with `name` as a key of every parameter group; all get the same
                value.
            name: Name of the hyperparameter.
            last_step: Last step that is already trained, counted from 0; -1 = none.

        Raises:
            UsageError: The schedule or the optimizer has no such hyperparameter, it is not a
                number, or `last_step` is below -1.
        """
        for phase in self.phases:
            if name not in phase.hparams:
                known = ", ".join(phase.hparams) or "none"
                raise UsageError(
                    f"scheduler: expected a hyperparameter of the schedule ({known}), got {name!r}"
                )
            value = phase.hparams[name]
            if isinstance(value, str | bool):
                raise UsageError(
                    f"scheduler: expected a number, but {name} is {value!r}: use schedule.at(step)"
                )

        ends = [phase.live[name] for phase in self.phases if name in phase.live]
        if ends:
            warn(
                f"the schedule of {name} is the base that a scheduler of the task multiplied: the run "
                f"trained with {ends[0][0]:.4g} at first and {ends[-1][1]:.4g} at last; use that "
                "scheduler too",
                stacklevel=2,
            )
        from popgrad.record.scheduler import Scheduler

        return Scheduler(optimizer, name, lambda step: self.at(step)[name], last_step)

    # --- text -------------------------------------------------------------------------------------

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "Schedule":
        """Return the schedule of rows such as those of `rows`."""
        return cls(tuple(_phase(**row) for row in rows))

    def to_json(self) -> str:
        """Return `rows` as a JSON string. `from_json` gives back the same values and types."""
        return schedule_text.to_json(self.rows())

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        """Return the schedule of a string of `to_json`.

        Raises `UsageError` that names what is wrong.
        """
        return cls.from_rows(schedule_text.from_json(text))

    def to_csv(self) -> str:
        """Return a CSV string: first_step, steps and a column for each hyperparameter.

        `from_csv` gives back the same values and types.
        """
        return schedule_text.to_csv(self.rows())

    @classmethod
    def from_csv(cls, text: str) -> "Schedule":
        """Return the schedule of a string of `to_csv`.

        Raises `UsageError` that names what is wrong.
        """
        return cls.from_rows(schedule_text.from_csv(text))

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
                f"schedule: expected a .json or .csv file, got the directory {path}; the schedule of "
                f"a run is popgrad.load({str(path)!r}).schedule()"
            )

        parse = {".json": cls.from_json, ".csv": cls.from_csv}.get(path.suffix)
        if parse is None:
            raise UsageError(f"schedule: expected a .json or .csv file, got {path}")
        try:
            return parse(read_bytes(path, TEXT).decode("utf-8-sig"))
        except OSError as error:
            raise UsageError(
                f"cannot read a schedule from {path}: {error.strerror or error}"
            ) from None
        except ValueError as error:
            raise UsageError(f"cannot read a schedule from {path}: {error}") from None


def _joined(first: Phase, second: Phase) -> Phase:
    """Return neighbours with equal hyperparameters as one phase."""
    live = {}
    for name in {**first.live, **second.live}:
        # A hyperparameter without a live value was live itself.
        base = first.hparams[name]
        begin, _ = first.live.get(name, (base, base))
        _, end = second.live.get(name, (base, base))
        live[name] = (begin, end)
    return Phase(first.first_step, first.steps + second.steps, first.hparams, live)  # type: ignore[arg-type]


def _phase(
    first_step: int, steps: int, hparams: Hparams, live: Mapping[str, Any] | None = None
) -> Phase:
    """Return the phase of a row."""
    ends = {name: (first, last) for name, (first, last) in (live or {}).items()}
    return Phase(first_step, steps, hparams, ends)
