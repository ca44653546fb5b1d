"""What a run leaves beside its record, for people: tables, figures, events, the winner as files.

All of it can be made again from the journal and the checkpoints.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.population import Segment, Telemetry
from popgrad.core.space import Space
from popgrad.report import curves, rows, write_csv
from popgrad.result import Result
from popgrad.store.aside import replacing
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.lineage import best_segments
from popgrad.tasks.base import Epochal, Task, epoch_steps
from popgrad.tasks.torch import TorchTask
from popgrad.winner import save_winner

log = logging.getLogger("popgrad")
SAMPLES = 16  # sample images among the events


def write_tables(journal: Journal, place: Directory, task: Task) -> None:
    """`history.csv`, a row per segment, and `loss_summary.csv`, a row per point of the training curves."""
    segments, telemetry = journal.segments(), journal.telemetry()
    write_csv(place.history, rows(segments, telemetry, task.space))
    steps = epoch_steps(task, segments[0].hparams) if segments and isinstance(task, Epochal) else None
    if points := curves.rows(telemetry, steps_per_epoch=steps):
        write_csv(place.curves, points)


def write_figures(result: Result, place: Directory, task: Task) -> None:
    """`results.png`, `schedule.png`, and `lr.png`: the learning rate of the winner's slot by epoch."""
    from popgrad.report import figures  # brings matplotlib, which takes its time

    segments, space, name = result.segments, result.space, result.score_name
    winner = result.winner.segment
    figures.save(figures.results(segments, space, score_name=name), place.figure("results"))
    figures.save(figures.schedule(segments, space, winner, score_name=name), place.figure("schedule"))
    if "lr" in space:
        steps = epoch_steps(task, winner.hparams) if isinstance(task, Epochal) else None
        rate = figures.rate(segments, space, winner.member, name="lr", steps_per_epoch=steps)
        figures.save(rate, place.figure("lr"))


def write_winner(result: Result, place: Directory) -> None:
    """`best.safetensors` and `best.json`; `checkpoints.json` says which is each member's last and best.

    A state that there is none of, since the member failed, is null.
    """
    save_winner(result.winner, place.weights, result.made_by)
    best = {member: segment.digest for member, segment in best_segments(result.segments).items()}
    kept = {
        member: {"last": segment.digest or None, "best": best.get(member)}
        for member, segment in result.last.items()
    }
    with replacing(place.index) as aside:
        aside.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def events(
    place: Path, task: Task, space: Space, score: str, recorded: list[Segment]
) -> Callable[[Segment, Telemetry], None] | None:
    """What writes TensorBoard events of a finished segment; None, with a warning, without the extra."""
    from popgrad.report.events import Events

    try:
        writer = Events(place, space, score, recorded)
    except UsageError as error:
        log.warning("no events are written: %s", error)
        return None
    if isinstance(task, TorchTask) and not recorded:
        inputs = task.inputs(SAMPLES)
        if inputs.ndim == 4 and inputs.shape[1] in (1, 3):
            writer.images(inputs, "samples")
    return writer.segment
