"""The command on what a schedule is worth: ablate."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from popgrad.cli import options, printing
from popgrad.cli.arguments import open_run
from popgrad.cli.printing import out, print_folded, print_json, print_line
from popgrad.core.score import Score
from popgrad.record.ablation import Ablation
from popgrad.record.arm import Arm
from popgrad.reports.tables import Column, FittedTable
from popgrad.runs.advice import shown_path
from popgrad.statistics.bootstrap import Interval

if TYPE_CHECKING:  # a type of its caller alone
    from pathlib import Path


def ablate(
    directory: options.Run,
    seeds: options.FreshSeeds = None,
    no_random_search: options.NoRandomSearch = False,
    keep: options.AblationDirectory = None,
    task: options.NamedTask = None,
    device: options.Device = None,
    data: options.DataDir = None,
    allow_changed_task: options.AllowChangedTask = False,
    read_test: options.ReadTest = False,
    plain: options.Plain = False,
    as_json: options.Json = False,
) -> None:
    """Train the winner's schedule, and constants, alone with fresh seeds: did the schedule help?

    If it is interrupted, call it again to continue; with more seeds, the models of the earlier ones stay.
    """
    from popgrad.runs.ablation import ablate as train_arms
    from popgrad.runs.evaluate import named_task

    arguments: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    with _advice(), printing.growing_bar("ablation", plain=plain) as on_progress:
        ablation = train_arms(
            directory,
            random_search=not no_random_search,
            keep=keep,
            task=named_task(open_run(directory), task, data),
            data_dir=data,
            device=device,
            allow_changed_task=allow_changed_task,
            test=read_test,
            on_progress=on_progress,
            **arguments,
        )
    if as_json:
        print_json(ablation.row())
        return
    _show(ablation, directory / "ablation" if keep is None else keep)


@contextmanager
def _advice() -> Iterator[None]:
    """Add to an interrupt how to continue."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("continue with the same command: the models that are trained stay")
        raise


def _show(ablation: Ablation, folder: "Path") -> None:
    """Print the arms, where their settings are from, what they cost, and the verdict."""
    out.print(_table(ablation))
    for arm in ablation.arms:
        print_folded(f"{arm.name}: {arm.origin}")
    ranking = ablation.ranking
    print_folded(
        f"The run's own winner has the {ranking.words(ablation.winner_score)}. Intervals are 95 %, over "
        f"{len(ablation.seeds)} seeds."
    )
    print_folded(_cost(ablation))
    print_line("")
    print_folded(ablation.sentence)
    print_line(f"kept in {shown_path(folder.absolute())}: ablation.json, ablation.png")


def _cost(ablation: Ablation) -> str:
    """Return what an ablation has cost, in words."""
    models = sum(sum(arm.steps) for arm in ablation.arms)
    search = ablation.search_steps
    words = (
        f"Cost in training steps: {models:,} for the models, "
        + (f"{search:,} for the random search, " if search else "no random search, ")
        + f"{ablation.run_steps:,} for the run itself."
    )
    lengths = {steps for arm in ablation.arms for steps in arm.steps}
    if len(lengths) > 1:
        words += f" Models differ in their steps, {min(lengths):,} to {max(lengths):,}."
    return words


def _table(ablation: Ablation) -> FittedTable:
    """Return a row for each arm, the schedule first."""
    ranking = ablation.ranking
    arms = ablation.arms
    # The schedule is not compared with itself.
    gains = ["", *(_gain(ablation.gain(arm)) for arm in arms[1:])]
    wins = ["", *(f"{ablation.improvement(arm).value:.2f}" for arm in arms[1:])]

    columns = [
        Column("arm", [arm.name for arm in arms], left=True),
        Column(ranking.heading, [_mean(arm, ranking) for arm in arms]),
        Column("95 % interval", [_spread(arm, ranking) for arm in arms], priority=1),
        Column("schedule better by", gains),
        Column("P(better)", wins, priority=2),
    ]

    if any(arm.tests for arm in arms):
        tests = [_test_mean(arm, ranking) for arm in arms]
        columns.append(Column(f"test {ranking.heading}", tests))
    return FittedTable("", columns, styles=["bold", *[""] * (len(arms) - 1)])


def _mean(arm: Arm, ranking: Score) -> str:
    if arm.failed:
        return f"{arm.failed} of {len(arm.scores)} failed"
    return f"{ranking.shown(arm.mean.value):.{arm.mean.decimals}f}"


def _spread(arm: Arm, ranking: Score) -> str:
    """Return the interval of an arm's mean; "" = there is none."""
    mean = arm.mean
    if math.isnan(mean.low):
        return ""
    low, high = sorted(map(ranking.shown, (mean.low, mean.high)))
    return _ends(low, high, mean.decimals)


def _gain(gain: Interval) -> str:
    """Return how much better the schedule is, with the interval."""
    words = f"{gain.value:+.{gain.decimals}f}"
    return words if math.isnan(gain.low) else f"{words} {_ends(gain.low, gain.high, gain.decimals)}"


def _ends(low: float, high: float, decimals: int) -> str:
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def _test_mean(arm: Arm, ranking: Score) -> str:
    values = [metrics.get(ranking.metric, math.nan) for metrics in arm.tests]
    return f"{sum(values) / len(values):.4g}" if values else ""
