"""Outputs of a run beside its record: tables, figures, events, and the winner as files.

All of them can be written again from the journal and the checkpoints.
"""

import json
import logging
from collections.abc import Mapping

from popgrad.core.errors import UsageError
from popgrad.core.population import Segment, SegmentId, Telemetry
from popgrad.core.score import Score
from popgrad.engine.callbacks import Callbacks
from popgrad.record.lineage import best_segments
from popgrad.record.record import Record
from popgrad.report import curves
from popgrad.report.history import Row, rows, write_csv
from popgrad.runs.result import Result
from popgrad.runs.winner import save_winner
from popgrad.store.atomic import replacing
from popgrad.store.directory import Directory
from popgrad.tasks.base import Epochal, Task, epoch_steps
from popgrad.tasks.torch_task import TorchTask

log = logging.getLogger("popgrad")

SAMPLE_IMAGES = 16


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
    from popgrad.report import figures

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
    from popgrad.report import figures

    figures.save(figures.results(record), directory.figure("results"))
    figures.save(figures.schedule(record, telemetry), directory.figure("schedule"))


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
    from popgrad.report.events import Events

    try:
        writer = Events(directory.events, task.space, ranking.text, recorded)
    except UsageError as error:
        log.warning("no events are written: %s", error)
        return Callbacks()

    if isinstance(task, TorchTask) and not recorded:
        inputs = task.inputs(SAMPLE_IMAGES)
        if inputs.ndim == 4 and inputs.shape[1] in (1, 3):
            writer.images(inputs, "samples")
    return Callbacks(on_record=writer.segment)
