"""A run in words and numbers: the output of `popgrad show`, and the same as plain data for `--json`."""

import math
from collections.abc import Container, Sequence
from contextlib import suppress

from rich.console import Group, RenderableType
from rich.text import Text

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import Hparams, SegmentId, Value
from popgrad.core.segment import Segment
from popgrad.core.space import Space
from popgrad.record import lineage
from popgrad.record.live import Curves, live_values
from popgrad.record.record import Record
from popgrad.record.schedule_text import span
from popgrad.reports.history import searched
from popgrad.reports.tables import Column, FittedTable, headings, numbers

ROWS = 12
"""Rows of a table in a summary; `popgrad show --all` has them all."""

LEGEND = (
    "m4 is member 4; ← continues from the weights of; members, intervals and steps count from 0"
)


def summary(
    record: Record, curves: Curves | None = None, *, rows: int | None = ROWS, more: str = ""
) -> RenderableType:
    """Return the run in a few tables: present population, schedule, lineage, winner and best ever.

    The winner comes last, where it stays in sight. A record without segments gives a line that
    states this.

    Args:
        record: Record of the run.
        curves: Telemetry by segment, for live values; None = unknown.
        rows: Most rows of the population and of the schedule; None = all.
        more: Command that prints the rest, for a table that is cut.
    """
    if not record.segments:
        return Text("No segment is finished yet.")
    try:
        line = record.lineage()
    except AllMembersFailedError as error:
        headline = Text(f"{str(error).capitalize()}.", style="bold red")
        return Group(population(record, rows=rows, more=more), headline)

    return Group(
        population(record, rows=rows, more=more),
        schedule_table(line, record.space, curves, rows=rows, more=more),
        Text.assemble(("Lineage  ", "bold"), lineage_line(line, record.copied)),
        Text(LEGEND, style="dim italic"),
        winners(record, curves),
    )


def winners(record: Record, curves: Curves | None = None) -> FittedTable:
    """Return the winner (best final score) beside the best score of the whole run.

    Raises:
        AllMembersFailedError: There is no winner.
    """
    both = (record.winner, record.best_ever)
    ranking = record.ranking
    metrics = dict.fromkeys(
        name for each in both for name in each.metrics if name != ranking.metric
    )
    names = ["member", "interval", "steps", ranking.label]
    cells: list[Sequence[str]] = [
        [str(each.member) for each in both],
        [str(each.interval) for each in both],
        [str(each.last_step) for each in both],
        numbers(ranking.shown(each.score) for each in both),
    ]

    for name, heading in headings(metrics, [*names, ranking.metric], "metrics").items():
        names.append(heading)
        cells.append(numbers(each.metrics.get(name) for each in both))
    last = len(names) - 1

    live = [live_values(each, curves or {}) for each in both]
    for name, heading in headings(record.space, [*names, ranking.metric]).items():
        names.append(heading)
        cells.append(numbers(each.hparams[name] for each in both))
        if any(name in ends for ends in live):
            names.append(f"live {name}")
            cells.append([span(ends.get(name)) for ends in live])

    columns = [
        Column("", names, left=True),
        Column("winner", [row[0] for row in cells]),
        Column("best ever", [row[1] for row in cells], priority=1),
    ]
    styles = ["bold green" if number == 3 else "" for number in range(len(names))]
    return FittedTable("", columns, styles=styles, sections=[last])


def schedule_table(
    line: Sequence[Segment],
    space: Space,
    curves: Curves | None = None,
    *,
    rows: int | None = None,
    more: str = "",
) -> FittedTable:
    """Return the schedule along a lineage (root first): searched hyperparameters, neighbours merged.

    Args:
        line: Segments of the lineage.
        space: Dimensions that were searched; constants are left out.
        curves: Telemetry by segment, for live values; None = unknown.
        rows: Most rows, of which the last ones are shown; None = all.
        more: Command that prints the rest.
    """
    names = list(searched(space))
    phases = lineage.schedule(line, curves).only(names).merged().phases
    live = dict.fromkeys(name for phase in phases for name in phase.live)
    shown = phases if rows is None else phases[-rows:]

    columns = [Column("steps", [f"{phase.first_step}..{phase.end - 1}" for phase in shown])]
    for number, (name, heading) in enumerate(headings(names, ["steps"]).items()):
        values = numbers(phase.hparams[name] for phase in shown)
        columns.append(Column(heading, values, priority=1 if number else 0))
        if name in live:
            ends = [span(phase.live.get(name)) for phase in shown]
            columns.append(Column(f"live {name}", ends, style="cyan", priority=1))

    notes = [_hidden(len(phases) - len(shown), "earlier phase", more)]
    if live:
        base = f"{', '.join(live)}: the base that the task's scheduler multiplies"
        notes.append(f"{base}; live: what the optimizer trained with, first → last step")
    return FittedTable("Schedule", columns, note="\n".join(filter(None, notes)))


def _hidden(count: int, noun: str, more: str) -> str:
    """Return a line on rows that are not shown; "" = there are none."""
    if count < 1:
        return ""
    line = f"and {count} more {noun}{'s' * (count > 1)}"
    return f"{line}: {more}" if more else line


def lineage_line(line: Sequence[Segment], copied: Container[SegmentId]) -> Text:
    """Return a lineage (root first) from end to root, stays merged: "m3 (intervals 5-9) ← m7 (0-4)".

    Args:
        line: The lineage.
        copied: Segments of the run that inherited.
    """
    text = Text()
    for i, stay in enumerate(reversed(_stays(line, copied))):
        first = stay[0].interval
        last = stay[-1].interval
        intervals = str(first) if first == last else f"{first}-{last}"
        if i == 0:
            intervals = f"interval{'s' * (first != last)} {intervals}"
        else:
            text.append(" ← ", style="bold yellow")
        text.append(f"m{stay[0].member}", style="bold").append(f" ({intervals})")
    return text


