"""A run in words and numbers: what `popgrad show` prints, and the same as plain data for `--json`."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from popgrad.core.errors import NobodyLeftError
from popgrad.core.population import Hparams, Segment, Value
from popgrad.core.space import Space
from popgrad.report.history import searched
from popgrad.store.lineage import (
    best_ever,
    founders,
    inherited,
    last_segments,
    lineage,
    schedule,
    winner,
)

DIGITS = 4  # significant: a validation set of 10,000 resolves no more of an accuracy
_WIDEST = 1e4  # a column whose numbers span more than this is written with exponents
_LARGEST, _SMALLEST = 1e6, 1e-4  # and so is one with a number beyond these


def numbers(column: Iterable[object]) -> list[str]:
    """A column of values as text that aligns when it is set flush right.

    Floats get at least 4 significant digits and all the same number of decimals, or exponents where they span
    more than four orders of magnitude; other values are written as they are, None as nothing.
    """
    values = list(column)
    sizes = [abs(value) for value in values if isinstance(value, float) and math.isfinite(value) and value]
    low, high = min(sizes, default=1.0), max(sizes, default=1.0)
    if high / low > _WIDEST or high >= _LARGEST or low < _SMALLEST:
        form = f".{DIGITS - 1}e"
    else:
        form = f".{max(0, DIGITS - 1 - math.floor(math.log10(low)))}f"
    return [_text(value, form) for value in values]


def _text(value: object, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if isinstance(value, float) else str(value)


def summary(
    segments: Sequence[Segment],
    space: Space,
    score_name: str = "score",
    last: Mapping[int, Segment] | None = None,
) -> RenderableType:
    """The run on one screen: the winner beside the best ever, its lineage and schedule, the last population.

    Args:
        segments: The record; an empty one gives a line that says so.
        space: What was searched.
        score_name: What the scores are, e.g. "accuracy".
        last: Each member's last segment, of those who are in the population; None = all have stayed in it.
    """
    if not segments:
        return Text("No segment is finished yet.")
    now = list((last_segments(segments) if last is None else last).values())
    try:
        best = winner(now)
    except NobodyLeftError as error:
        return Group(
            Text(f"{str(error).capitalize()}.", style="bold red"), population(now, space, score_name)
        )
    line = lineage(segments, best.id)
    return Group(
        winners(segments, space, score_name, last),
        Text.assemble(("Lineage  ", "bold"), lineage_line(line)),
        schedule_table(line, space),
        population(now, space, score_name),
    )


def winners(
    segments: Sequence[Segment],
    space: Space,
    score_name: str = "score",
    last: Mapping[int, Segment] | None = None,
) -> Table:
    """The winner (best final score) beside the best score of the whole run: score, metrics, hyperparameters.

    Raises:
        NobodyLeftError: There is no winner.
    """
    columns = {
        "winner": winner(segments if last is None else last.values()),
        "best ever": best_ever(segments),
    }
    table = _table("", {"": "left", **dict.fromkeys(columns, "right")})
    both = list(columns.values())
    table.add_row("member", *(str(each.member) for each in both))
    table.add_row("interval", *(str(each.interval) for each in both))
    table.add_row("steps", *(str(each.last_step) for each in both))
    table.add_row(Text(score_name), *numbers(each.score for each in both), style="bold")
    for name in dict.fromkeys(name for each in both for name in each.metrics if name != score_name):
        table.add_row(Text(name), *numbers(each.metrics.get(name) for each in both))
    table.add_section()
    for name in space:
        table.add_row(Text(name), *map(Text, numbers(each.hparams[name] for each in both)))
    return table


def schedule_table(line: Sequence[Segment], space: Space) -> Table:
    """The schedule along a lineage (root first), searched hyperparameters only, equal neighbours merged."""
    names = list(searched(space))
    phases = schedule(line).only(names).merged().phases
    table = _table("Schedule", {"steps": "right", **dict.fromkeys(names, "right")})
    ranges = [f"{phase.first_step}..{phase.end - 1}" for phase in phases]
    columns = [numbers(phase.hparams[name] for phase in phases) for name in names]
    for row in zip(ranges, *columns, strict=True):
        table.add_row(*map(Text, row))
    return table


def lineage_line(line: Sequence[Segment]) -> Text:
    """A lineage (root first) from its end to its root, stays merged: "m3 (intervals 5-9) ← m7 (0-4)"."""
    text = Text()
    for i, stay in enumerate(reversed(_stays(line))):
        first, last = stay[0].interval, stay[-1].interval
        span = str(first) if first == last else f"{first}-{last}"
        word = ("interval " if first == last else "intervals ") if i == 0 else ""
        if i:
            text.append(" ← ", style="bold yellow")
        text.append(f"m{stay[0].member}", style="bold").append(f" ({word}{span})")
    return text


def _stays(line: Sequence[Segment]) -> list[list[Segment]]:
    """A lineage cut where an heir took over from a donor."""
    stays: list[list[Segment]] = []
    for segment in line:
        if not stays or inherited(segment):
            stays.append([])
        stays[-1].append(segment)
    return stays


def population(segments: Iterable[Segment], space: Space, score_name: str = "score") -> Table:
    """Each member's last segment, best score first, failed ones last."""
    last = sorted(last_segments(segments).values(), key=_rank)
    names = list(searched(space))
    header = ["member", "interval", score_name, *names, "source"]
    table = _table("Population", dict.fromkeys(header, "right"))
    columns = [
        [str(each.member) for each in last],
        [str(each.interval) for each in last],
        numbers(each.score for each in last),
        *(numbers(each.hparams[name] for each in last) for name in names),
        [_source(each) for each in last],
    ]
    for segment, *row in zip(last, *columns, strict=True):
        table.add_row(*map(Text, row), style="red" if segment.failed else "")
    return table


