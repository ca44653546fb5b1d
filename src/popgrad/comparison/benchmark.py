"""Benchmarks: every strategy with every seed on one task, under equal budgets, and their comparison."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import fspath
from pathlib import Path
from typing import Any, Unpack

from popgrad import config as configuration
from popgrad.comparison.bar import Bar, BarKind
from popgrad.comparison.comparison import Comparison, compare
from popgrad.comparison.entries import folder_name, read_strategies
from popgrad.comparison.request import RESUMED, begin
from popgrad.config import RunConfig, StrategyConfig
from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Segment
from popgrad.core.space import Dimension, Space
from popgrad.engine.callbacks import Callbacks
from popgrad.runs.advice import shown_path
from popgrad.runs.api import dimension_spec, restart, run, start
from popgrad.runs.build import build
from popgrad.runs.components import Components
from popgrad.runs.keywords import RunKeywords
from popgrad.runs.signature import check_keywords
from popgrad.store.directory import open_record
from popgrad.tasks.base import Task
from popgrad.tasks.reference import full_reference, source_digest, task_instance

log = logging.getLogger("popgrad")

STRATEGIES = ("pbt", "random-search")
"""Strategies of a benchmark that names none."""

SEEDS = 5
"""Seeds of a benchmark that names no number: as many as a verdict needs."""

MOST_SEEDS = 1000
"""Most seeds of a benchmark."""


@dataclass(frozen=True)
class BenchmarkRun:
    """A run of a benchmark.

    Attributes:
        name: Strategy and seed in words.
        config: Its configuration.
        directory: Its directory.
    """

    name: str
    config: RunConfig
    directory: Path


def benchmark(
    task: str | Task,
    *,
    strategies: str | Sequence[str] = STRATEGIES,
    seeds: int = SEEDS,
    directory: str | Path,
    space: Mapping[str, Dimension | Mapping[str, Any]] | Space | None = None,
    initial: Sequence[Hparams] = (),
    baseline: str | None = None,
    test: bool = False,
    progress: BarKind = True,
    **keywords: Unpack[RunKeywords],
) -> Comparison:
    """Train every strategy with every seed under equal budgets, and compare them.

    The runs lie in `directory`/STRATEGY/seed-SEED. Called again, it continues: finished runs are
    kept, others resumed, and further seeds and strategies added.

    Args:
        task: A task, or the name of one, as that of `run`.
        strategies: Names of strategies, with settings after colons: "pbt:fraction=0.3:burn_in=2".
        seeds: Number of seeds of each strategy; they start at `seed` (0). A verdict needs 5.
        directory: Directory of the benchmark.
        space: Dimensions, as those of `run`.
        initial: Hyperparameters of the first members of every run.
        baseline: Strategy to compare with, as in `compare`.
        test: Whether to evaluate the winners on the test split; the readings are recorded.
        progress: Progress on standard error: True = a bar in a terminal, elsewhere a line for each run;
            False = nothing.
        **keywords: Keys of the configuration, as those of `run`; settings of strategies are given in
            `strategies`.

    Returns:
        The comparison, which is also written to `directory`: compare.json and compare.png.

    Raises:
        UsageError: An argument is wrong, or differs from that which the benchmark was started with.
        RunError: A run cannot continue; what is recorded stays.
        KeyboardInterrupt: Ctrl-C. The same call continues.

    Example:
        >>> import popgrad
        >>> keys = {"population": 4, "intervals": 3, "executor": "serial", "outputs": False}
        >>> comparison = popgrad.benchmark(
        ...     "quadratic", seeds=2, directory="runs/bench", progress=False, **keys
        ... )
        >>> [len(group.trials) for group in comparison.problems[0].groups]
        [2, 2]
    """
    check_keywords(run, keywords)
    for name in keywords:
        if name not in RunConfig.model_fields:
            raise UsageError(
                f"{name}: a setting of a strategy; give it with the name, as in "
                f'strategies="pbt,pbt:{name}=..."'
            )

    own_task = None if isinstance(task, str) else task_instance(task)
    values: dict[str, Any] = {
        **keywords,
        "task": full_reference(task) if isinstance(task, str) else type(own_task).__name__,
        "space": {name: dimension_spec(dimension) for name, dimension in (space or {}).items()},
        "initial": initial,
    }

    return run_benchmark(
        configuration.parse(values),
        strategies=strategies,
        seeds=seeds,
        directory=Path(fspath(directory)),
        task=own_task,
        baseline=baseline,
        test=test,
        progress=progress,
    )


def run_benchmark(
    config: RunConfig,
    *,
    strategies: str | Sequence[str],
    seeds: int,
    directory: Path,
    task: Task | None = None,
    baseline: str | None = None,
    test: bool = False,
    progress: BarKind = True,
    outputs: bool = True,
) -> Comparison:
    """Run or continue the benchmark that a configuration describes, as `benchmark`.

    Args:
        config: Configuration of all runs; its seed is the first one.
        strategies: As in `benchmark`.
        seeds: As in `benchmark`.
        directory: Directory of the benchmark.
        task: Task that takes the place of the configured one.
        baseline: As in `benchmark`.
        test: As in `benchmark`.
        progress: As in `benchmark`.
        outputs: Whether to write compare.json and compare.png.
    """
    directory = directory.absolute()
    runs = plan_runs(config, strategies, seeds, directory)
    _check_baseline(baseline, strategies)
    built = _build_strategies(runs, task)
    digest = source_digest(task or built.task, None if task is not None else config.task)
    bar = Bar(progress, len(runs), config.population * built.config.intervals)
    begin(directory, config, digest)

    finished = 0
    try:
        with bar.shown():
            for number, each in enumerate(runs):
                _complete(each, task, bar, number)
                finished += 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted after {finished} of {len(runs)} runs; the same command again continues "
            f"the benchmark in {shown_path(directory)}"
        ) from None

    found = [
        each.directory for each in _by_strategy(runs) if (each.directory / "journal.db").exists()
    ]
    data_dir = config.data_dir if task is None else None
    comparison = compare(found, baseline=baseline, test=test, task=task, data_dir=data_dir)
    if outputs:
        comparison.save(directory)
    return comparison


def plan_runs(
    config: RunConfig, strategies: str | Sequence[str], seeds: int, directory: Path
) -> list[BenchmarkRun]:
    """Return the runs of a benchmark: all strategies with the first seed, then with the next.

    In this order, a benchmark that is not finished yet holds pairs that share a seed.

    Raises:
        UsageError: A strategy or the number of seeds is wrong, or a key fits a single run only.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds: expected an integer from 1 to {MOST_SEEDS}, got {seeds!r:.50}")
    for key in ("load", "storage"):
        if getattr(config, key) is not None:
            raise UsageError(f"{key}: it is for a single run, not for a benchmark; leave it out")
    if config.strategy.model_dump() != StrategyConfig().model_dump():
        raise UsageError(
            f"strategy: given {config.strategy.name}, but a benchmark has several; give all of them by "
            "--strategies, as in pbt:fraction=0.3,random-search"
        )

    runs = []
    entries = read_strategies(strategies)
    for seed in range(config.seed, config.seed + seeds):
        for label, values in entries.items():
            own = configuration.parse(
                {**config.model_dump(mode="json"), "strategy": values, "seed": seed}
            )
            folder = directory / folder_name(label) / f"seed-{seed}"
            runs.append(BenchmarkRun(f"{label}, seed {seed}", own, folder))
    return runs


