"""Outputs of a run beside its record: tables, figures, events, and the winner as files.

All of them can be written again from the journal and the checkpoints.
"""

import json
import logging
from collections.abc import Mapping

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment, Telemetry
from popgrad.engine.callbacks import Callbacks
from popgrad.record.lineage import best_segments
from popgrad.record.record import Record
from popgrad.reports import curves
from popgrad.reports.history import Row, rows, write_csv
from popgrad.runs.result import Result
from popgrad.runs.winner import save_winner
from popgrad.store.atomic import replacing
from popgrad.store.directory import Directory
from popgrad.tasks.base import Epochal, Task, epoch_steps

log = logging.getLogger("popgrad")


def write_tables(
    record: Record, telemetry: Mapping[SegmentId, Telemetry], directory: Directory, task: Task
) -> None:
    """Write `history.csv`, a row per segment, and `loss_summary.csv`, a row per point of a training curve."""
    history, points = tables(record, telemetry, task)
    write_csv(directory.history, history)
    if points:
        write_csv(directory.curves, points)


def tables(
    record: Record, telemetry: Mapping[SegmentId, Telemetry], task: Task
) -> tuple[list[Row], list[Row]]:
    """Return the rows of `history.csv` and of `loss_summary.csv`."""
    steps = None
    if record.segments and isinstance(task, Epochal):
        steps = epoch_steps(task, record.segments[0].hparams)
    return rows(record, telemetry), curves.rows(telemetry, steps_per_epoch=steps)


def write_figures(result: Result, directory: Directory, task: Task) -> None:
    """Write `results.png`, `schedule.png`, and `lr.png`: the learning rate along the winner's lineage."""
    # Imported here, since matplotlib takes its time to load.
    from popgrad.reports import figures

    record = result.record
    winner = record.winner
    draw_record(record, directory, result.telemetry)
    if "lr" in record.space:
        steps = epoch_steps(task, winner.hparams) if isinstance(task, Epochal) else None
        rate = figures.rate(record, steps_per_epoch=steps, curves=result.telemetry)
        figures.save(rate, directory.figure("lr"))


def draw_record(
    record: Record, directory: Directory, telemetry: Mapping[SegmentId, Telemetry]
) -> None:
    """Write those of the figures that need no code of the task."""
    from popgrad.reports import figures

    figures.save(figures.results(record), directory.figure("results"))
    figures.save(figures.schedule(record, telemetry), directory.figure("schedule"))


def write_page(result: Result, directory: Directory) -> None:
    """Write `report.html`, the run as one page. If it has too many segments, a warning is logged."""
    from popgrad.runs.page import write_report

    try:
        write_report(result.record, result.telemetry, result.status, directory)
    except UsageError as error:
        log.warning("no report is written: %s", error)


def write_winner(result: Result, directory: Directory) -> None:
    """Write `best.safetensors`, `best.json`, and `checkpoints.json`: each member's last and best checkpoint.

    The digest of a state that does not exist, since the member failed, is null.
    """
    save_winner(result.winner, directory.weights, result.made_by)
    best = {member: segment.digest for member, segment in best_segments(result.segments).items()}
    index = {
        member: {"last": segment.digest or None, "best": best.get(member)}
        for member, segment in result.last.items()
    }
    with replacing(directory.index) as aside:
        aside.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def event_callbacks(
    directory: Directory, task: Task, ranking: Score, recorded: list[Segment]
) -> Callbacks:
    """Return callbacks that write TensorBoard events.

    Without the extra tensorboard they write nothing, and a warning is logged.

    Args:
        directory: Directory of the run.
        task: Task of the run; its first images are written too, if it has any.
        ranking: Metric that ranks.
        recorded: Segments of earlier sessions, whose events are written already.
    """
    from popgrad.reports.events import Events
    from popgrad.trackers.tensorboard import write_samples

    try:
        writer = Events(directory.events, task.space, ranking.text, recorded)
    except UsageError as error:
        log.warning("no events are written: %s", error)
        return Callbacks()

    if not recorded:
        write_samples(writer, task)
    return Callbacks(on_record=writer.segment)
