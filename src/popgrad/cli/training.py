"""Commands that train: run, resume, replay, train."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from popgrad.cli import accounts, options, printing
from popgrad.cli.arguments import new_directory, open_run, read_config, read_initial
from popgrad.cli.progress import watching
from popgrad.core.errors import DataError, RunError, UsageError
from popgrad.record import lineage
from popgrad.runs.api import load, start
from popgrad.runs.api import resume as go_on
from popgrad.runs.build import build
from popgrad.runs.evaluate import evaluate_split
from popgrad.runs.replay import replay as exactly
from popgrad.runs.replay import replay_schedule
from popgrad.runs.vanilla import check, check_initial
from popgrad.runs.vanilla import train as train_one
from popgrad.runs.winner import save_winner
from popgrad.store.directory import Directory
from popgrad.store.mirror import fetch
from popgrad.tasks import Split

_ON_THE_WAY = {
    "intervals",
    "executor",
    "workers",
    "address",
    "storage",
    "max_time",
    "target_score",
    "data_dir",
}
"""What a run that goes on because of its configuration can be given anew."""


def run(
    what: options.What,
    settings: options.Settings = None,
    population: options.Population = None,
    intervals: options.Intervals = None,
    interval: options.Interval = None,
    epochs: options.Epochs = None,
    strategy: options.Strategy = None,
    fraction: options.Fraction = None,
    burn_in: options.BurnIn = None,
    seed: options.Seed = None,
    executor: options.Executor = None,
    workers: options.Workers = None,
    mode: options.RunMode = None,
    deadline: options.Deadline = None,
    device: options.Device = None,
    address: options.Address = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    max_time: options.MaxTime = None,
    target_score: options.TargetScore = None,
    initial: options.Initial = None,
    weights: options.Weights = None,
    directory: options.Directory = None,
    storage: options.Storage = None,
    checkpoint_every: options.CheckpointEvery = None,
    durability: options.Durability = None,
    data: options.DataDir = None,
    events: options.Events = False,
    debug: options.Debug = False,
    no_test: options.NoTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Train a population, and show the winner and its schedule."""
    given = {
        "population": population,
        "intervals": intervals,
        "interval": interval,
        "epochs": epochs,
        "seed": seed,
        "executor": executor,
        "workers": workers,
        "mode": mode,
        "deadline": deadline,
        "device": device,
        "address": address,
        "cpus": cpus,
        "gpus": gpus,
        "storage": storage,
        "max_time": max_time,
        "target_score": target_score,
        "initial": None if initial is None else read_initial(initial),
        "weights": None if weights is None else str(weights),
        "checkpoint_every": checkpoint_every,
        "durability": durability,
        "data_dir": None if data is None else str(data),
        "events": events or None,
        "outputs": False if debug else None,
    }
    own = {"name": strategy, "fraction": fraction, "burn_in": burn_in}
    config, notes = read_config(what, given, own, settings or [])
    printing.explain(notes)
    if config.load is not None:
        changes = _on_the_way(given, f"{what} goes on with the run in {config.load}")
        _go_on(Path(config.load), **changes, no_test=no_test, plain=plain, as_json=as_json)
        return
    components = build(config)
    place = directory or new_directory(config)
    watched = watching(
        printing.err,
        members=components.config.population,
        intervals=components.config.intervals,
        score=components.task.score,
        space=components.task.space,
        plain=plain,
    )
    with _resumable(place), watched as callbacks:
        result = start(config, components=components, directory=place, callbacks=callbacks)
    printing.finish(result, read_test=not no_test, as_json=as_json)


def _on_the_way(given: dict[str, Any], why: str) -> dict[str, Any]:
    """Of what was given, what a run that goes on takes anew; the rest is refused, since it keeps its own."""
    changes = {key: value for key, value in given.items() if value is not None}
    if refused := sorted(changes.keys() - _ON_THE_WAY):
        raise UsageError(
            f"{', '.join(refused)}: given, but {why}, which keeps its own; leave them out"
        )
    return changes