def _check_baseline(baseline: str | None, strategies: str | Sequence[str]) -> None:
    """Refuse a baseline that is not among the strategies, before anything trains."""
    entries = read_strategies(strategies)
    names = [values["name"] for values in entries.values()]
    if baseline is not None and baseline not in entries and names.count(baseline) != 1:
        raise UsageError(
            f"baseline: expected one of the strategies {', '.join(entries)}, got {baseline!r:.100}"
        )


def _build_strategies(runs: Sequence[BenchmarkRun], task: Task | None) -> Components:
    """Build each strategy once, so that a setting out of its range is refused before anything trains.

    Returns:
        Components of one of the runs; all have the same task and length.
    """
    by_strategy = {each.directory.parent: each.config for each in reversed(runs)}
    for config in by_strategy.values():
        built = build(config.model_copy(update={"executor": "serial"}), task)
    return built


def _by_strategy(runs: Sequence[BenchmarkRun]) -> list[BenchmarkRun]:
    """Return runs by strategy, in the order in which the strategies were given."""
    order = list(dict.fromkeys(each.directory.parent for each in runs))
    return sorted(runs, key=lambda each: order.index(each.directory.parent))


def _complete(own: BenchmarkRun, task: Task | None, bar: Bar, number: int) -> None:
    """Train a run to its end, if it has not come to it."""
    path = own.directory
    exists = (path / "journal.db").exists()
    record = open_record(path) if exists else None
    bar.start(number, own.name, 0 if record is None else len(record.segments))
    if record is not None and record.stopped not in ("unfinished", "time"):
        bar.finish(number, f"{own.name}: finished before")
        return

    def count(segment: Segment) -> None:
        del segment
        bar.advance()

    callbacks = Callbacks(on_segment=count)
    try:
        if record is None:
            result = start(own.config, task=task, directory=path, callbacks=callbacks)
        else:
            keys = {key: getattr(own.config, key) for key in RESUMED}
            result = restart(path, keys, task=task, callbacks=callbacks)
    except AllMembersFailedError as error:
        # A result, too: the other runs are worth their time.
        log.warning("%s: %s", own.name, error)
        bar.finish(number, f"{own.name}: no winner")
        return
    bar.finish(number, f"{own.name}: {result.headline}")
