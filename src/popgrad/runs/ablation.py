"""Ablations: models trained alone, with the winner's schedule or with constants, to see which helped."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.segment import Segment
from popgrad.gates.files import exists, read_bytes
from popgrad.gates.sizes import TEXT, parse_json
from popgrad.record.ablation import Ablation
from popgrad.record.arm import Arm
from popgrad.record.record import Record
from popgrad.record.setting import Setting, settings
from popgrad.runs.ablation_models import FIRST_SEED, Model, OnProgress, Progress, Trainer
from popgrad.runs.replay import reopen
from popgrad.store.atomic import replacing
from popgrad.store.directory import Directory
from popgrad.tasks.base import Task, reads_test_split
from popgrad.tasks.reference import task_instance

log = logging.getLogger("popgrad")

_MOST_SEEDS = 1000

_SUMMARY = "ablation.json"


def ablate(
    directory: str | Path,
    *,
    seeds: int = 5,
    random_search: bool = True,
    keep: str | Path | None = None,
    task: Task | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    allow_changed_task: bool = False,
    test: bool = False,
    on_progress: OnProgress | None = None,
) -> Ablation:
    """Train the winner's schedule, and constants, alone with fresh seeds, and compare them by seed.

    Each model is trained from scratch for the intervals of the winner's lineage, without a donor, so
    selection of weights plays no part. The constants are: the setting of the run that selection left
    unchanged for longest from the first step on; the last values of the schedule; its means; and the
    winner's setting of a random search of the size of the run. Validation scores decide.

    An ablation that was interrupted continues; with more seeds, the models of the earlier ones stay.

    Args:
        directory: Directory of a finished run; only the folder "ablation" in it is written to.
        seeds: Fresh seeds, at least 1; a verdict needs 5.
        random_search: Whether to run a random search, which trains as many members as the run.
        keep: Directory of the models; None = "ablation" in that of the run.
        task: The task, if the run was given an instance.
        data_dir: Directory of the data, if it has moved.
        device: Another device.
        allow_changed_task: Whether to continue if the source of the task has changed.
        test: Whether to evaluate the models on the test split too. It decides nothing, and each
            reading is recorded with its model.
        on_progress: Called with the segments trained so far, and the segments in all.

    Returns:
        The arms, their statistics, and a sentence; also written as "ablation.json" and "ablation.png".

    Raises:
        UsageError: An argument is wrong, the run is not finished, or the directory holds something else.
        RunError: There is no run, or a model cannot be trained.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "quadratic", population=4, intervals=4, directory="runs/questioned", executor="serial"
        ... )
        >>> ablation = popgrad.ablate("runs/questioned", seeds=2, random_search=False)
        >>> ablation.outcome
        'few seeds'
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= _MOST_SEEDS:
        raise UsageError(f"seeds: expected an integer in 1..{_MOST_SEEDS}, got {seeds!r}")
    given = task_instance(task)
    record, config, reopened = reopen(directory, given, data_dir, device, allow_changed_task)
    if record.stopped == "unfinished":
        raise UsageError(
            f"{directory}: the run is not finished, so its winner may change; finish it first, with "
            f"popgrad resume {directory}"
        )
    if test and not reads_test_split(reopened):
        raise UsageError("--test: the task has no test split; leave it out (test=False)")

    run_directory = Directory(Path(directory).absolute())
    if keep is None:
        run_directory.check_own()
    folder = run_directory.ablation if keep is None else Path(keep).absolute()
    _claim(folder, record)

    line = record.lineage()
    trainer = Trainer(
        record=record,
        config=config.model_copy(
            update={"outputs": False, "events": False, "tracker": [], "check": False, "grow": None}
        ),
        run=run_directory.path,
        folder=folder,
        task=given,
        intervals=sum(segment.length for segment in line),
        allow_changed_task=allow_changed_task,
        test=test,
    )
    ablation = _train_all(trainer, line, seeds, random_search, on_progress)
    _write(folder, ablation)
    return ablation


