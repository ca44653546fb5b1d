"""Commands that train: run, resume, replay, train.

Each imports torch when it is called: that takes seconds, and neither help nor a misspelt option needs it.
"""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from popgrad.cli import options, printing, reports
from popgrad.cli.arguments import new_directory, open_run, read_config, read_initial
from popgrad.cli.key_options import key_names, takes_keys
from popgrad.core.errors import DataError, RunError, UsageError
from popgrad.store.directory import Directory, find_run

if TYPE_CHECKING:  # it needs torch, which takes seconds
    from popgrad.runs.display import Display

_CHANGEABLE = set(key_names("resume")) - {"population", "grow", "device"}
"""Keys that can be given for a run that is continued because its configuration sets `load`."""


# --- run and resume ---------------------------------------------------------------------------------


@takes_keys("run")
def run(
    what: options.What,
    keys: dict[str, Any],
    strategy: dict[str, Any],
    settings: options.Settings = None,
    initial: options.Initial = None,
    directory: options.Directory = None,
    debug: options.Debug = False,
    no_test: options.NoTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Train a population, and show the winner and its schedule."""
    if initial is not None:
        keys["initial"] = read_initial(initial)
    if debug:
        keys["outputs"] = False
    config, notes = read_config(what, keys, strategy, settings or [])
    printing.explain(notes)
    if config.load is not None:
        _check_changeable(keys, f"{what} continues the run in {config.load}")
        _continue(Path(config.load), keys, no_test=no_test, plain=plain, as_json=as_json)
        return

    from popgrad.runs.api import start
    from popgrad.runs.build import build

    components = build(config)
    path = directory or new_directory(config)
    with _advice(path):
        result = start(config, components=components, directory=path, display=_display(plain))
    reports.finish(result, read_test=not no_test, as_json=as_json)


def _check_changeable(keys: dict[str, Any], reason: str) -> None:
    """Refuse keys that a run continued because of its configuration keeps."""
    refused = sorted(keys.keys() - _CHANGEABLE)
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: given, but {reason}, which keeps its own; leave them out"
        )


@takes_keys("resume")
def resume(
    directory: options.Run,
    keys: dict[str, Any],
    from_storage: options.FromStorage = None,
    task: options.NamedTask = None,
    allow_changed_task: options.AllowChangedTask = False,
    no_test: options.NoTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Continue a run: after an interruption, for more intervals, or with another population."""
    if from_storage is not None:
        from popgrad.store.mirror import fetch

        fetch(from_storage, directory)
        keys.setdefault("storage", from_storage)
    keys["allow_changed_task"] = allow_changed_task
    _continue(directory, keys, task=task, no_test=no_test, plain=plain, as_json=as_json)


def _continue(
    directory: Path,
    arguments: dict[str, Any],
    *,
    task: str | None = None,
    no_test: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Continue a run, with arguments of `popgrad.resume`, and the reference of its task."""
    from popgrad.runs.api import restart
    from popgrad.runs.evaluate import named_task

    find_run(directory, "DIR")
    allow_changed_task = arguments.pop("allow_changed_task", False)
    own_task = named_task(open_run(directory), task, arguments.get("data_dir"))
    with _advice(directory, task):
        result = restart(
            directory.absolute(),
            arguments,
            task=own_task,
            allow_changed_task=allow_changed_task,
            display=_display(plain),
        )
    reports.finish(result, read_test=not no_test, as_json=as_json)


# --- replay -----------------------------------------------------------------------------------------


def replay(
    directory: options.Run,
    member: options.Member = None,
    interval: options.MemberInterval = None,
    fresh_seed: options.FreshSeed = None,
    keep: options.Keep = None,
    task: options.NamedTask = None,
    device: options.Device = None,
    data: options.DataDir = None,
    allow_changed_task: options.AllowChangedTask = False,
    no_test: options.NoTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Retrain the winner along its lineage, and compare every bit; or a new model under its schedule.

    Any segment can take the winner's place, by --member and --interval. The run is not changed.
    Exit code 1 if the bits differ.
    """
    from popgrad.runs.evaluate import named_task
    from popgrad.runs.replay import replay as replay_lineage
    from popgrad.runs.replay import replay_schedule
    from popgrad.runs.winner import save_winner

    recorded = open_run(directory)
    lineage = recorded.record.lineage(recorded.record.leaf(member, interval))
    arguments: dict[str, Any] = {
        "interval": interval,
        "task": named_task(recorded, task, data),
        "data_dir": data,
        "device": device,
        "allow_changed_task": allow_changed_task,
    }
    if fresh_seed is not None:
        result = replay_schedule(
            directory, fresh_seed, member, keep=keep, progress=_display(plain), **arguments
        )
        reports.finish(result, read_test=not no_test, as_json=as_json)
        if not as_json:
            reports.compare_scores(result, lineage[-1])
        return

    if keep is not None:
        Directory.create(keep)
    begin = time.perf_counter()
    with printing.progress_bar("retraining", len(lineage), plain=plain) as advance:
        replayed = replay_lineage(directory, member, on_segment=lambda _: advance(), **arguments)
    if keep is not None:
        save_winner(replayed.winner, Directory(keep).weights, recorded.made_by)
    reports.show_replay(replayed, time.perf_counter() - begin, as_json=as_json)
    if not replayed.identical:
        raise typer.Exit(1)


# --- train ------------------------------------------------------------------------------------------


@takes_keys("train")
def train(
    what: options.What,
    keys: dict[str, Any],
    settings: options.Settings = None,
    mode: options.Mode = "parallel",
    directory: options.Directory = None,
    debug: options.Debug = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Train one network under a given schedule, and test it beside the training.

    The tests decide nothing.
    """
    from popgrad.runs.build import build
    from popgrad.runs.evaluate import evaluate_split
    from popgrad.runs.vanilla import check, check_initial
    from popgrad.runs.vanilla import train as train_network

    if debug:
        keys["outputs"] = False
    vanilla = {"population": 1, "strategy": {"name": "schedule"}, "executor": "serial"}
    config, notes = read_config(what, keys, {}, settings or [], mode=mode, defaults=vanilla)
    printing.explain(notes)
    check(config, mode)
    if mode in ("test", "val"):
        path_text = config.load if directory is None else str(directory)
        if path_text is None:
            raise UsageError(f"--mode {mode}: choose a run, by --dir or by load_ckpt in {what}")
        evaluation = evaluate_split(
            path_text,
            split="test" if mode == "test" else "validation",
            data_dir=config.data_dir,
            reader=f"popgrad train --mode {mode}",
        )
        reports.show_evaluation(evaluation, as_json)
        return

    if config.load is None:
        components = build(config)
        check_initial(components)
        path = directory or new_directory(config)
    else:
        if directory is not None:
            raise UsageError(
                f"--dir: given {directory}, but load continues {config.load}; leave one out"
            )
        own = {name: value for name, value in keys.items() if name in ("epochs", "seed", "device")}
        _check_changeable(own, f"{what} continues {config.load}")
        path = Path(config.load)

    # A table would be drawn over the lines of the monitor, which is another process.
    plain = plain or mode == "parallel"
    with _advice(path):
        result = train_network(config, path, mode=mode, display=_display(plain))
    reports.finish(result, read_test=False, as_json=as_json)


def _display(plain: bool) -> "Display":
    from popgrad.runs.display import Display

    return Display("lines" if plain else True, program=True)


@contextmanager
def _advice(directory: Path, task: str | None = None) -> Iterator[None]:
    """Add to an error that ends a run how to continue it.

    Args:
        directory: Directory of the run.
        task: Reference of the task, if the command line has named it.
    """
    try:
        yield
    except (KeyboardInterrupt, DataError, RunError, OSError) as error:
        if (directory / "journal.db").exists():
            command = f"popgrad resume {shlex.quote(str(directory))}"
            if task is not None:
                command += f" --task {shlex.quote(task)}"
            if getattr(error, "in_task", False):
                error.add_note(
                    f"correct the task, and continue with: {command} --allow-changed-task"
                )
            else:
                error.add_note(f"continue with: {command}")
        raise