def resume(
    directory: options.Run,
    intervals: options.MoreIntervals = None,
    population: options.NewPopulation = None,
    grow: options.Grow = None,
    executor: options.Executor = None,
    workers: options.Workers = None,
    device: options.Device = None,
    address: options.Address = None,
    storage: options.Storage = None,
    from_storage: options.FromStorage = None,
    max_time: options.MaxTime = None,
    target_score: options.TargetScore = None,
    data: options.DataDir = None,
    allow_changed_task: options.AllowChangedTask = False,
    no_test: options.NoTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Go on with a run: after an interruption, for more intervals than it had, or with another population."""
    if from_storage is not None:
        fetch(from_storage, directory)
    _go_on(
        directory,
        intervals=intervals,
        population=population,
        grow=grow,
        executor=executor,
        workers=workers,
        device=device,
        address=address,
        storage=storage or from_storage,
        max_time=max_time,
        target_score=target_score,
        data_dir=data,
        allow_changed_task=allow_changed_task,
        no_test=no_test,
        plain=plain,
        as_json=as_json,
    )


def _go_on(
    directory: Path,
    *,
    no_test: bool,
    plain: bool,
    as_json: bool,
    intervals: int | None = None,
    **changes: Any,
) -> None:
    found = open_run(directory)
    total = found.config.intervals if intervals is None else intervals
    watched = watching(
        printing.err,
        members=found.size,
        intervals=total,
        score=found.score_name,
        space=found.space,
        plain=plain,
    )
    with _resumable(directory), watched as callbacks:
        result = go_on(
            directory,
            intervals=intervals,
            on_segment=callbacks.on_segment,
            on_interval=callbacks.on_interval,
            **changes,
        )
    printing.finish(result, read_test=not no_test, as_json=as_json)


def replay(
    directory: options.Run,
    member: options.Member = None,
    fresh_seed: options.FreshSeed = None,
    place: options.Kept = None,
    device: options.Device = None,
    data: options.DataDir = None,
    allow_changed_task: options.AllowChangedTask = False,
    no_test: options.NoTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Train the winner again along its lineage, and compare every bit; or a new model under its schedule.

    The run is not changed. Exit code 1 when the bits differ.
    """
    found = open_run(directory)
    given: dict[str, Any] = {
        "data_dir": data,
        "device": device,
        "allow_changed_task": allow_changed_task,
    }
    line = found.lineage(lineage.winner(found.last.values()).id if member is None else member)
    if fresh_seed is not None:
        watched = watching(
            printing.err,
            members=1,
            intervals=len(line),
            score=found.score_name,
            space=found.space,
            plain=plain,
        )
        with watched as callbacks:
            result = replay_schedule(
                directory, fresh_seed, member, keep=place, callbacks=callbacks, **given
            )
        printing.finish(result, read_test=not no_test, as_json=as_json)
        if not as_json:
            accounts.compare_scores(result, line[-1])
        return
    if place is not None:
        Directory.create(place)
    begin = time.perf_counter()
    with accounts.advancing("training again", len(line), plain=plain) as advance:
        again = exactly(directory, member, on_segment=lambda _: advance(), **given)
    if place is not None:
        save_winner(again.winner, Directory(place).weights, found.made_by)
    accounts.show_replay(again, time.perf_counter() - begin, as_json=as_json)
    if not again.identical:
        raise typer.Exit(1)


def train(
    what: options.What,
    settings: options.Settings = None,
    mode: options.Mode = "parallel",
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    device: options.Device = None,
    directory: options.Directory = None,
    data: options.DataDir = None,
    events: options.Events = False,
    debug: options.Debug = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Train one network under a given schedule, and test it beside the training.

    What the tests find decides nothing.
    """
    given = {
        "epochs": epochs,
        "seed": seed,
        "device": device,
        "data_dir": None if data is None else str(data),
        "events": events or None,
        "outputs": False if debug else None,
    }
    vanilla = {"population": 1, "strategy": {"name": "schedule"}, "executor": "serial"}
    config, notes = read_config(what, given, {}, settings or [], mode=mode, defaults=vanilla)
    printing.explain(notes)
    check(config, mode)
    if mode in ("test", "val"):
        known = config.load if directory is None else str(directory)
        if known is None:
            raise UsageError(f"--mode {mode}: say which run, by --dir or by load_ckpt in {what}")
        split: Split = "test" if mode == "test" else "validation"
        reader = f"popgrad train --mode {mode}"
        printing.show_reading(
            evaluate_split(known, split=split, data_dir=config.data_dir, reader=reader), as_json
        )
        return
    if config.load is None:
        components = build(config)
        check_initial(components)
        place = directory or new_directory(config)
        total, score, space = (
            components.config.intervals,
            components.task.score,
            components.task.space,
        )
    else:
        if directory is not None:
            raise UsageError(
                f"--dir: given {directory}, but load goes on in {config.load}; leave one out"
            )
        _on_the_way(
            {"epochs": epochs, "seed": seed, "device": device}, f"{what} goes on with {config.load}"
        )
        place = Path(config.load)
        found = load(place)
        total, score, space = found.config.intervals, found.score_name, found.space
    plain |= (
        mode == "parallel"
    )  # a table would be drawn over the lines of the monitor, another process
    watched = watching(
        printing.err, members=1, intervals=total, score=score, space=space, plain=plain
    )
    with _resumable(place), watched as callbacks:
        result = train_one(config, place, mode=mode, callbacks=callbacks)
    printing.finish(result, read_test=False, as_json=as_json)


@contextmanager
def _resumable(directory: Path) -> Iterator[None]:
    """Add to what interrupts a run, or makes it fail, how to go on with it."""
    try:
        yield
    except (KeyboardInterrupt, DataError, RunError, OSError) as error:
        if (directory / "journal.db").exists():
            error.add_note(f"go on with: popgrad resume {shlex.quote(str(directory))}")
        raise