def _rank(segment: Segment) -> tuple[bool, float, int]:
    return segment.failed, 0.0 if segment.failed else -segment.score, segment.member


def _source(segment: Segment) -> str:
    if segment.source is None:
        return "fresh"
    return f"m{segment.source[0]}" if inherited(segment) else "itself"


def _table(title: str, columns: dict[str, str]) -> Table:
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name, justify in columns.items():
        table.add_column(Text(name), justify="left" if justify == "left" else "right")
    return table


def summary_data(
    segments: Sequence[Segment],
    space: Space,
    score_name: str = "score",
    last: Mapping[int, Segment] | None = None,
) -> dict[str, object]:
    """The same as plain JSON data; numbers that are not finite are None (JSON has no NaN).

    Keys: score (its name), members, intervals, segments, failed (counts), winner and best_ever (None where
    nobody has a finite score), lineage (root first), schedule (all hyperparameters, equal neighbours merged),
    population (the last segment of each member that is in it), founders (for each interval, how many fresh
    ancestors are alive).
    """
    last = last_segments(segments) if last is None else last
    try:
        best: Segment | None = winner(last.values())
    except NobodyLeftError:
        best = None
    try:
        ever: Segment | None = best_ever(segments)
    except NobodyLeftError:
        ever = None
    line = lineage(segments, best.id) if best else ()
    return {
        "score": score_name,
        "members": len(last),
        "intervals": max((segment.interval + 1 for segment in segments), default=0),
        "segments": len(segments),
        "failed": sum(segment.failed for segment in segments),
        "winner": _data(best, space) if best else None,
        "best_ever": _data(ever, space) if ever else None,
        "lineage": [_data(segment, space) for segment in line],
        "schedule": schedule(line).merged().rows() if line else [],
        "population": [_data(segment, space) for segment in last.values()],
        "founders": [{"interval": interval, "alive": n} for interval, n in founders(segments).items()],
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
        "inherited": inherited(segment),
        "status": segment.status,
    }


def _ordered(hparams: Hparams, space: Space) -> dict[str, Value]:
    return {name: hparams[name] for name in space}


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
