"""Commands that compare: benchmark, compare.

The second reads records alone, so that it does not wait for torch, unless it reads the test split.
"""

from pathlib import Path
from typing import Any

from popgrad.cli import options, printing
from popgrad.cli.arguments import read_config, read_initial
from popgrad.cli.key_options import takes_keys
from popgrad.comparison.comparison import Comparison
from popgrad.comparison.comparison import compare as compare_runs
from popgrad.core.errors import UsageError

_FORMATS = (".png", ".pdf", ".svg")


@takes_keys("run", without=("strategy", "storage"))
def benchmark(
    what: options.What,
    keys: dict[str, Any],
    strategies: options.Strategies = None,
    seeds: options.Seeds = None,
    baseline: options.Baseline = None,
    test: options.TestWinners = False,
    settings: options.Settings = None,
    initial: options.Initial = None,
    directory: options.BenchmarkDirectory = None,
    debug: options.Debug = False,
    plain: options.Plain = False,
    every_run: options.EveryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train several strategies with several seeds under equal budgets, and compare them.

    The same command again continues it: finished runs are kept, others resumed, and further seeds and
    strategies added. The directory gets compare.json and compare.png.
    """
    if initial is not None:
        keys["initial"] = read_initial(initial)
    if debug:
        keys["outputs"] = False
    config, notes = read_config(what, keys, {}, settings or [])
    printing.explain(notes)

    from popgrad.comparison.benchmark import SEEDS, STRATEGIES, run_benchmark

    comparison = run_benchmark(
        config,
        strategies=STRATEGIES if strategies is None else strategies,
        seeds=SEEDS if seeds is None else seeds,
        directory=directory or Path(config.runs_dir) / f"benchmark-{_stem(config.task)}",
        baseline=baseline,
        test=test,
        progress="lines" if plain else True,
        outputs=not debug,
    )
    _show(comparison, every_run=every_run, as_json=as_json)


def _stem(task: str) -> str:
    """Return the name of a task without folders and colons."""
    module, _, name = task.rpartition(":")
    return Path(module).stem if module.endswith(".py") else name


def compare(
    directories: options.Compared,
    baseline: options.Baseline = None,
    test: options.TestWinners = False,
    task: options.NamedTask = None,
    data: options.DataDir = None,
    figure: options.Figure = None,
    every_run: options.EveryRun = False,
    as_json: options.Json = False,
) -> None:
    """Compare runs: what helped, by how much, and how sure that is.

    Runs that differ in the seed alone are one group. A verdict needs 5 seeds. No code of a task is run,
    except by --test.
    """
    if figure is not None and figure.suffix not in _FORMATS:
        raise UsageError(
            f"--figure: expected a file that ends in {', '.join(_FORMATS)}, got {figure}"
        )
    named = _named_task(task, directories, data) if test else None
    comparison = compare_runs(directories, baseline=baseline, test=test, task=named, data_dir=data)
    if figure is not None:
        _draw(comparison, figure)
    _show(comparison, every_run=every_run, as_json=as_json)


def _named_task(reference: str | None, directories: list[Path], data: Path | None) -> Any:
    """Return the task that the command line names, if the runs were given an instance."""
    from popgrad.comparison.groups import find_runs
    from popgrad.runs.api import load
    from popgrad.runs.evaluate import named_task

    # All runs are given the same instance, so the first one that was given any stands for them.
    for path in find_runs(directories):
        task = named_task(load(path), reference, data)
        if task is not None:
            return task
    return None


def _draw(comparison: Comparison, path: Path) -> None:
    from popgrad.reports import figures

    try:
        figures.save(comparison.figure(), path)
    except OSError as error:
        raise UsageError(f"--figure: cannot write {path}: {error.strerror or error}") from None


def _show(comparison: Comparison, *, every_run: bool, as_json: bool) -> None:
    from popgrad.comparison.tables import comparison_view

    if as_json:
        printing.print_json(comparison.to_dict())
    else:
        printing.out.print(comparison_view(comparison, every_run=every_run))