def _train_all(
    trainer: Trainer,
    line: Sequence[Segment],
    count: int,
    random_search: bool,
    on_progress: OnProgress | None,
) -> Ablation:
    """Train all arms, one seed after the other, and put their scores together."""
    record = trainer.record
    chosen = list(settings(record.segments, line, record.space))
    most = len(_distinct(chosen)) + random_search
    size = record.size * trainer.config.intervals if random_search else 0
    progress = Progress(most * count * trainer.intervals + size, on_progress)

    search_steps = 0
    if random_search:
        search = trainer.search(progress)
        winner = search.record.winner
        search_steps = sum(segment.steps for segment in search.segments)
        origin = f"winner, member {winner.member}, of a random search of {record.size} members"
        chosen.append(Setting("random search", origin, winner.hparams))

    distinct = _distinct(chosen)
    seeds = [(trainer.config.seed + FIRST_SEED + i) % 2**63 for i in range(count)]
    trained: dict[str, list[Model]] = {setting.name: [] for setting in distinct}
    for seed in seeds:
        for setting in distinct:
            model = trainer.train(setting, seed, progress)
            trained[setting.name].append(model)
            shown = record.ranking.words(model.score)
            log.info("seed %d, %s: %s", seed, setting.name, shown)

    return Ablation(
        arms=tuple(_arm(setting, trained[setting.name]) for setting in distinct),
        seeds=tuple(seeds),
        ranking=record.ranking,
        winner_score=line[-1].score,
        run_steps=sum(segment.steps for segment in record.segments),
        phases=len(record.schedule().merged().phases),
        search_steps=search_steps,
    )


def _distinct(chosen: Sequence[Setting]) -> list[Setting]:
    """Return the settings that differ; equal ones become one, with the names of all."""
    distinct: list[Setting] = []
    for setting in chosen:
        for i, known in enumerate(distinct):
            if _phases(known) == _phases(setting):
                distinct[i] = replace(known, name=f"{known.name}, {setting.name}")
                break
        else:
            distinct.append(setting)
    return distinct


def _phases(setting: Setting) -> list[dict[str, object]]:
    """Return the hyperparameters of a setting phase by phase, equal neighbours as one."""
    phases = [dict(setting.hparams)]
    for _, hparams in setting.changes:
        if dict(hparams) != phases[-1]:
            phases.append(dict(hparams))
    return phases  # type: ignore[return-value]


def _arm(setting: Setting, models: Sequence[Model]) -> Arm:
    return Arm(
        setting.name,
        setting.origin,
        setting.hparams,
        tuple(model.score for model in models),
        tuple(model.steps for model in models),
        tuple(model.test or {} for model in models) if any(model.test for model in models) else (),
    )


# --- files ------------------------------------------------------------------------------------------


def _claim(folder: Path, record: Record) -> None:
    """Mark a new directory as that of the run's ablation; refuse one that holds something else.

    Raises:
        UsageError: It holds something else, or the ablation of another run, or cannot be created.
    """
    summary = folder / _SUMMARY
    try:
        if exists(summary):
            kept = parse_json(read_bytes(summary, TEXT))
            if not isinstance(kept, dict) or kept.get("run_id") != record.run_id:
                raise UsageError(
                    f"{folder} holds the ablation of another run; choose another directory: --dir "
                    "(keep=...)"
                )
            return

        folder.mkdir(parents=True, exist_ok=True)
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise UsageError(
                f"{folder} exists, and holds no ablation; choose another directory: --dir (keep=...)"
            )
        _save(folder, {"run_id": record.run_id})
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the directory {folder} cannot be used: {reason}") from None


def _save(folder: Path, data: object) -> None:
    with replacing(folder / _SUMMARY) as aside:
        aside.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _write(folder: Path, ablation: Ablation) -> None:
    """Write the summary and the figure."""
    # Imported here, since matplotlib takes its time to load.
    from popgrad.reports import ablation as drawing
    from popgrad.reports import figures

    kept = parse_json(read_bytes(folder / _SUMMARY, TEXT))
    _save(folder, {"run_id": kept["run_id"], **ablation.row()})
    figures.save(drawing.figure(ablation), folder / "ablation.png")
