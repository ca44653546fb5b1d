"""A run in words and numbers: the output of `popgrad show`, and the same as plain data for `--json`."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import Hparams, Segment, Value
from popgrad.core.space import Space
from popgrad.record import lineage
from popgrad.record.record import Record
from popgrad.report.history import searched

# Significant digits: a validation set of 10,000 resolves no more of an accuracy.
DIGITS = 4
# A column is written with exponents if its numbers span more than this, or one is beyond these.
_WIDEST = 1e4
_LARGEST = 1e6
_SMALLEST = 1e-4


def numbers(column: Iterable[object]) -> list[str]:
    """Return a column of values as text that aligns when it is set flush right.

    Floats get at least 4 significant digits and all the same number of decimals, or exponents if
    they span more than four orders of magnitude; other values are written as they are, None as
    nothing.
    """
    values = list(column)
    sizes = [
        abs(value)
        for value in values
        if isinstance(value, float) and math.isfinite(value) and value
    ]

    low = min(sizes, default=1.0)
    high = max(sizes, default=1.0)
    if high / low > _WIDEST or high >= _LARGEST or low < _SMALLEST:
        form = f".{DIGITS - 1}e"
    else:
        form = f".{max(0, DIGITS - 1 - math.floor(math.log10(low)))}f"
    return [_text(value, form) for value in values]


def _text(value: object, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if isinstance(value, float) else str(value)


def summary(record: Record) -> RenderableType:
    """Return the run on one screen: winner and best ever, lineage, schedule, present population.

    A record without segments gives a line that states this.
    """
    if not record.segments:
        return Text("No segment is finished yet.")
    try:
        line = record.lineage()
    except AllMembersFailedError as error:
        headline = Text(f"{str(error).capitalize()}.", style="bold red")
        return Group(headline, population(record))

    return Group(
        winners(record),
        Text.assemble(("Lineage  ", "bold"), lineage_line(line)),
        schedule_table(line, record.space),
        population(record),
    )


def winners(record: Record) -> Table:
    """Return the winner (best final score) beside the best score of the whole run.

    Raises:
        AllMembersFailedError: There is no winner.
    """
    columns = {"winner": record.winner, "best ever": record.best_ever}
    both = list(columns.values())
    metrics = dict.fromkeys(
        name for each in both for name in each.metrics if name != record.score_name
    )

    table = _table("", {"": "left", **dict.fromkeys(columns, "right")})
    table.add_row("member", *(str(each.member) for each in both))
    table.add_row("interval", *(str(each.interval) for each in both))
    table.add_row("steps", *(str(each.last_step) for each in both))
    table.add_row(Text(record.score_name), *numbers(each.score for each in both), style="bold")
    for name in metrics:
        table.add_row(Text(name), *numbers(each.metrics.get(name) for each in both))
    table.add_section()
    for name in record.space:
        table.add_row(Text(name), *map(Text, numbers(each.hparams[name] for each in both)))
    return table


def schedule_table(line: Sequence[Segment], space: Space) -> Table:
    """Return the schedule along a lineage (root first): searched hyperparameters, neighbours merged."""
    names = list(searched(space))
    phases = lineage.schedule(line).only(names).merged().phases
    table = _table("Schedule", {"steps": "right", **dict.fromkeys(names, "right")})
    ranges = [f"{phase.first_step}..{phase.end - 1}" for phase in phases]
    columns = [numbers(phase.hparams[name] for phase in phases) for name in names]
    for row in zip(ranges, *columns, strict=True):
        table.add_row(*map(Text, row))
    return table


def lineage_line(line: Sequence[Segment]) -> Text:
    """Return a lineage (root first) from end to root, stays merged: "m3 (intervals 5-9) ← m7 (0-4)"."""
    text = Text()
    for i, stay in enumerate(reversed(_stays(line))):
        first = stay[0].interval
        last = stay[-1].interval
        span = str(first) if first == last else f"{first}-{last}"
        if i == 0:
            span = f"interval {span}" if first == last else f"intervals {span}"
        else:
            text.append(" ← ", style="bold yellow")
        text.append(f"m{stay[0].member}", style="bold").append(f" ({span})")
    return text


def _stays(line: Sequence[Segment]) -> list[list[Segment]]:
    """Split a lineage at each heir that took over from a donor."""
    stays: list[list[Segment]] = []
    for segment in line:
        if not stays or lineage.inherited(segment):
            stays.append([])
        stays[-1].append(segment)
    return stays


def population(record: Record) -> Table:
    """Return the last segment of each present member, best score first, failed ones last."""
    last = sorted(record.last.values(), key=lineage.rank)
    names = list(searched(record.space))
    header = ["member", "interval", record.score_name, *names, "source"]
    table = _table("Population", dict.fromkeys(header, "right"))

    columns = [
        [str(segment.member) for segment in last],
        [str(segment.interval) for segment in last],
        numbers(segment.score for segment in last),
        *(numbers(segment.hparams[name] for segment in last) for name in names),
        [_source(segment) for segment in last],
    ]
    for segment, *row in zip(last, *columns, strict=True):
        table.add_row(*map(Text, row), style="red" if segment.failed else "")
    return table


def _source(segment: Segment) -> str:
    if segment.source is None:
        return "fresh"
    return f"m{segment.source[0]}" if lineage.inherited(segment) else "itself"


def _table(title: str, columns: dict[str, str]) -> Table:
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for name, justify in columns.items():
        table.add_column(Text(name), justify="left" if justify == "left" else "right")
    return table


def summary_data(record: Record) -> dict[str, object]:
    """Return the summary as plain JSON data; numbers that are not finite are None, since JSON has no NaN.

    Keys: score (its name), members, intervals, segments, failed (counts), winner and best_ever
    (None if no score is finite), lineage (root first), schedule (all hyperparameters, equal
    neighbours merged), population (the last segment of each present member), founders (for each
    interval, how many fresh ancestors are alive).
    """
    winner: Segment | None = None
    best_ever: Segment | None = None
    line: tuple[Segment, ...] = ()
    with suppress(AllMembersFailedError):
        winner = record.winner
        line = record.lineage(winner.id)
    with suppress(AllMembersFailedError):
        best_ever = record.best_ever

    space = record.space
    segments = record.segments
    alive = lineage.founders(segments)
    return {
        "score": record.score_name,
        "members": len(record.last),
        "intervals": max((segment.interval + 1 for segment in segments), default=0),
        "segments": len(segments),
        "failed": sum(segment.failed for segment in segments),
        "winner": winner and _data(winner, space),
        "best_ever": best_ever and _data(best_ever, space),
        "lineage": [_data(segment, space) for segment in line],
        "schedule": lineage.schedule(line).merged().rows() if line else [],
        "population": [_data(segment, space) for segment in record.last.values()],
        "founders": [{"interval": interval, "alive": count} for interval, count in alive.items()],
    }


def _data(segment: Segment, space: Space) -> dict[str, object]:
    return {
        "member": segment.member,
        "interval": segment.interval,
        "step": segment.last_step,
        "samples": segment.samples,
        "score": _finite_or_none(segment.score),
        "metrics": {name: _finite_or_none(value) for name, value in segment.metrics.items()},
        "hparams": _ordered(segment.hparams, space),
        "source": list(segment.source) if segment.source else None,
        "inherited": lineage.inherited(segment),
        "status": segment.status,
    }


def _ordered(hparams: Hparams, space: Space) -> dict[str, Value]:
    return {name: hparams[name] for name in space}


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
