"""The comparison of runs: read, grouped, in numbers, in words, as JSON and as a figure."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popgrad.comparison.groups import Problem, find_runs, group_trials
from popgrad.comparison.summary import Ranking, Report, Summary, rank_over_tasks, summarise
from popgrad.comparison.trial import Trial, read_trial
from popgrad.comparison.verdict import Difference, sentence
from popgrad.core.errors import UsageError
from popgrad.statistics.bootstrap import Interval
from popgrad.store.atomic import replacing

if TYPE_CHECKING:  # it needs torch, which takes seconds
    from popgrad.tasks.base import Task


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs side by side: what helped, by how much, and how sure that is.

    Attributes:
        reports: Each problem with its groups in numbers.
        ranking: Ranks over tasks; None = there are too few tasks, or seeds.
        note: Reason for the lack of ranks; "" = there are some, or there is a single task.

    Example:
        >>> import popgrad
        >>> keys = {"population": 4, "intervals": 3, "executor": "serial", "outputs": False}
        >>> for strategy in ("pbt", "random-search"):
        ...     _ = popgrad.run("quadratic", strategy=strategy, directory=f"runs/{strategy}", **keys)
        >>> comparison = popgrad.compare(["runs/pbt", "runs/random-search"])
        >>> comparison.reports[0].baseline
        'random-search'
        >>> comparison.sentences[0].partition(":")[0]
        '1 seed cannot show whether pbt helps'
    """

    reports: tuple[Report, ...]
    ranking: Ranking | None = None
    note: str = ""

    def __repr__(self) -> str:
        """Return the verdicts."""
        return "\n".join(self.sentences)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Tasks with their options and metrics, each with its groups of runs."""
        return tuple(report.problem for report in self.reports)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Verdicts in words: one for each strategy and split beside the baseline, then one over tasks."""
        verdicts = []
        for report in self.reports:
            prefix = f"{report.problem.label}: " if len(self.reports) > 1 else ""
            verdicts += [
                prefix + sentence(difference)
                for summary in report.summaries
                for difference in summary.differences
            ]
        if self.ranking is not None:
            verdicts.append(self.ranking.sentence)
        return tuple(verdicts)

    def figure(self) -> Any:
        """Return the figure of the comparison, a `matplotlib.figure.Figure`."""
        # Imported here, since matplotlib takes its time to load.
        from popgrad.comparison.figure import draw

        return draw(self.reports, self.ranking)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON data; numbers that do not exist are None.

        Scores are values of the metric, as it was evaluated; differences are such that positive is
        better.
        """
        return {
            "tasks": [_report_data(report) for report in self.reports],
            "ranking": None if self.ranking is None else _ranking_data(self.ranking),
            "note": self.note,
            "sentences": list(self.sentences),
        }

    def save(self, directory: str | PathLike[str]) -> None:
        """Write `compare.json` and `compare.png` to a directory."""
        from popgrad.reports import figures

        folder = Path(directory)
        with replacing(folder / "compare.json") as aside:
            aside.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        figures.save(self.figure(), folder / "compare.png")


def compare(
    directories: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    baseline: str | None = None,
    test: bool = False,
    task: "Task | None" = None,
    data_dir: str | Path | None = None,
) -> Comparison:
    """Compare runs that differ in their strategy, or in its settings, over seeds.

    Runs are grouped by task, strategy with its settings, population and intervals. Only records are
    read, also of runs in progress, which do not count until they end. A verdict needs 5 seeds.

    Args:
        directories: Directories of runs, or folders that hold some.
        baseline: Strategy to compare with, by name or label; None = random-search, else the first.
        test: Whether to evaluate the winners on the test split, unless their test scores are on record.
            These readings are recorded, and run the code of the task.
        task: The task, for `test`, if the runs were given an instance.
        data_dir: Directory of the data, for `test`, if it has moved.

    Returns:
        The comparison: numbers, sentences and a figure.

    Raises:
        UsageError: A directory holds no run, two are the same run, or there is no such baseline.
        RunError: A record is damaged.

    Example:
        >>> import popgrad
        >>> keys = {"population": 2, "intervals": 1, "executor": "serial", "outputs": False}
        >>> for seed in range(3):
        ...     _ = popgrad.run("quadratic", seed=seed, directory=f"runs/pbt/{seed}", **keys)
        >>> popgrad.compare("runs/pbt").reports[0].summaries[0].group.label
        'pbt'
    """
    paths = [directories] if isinstance(directories, str | PathLike) else directories
    found = find_runs([Path(path) for path in paths])
    if not found:
        raise UsageError("directories: expected one run or more, got none")
    trials = [read_trial(path) for path in found]
    if test:
        trials = [_tested(trial, task, data_dir) for trial in trials]
    return compare_trials(trials, baseline)


def compare_trials(trials: Sequence[Trial], baseline: str | None = None) -> Comparison:
    """Compare trials; nothing is read.

    Args:
        trials: Trials, at least one.
        baseline: As in `compare`.
    """
    reports = tuple(summarise(problem, baseline) for problem in group_trials(trials))
    ranking, note = rank_over_tasks(reports)
    return Comparison(reports, ranking, note)


def _tested(trial: Trial, task: "Task | None", data_dir: str | Path | None) -> Trial:
    """Return a trial with the test score of its winner, which is evaluated unless it is on record."""
    if not trial.counts or math.isfinite(trial.test):
        return trial
    from popgrad.runs.api import load

    load(trial.directory, task=task, data_dir=data_dir).test(reader="popgrad compare")
    return read_trial(trial.directory)


# --- plain data -----------------------------------------------------------------------------------


def _report_data(report: Report) -> dict[str, Any]:
    ranking = report.problem.ranking
    return {
        "task": report.problem.label,
        "metric": ranking.metric,
        "direction": ranking.direction,
        "baseline": report.baseline,
        "groups": [_summary_data(summary, report) for summary in report.summaries],
    }


def _summary_data(summary: Summary, report: Report) -> dict[str, Any]:
    group = summary.group
    shown = report.problem.ranking.shown

    def metric(interval: Interval | None) -> dict[str, float | None] | None:
        if interval is None:
            return None
        ends = sorted((shown(interval.low), shown(interval.high)))
        return _interval_data(Interval(shown(interval.value), *ends))

    return {
        "label": group.label,
        "settings": dict(group.trials[0].setting),
        "validation": metric(summary.winner),
        "median_member": metric(summary.median),
        "test": metric(summary.test),
        "probability_of_improvement": _interval_data(summary.improvement),
        "differences": [_difference_data(each) for each in summary.differences],
        "member_steps": list(group.steps),
        "unfinished": group.unfinished,
        "without_winner": group.lost,
        "runs": [_trial_data(trial) for trial in group.trials],
    }


def _trial_data(trial: Trial) -> dict[str, Any]:
    shown = trial.ranking.shown
    return {
        "directory": str(trial.directory),
        "seed": trial.seed,
        "finished": trial.finished,
        "counted": trial.counts,
        "validation": _number(shown(trial.winner)),
        "median_member": _number(shown(trial.median)),
        "test": _number(shown(trial.test)),
        "member_steps": trial.steps,
        "seconds": trial.seconds,
    }


def _difference_data(difference: Difference) -> dict[str, Any]:
    return {
        "baseline": difference.baseline,
        "split": difference.split,
        "outcome": difference.outcome,
        "difference": _interval_data(difference.interval),
        "level": difference.level,
        "seeds": difference.seeds,
        "paired": difference.paired,
        "equal_budgets": difference.equal_budgets,
        "sentence": sentence(difference),
    }


def _ranking_data(ranking: Ranking) -> Mapping[str, Any]:
    return {
        "labels": list(ranking.labels),
        "mean_ranks": list(ranking.ranks),
        "tasks": ranking.tasks,
        "friedman_p": ranking.p_value,
        "cliques": [list(clique) for clique in ranking.cliques],
    }


def _interval_data(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {name: _number(value) for name, value in interval._asdict().items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
