"""The JSON of a run as a page that stands alone embeds it: head, columns, cards and schedules."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.record.record import Record
from popgrad.record.scheduler_source import scheduler_source
from popgrad.views.card import card
from popgrad.views.columns import all_columns
from popgrad.views.header import header
from popgrad.views.plain import Json, text

CARD_BYTES = 1_200_000
"""Most bytes of cards in a page; columns hold what the card of any other segment can show."""

_UNKNOWN = Telemetry()


def run_data(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    *,
    name: str,
    status: Mapping[str, object],
    directory: str = "DIR",
    verdict: str = "",
    checkpoints: Collection[str] | None = None,
    card_bytes: int = CARD_BYTES,
) -> Json:
    """Return everything that a page shows of a run.

    Args:
        record: Its record, with one segment at least.
        telemetry: Telemetry by segment.
        name: Name to show, usually that of its directory.
        status: Its status as plain values, as `header` takes it.
        directory: Directory as the commands that the page shows name it.
        verdict: Sentence of its ablation; "" = there is none.
        checkpoints: Digests of the states that lie in checkpoints; None = not known.
        card_bytes: Most bytes of cards; those of the winner's lineage come first.
    """
    cards = _cards(record, telemetry, directory, checkpoints, card_bytes)
    return {
        "header": header(record, name=name, status=status, directory=directory, verdict=verdict),
        "segments": all_columns(record.segments, telemetry, record.space, record.ranking),
        "cards": cards,
        "cards_left_out": len(record.segments) - len(cards),
        "schedules": _schedules(record, telemetry, name),
    }


def _cards(
    record: Record,
    telemetry: Mapping[SegmentId, Telemetry],
    directory: str,
    checkpoints: Collection[str] | None,
    most: int,
) -> Json:
    """Return cards by "member/interval", as many as fit into `most` bytes."""
    cards: Json = {}
    replay = f"popgrad replay {directory}"
    for segment in _important_first(record):
        parent = None if segment.source is None else record.by_id.get(segment.source)
        kept = None if checkpoints is None else segment.digest in checkpoints
        made = card(
            segment,
            telemetry.get(segment.id, _UNKNOWN),
            parent,
            checkpoint=kept,
            replay=f"{replay} --member {segment.member} --interval {segment.interval}",
        )
        most -= len(text(made)) + 16
        if most < 0:
            break
        cards[f"{segment.member}/{segment.interval}"] = made
    return cards


def _important_first(record: Record) -> Iterator[Segment]:
    """Yield the winner's lineage, then the remaining segments, the last intervals first."""
    line: tuple[Segment, ...] = ()
    with suppress(AllMembersFailedError):
        line = record.lineage()
    yield from reversed(line)

    yielded = {segment.id for segment in line}
    yield from (segment for segment in reversed(record.segments) if segment.id not in yielded)


def _schedules(record: Record, telemetry: Mapping[SegmentId, Telemetry], name: str) -> Json:
    """Return the winner's schedule as texts by format; empty = there is no winner."""
    try:
        schedule = record.schedule(curves=telemetry)
    except AllMembersFailedError:
        return {}
    return {
        "json": schedule.to_json(),
        "csv": schedule.to_csv(),
        "torch": scheduler_source(schedule, f"Schedule of the run {name!r}"),
    }