def _stays(line: Sequence[Segment], copied: Container[SegmentId]) -> list[list[Segment]]:
    """Split a lineage at each heir that took over from a donor."""
    stays: list[list[Segment]] = []
    for segment in line:
        if not stays or segment.id in copied:
            stays.append([])
        stays[-1].append(segment)
    return stays


def population(record: Record, *, rows: int | None = None, more: str = "") -> FittedTable:
    """Return the last segment of each present member, best score first, failed ones last.

    Args:
        record: Record with at least one segment.
        rows: Most rows; None = all.
        more: Command that prints the rest.
    """
    ranked = sorted(record.last.values(), key=lineage.rank)
    shown = ranked if rows is None else ranked[:rows]
    ranking = record.ranking
    names = headings(searched(record.space), ["member", "interval", ranking.heading, "source"])

    columns = [
        Column("member", [str(segment.member) for segment in shown]),
        Column("interval", [str(segment.interval) for segment in shown], priority=2),
        Column(ranking.heading, scores(shown, record)),
        *(
            Column(heading, numbers(segment.hparams[name] for segment in shown), priority=1)
            for name, heading in names.items()
        ),
        Column("source", [_source(segment, record) for segment in shown], priority=3),
    ]
    if any(segment.role for segment in ranked):
        columns.insert(
            1, Column("role", [segment.role for segment in shown], priority=2, left=True)
        )
    if record.resting:
        rests = ["rests" if segment.member in record.resting else "" for segment in shown]
        columns.append(Column("state", rests, priority=1, left=True))
    note = _hidden(len(ranked) - len(shown), "member", "")
    failed = sum(segment.failed for segment in ranked[len(shown) :])
    note += f" ({failed} failed)" if failed else ""
    note += f": {more}" if note and more else ""
    styles = [
        style(segment, best=segment is ranked[0], copied=segment.id in record.copied)
        for segment in shown
    ]
    return FittedTable("Population", columns, styles=styles, note=note)


def scores(segments: Sequence[Segment], record: Record) -> list[str]:
    """Return the metric that ranks of each segment as text; "failed" if it has none."""
    values = numbers(record.ranking.shown(segment.score) for segment in segments)
    pairs = zip(segments, values, strict=True)
    return ["failed" if segment.failed else value for segment, value in pairs]


def style(segment: Segment, *, best: bool, copied: bool) -> str:
    """Return the style of a member's row: green and bold the best, cyan what was copied, red a failure."""
    if segment.failed:
        return "red"
    if best:
        return "bold green"
    return "cyan" if copied else ""


def _source(segment: Segment, record: Record) -> str:
    if segment.source is None:
        return "fresh"
    source = f"m{segment.source[0]}" if segment.id in record.copied else "itself"
    return source if segment.transform is None else f"{source}, {segment.transform.name}"


def summary_data(record: Record, curves: Curves | None = None) -> dict[str, object]:
    """Return the summary as plain JSON data; numbers that are not finite are None, since JSON has no NaN.

    Keys: score (its name; "-loss" ranks by the lowest loss), metric and direction ("minimize" or
    "maximize"), members, intervals, segments, failed (counts), winner and best_ever
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

    segments = record.segments
    alive = lineage.founders(segments)
    return {
        "score": record.score_name,
        "metric": record.ranking.metric,
        "direction": record.ranking.direction,
        "members": len(record.last),
        "intervals": max((segment.interval + 1 for segment in segments), default=0),
        "segments": len(segments),
        "failed": sum(segment.failed for segment in segments),
        "winner": winner and _data(winner, record),
        "best_ever": best_ever and _data(best_ever, record),
        "lineage": [_data(segment, record) for segment in line],
        "schedule": lineage.schedule(line, curves).merged().rows() if line else [],
        "population": [
            _data(segment, record) | ({"rests": True} if member in record.resting else {})
            for member, segment in record.last.items()
        ],
        "founders": [{"interval": interval, "alive": count} for interval, count in alive.items()],
    }


def _data(segment: Segment, record: Record) -> dict[str, object]:
    return {
        "member": segment.member,
        "interval": segment.interval,
        "step": segment.last_step,
        "samples": segment.samples,
        "score": _finite_or_none(segment.score),
        "metrics": {name: _finite_or_none(value) for name, value in segment.metrics.items()},
        "hparams": _ordered(segment.hparams, record.space),
        "source": list(segment.source) if segment.source else None,
        "inherited": segment.id in record.copied,
        "status": segment.status,
    } | _parts(segment)


def _parts(segment: Segment) -> dict[str, object]:
    """Return the parts of a segment that most have not, without those that it has not."""
    transform = segment.transform
    parts: dict[str, object] = {
        "role": segment.role,
        "length": segment.length if segment.length != 1 else None,
        "transform": transform and {"name": transform.name, **transform.settings},
        "samples_of_metrics": {
            name: list(map(_finite_or_none, samples))
            for name, samples in segment.metric_samples.items()
        },
        "evaluations": [
            {
                "step": each.step,
                "metrics": {name: _finite_or_none(value) for name, value in each.metrics.items()},
            }
            for each in segment.evaluations
        ],
    }
    return {name: part for name, part in parts.items() if part}


def _ordered(hparams: Hparams, space: Space) -> dict[str, Value]:
    return {name: hparams[name] for name in space}


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
