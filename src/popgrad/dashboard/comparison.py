"""The comparison of runs that a page asks for, from their records."""

from collections.abc import Sequence
from threading import Lock

from popgrad.comparison.comparison import compare_trials
from popgrad.comparison.groups import Problem
from popgrad.comparison.trial import Trial, read_trial
from popgrad.core.errors import PopgradError
from popgrad.dashboard.runs import Run
from popgrad.store.directory import Directory
from popgrad.store.snapshot import Stamp, stamp
from popgrad.views.comparison import ComparedRun, group_json
from popgrad.views.plain import Json

MOST = 200
"""Most runs of a comparison."""

_KEPT = 500
"""Trials that are kept in memory."""


class Comparisons:
    """Comparisons of runs; the record of one that has not changed is not read again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._trials: dict[str, tuple[Stamp, Trial]] = {}

    def compare(self, runs: Sequence[Run]) -> Json:
        """Return the comparison of runs.

        Keys: problems (runs that learn the same thing), each with label, score, lower_is_better and
        groups, as `views.comparison.group_json` describes them; sentences, the verdicts; errors, of the
        runs that are left out, each with id, name and error.

        Args:
            runs: Runs to compare.
        """
        trials: dict[str, tuple[Run, Trial]] = {}
        errors = []
        for run in runs:
            try:
                trial = self._trial(run)
            except (PopgradError, OSError) as error:
                errors.append({"id": run.id, "name": run.name, "error": str(error)})
                continue
            # Two copies of a run count once.
            key = repr((trial.problem, trial.setting, trial.seed))
            if key in trials:
                text = f"equal settings and seed as {trials[key][0].name}: it counts once"
                errors.append({"id": run.id, "name": run.name, "error": text})
            else:
                trials[key] = (run, trial)

        by_directory = {str(trial.directory): run for run, trial in trials.values()}
        if not trials:
            return {"problems": [], "sentences": [], "errors": errors}
        comparison = compare_trials([trial for _, trial in trials.values()])
        return {
            "problems": [_problem_json(each, by_directory) for each in comparison.problems],
            "sentences": list(comparison.sentences),
            "errors": errors,
        }

    def _trial(self, run: Run) -> Trial:
        now = stamp(Directory(run.directory).journal)
        with self._lock:
            known = self._trials.get(run.id)
        if known is not None and known[0] == now:
            return known[1]

        trial = read_trial(run.directory)
        with self._lock:
            self._trials.pop(run.id, None)
            self._trials[run.id] = (now, trial)
            while len(self._trials) > _KEPT:
                del self._trials[next(iter(self._trials))]
        return trial


def _problem_json(problem: Problem, runs: dict[str, Run]) -> Json:
    ranking = problem.ranking
    return {
        "label": problem.label,
        "score": ranking.metric,
        "lower_is_better": ranking.minimize,
        "groups": [
            group_json(
                group.label,
                [_compared(trial, runs[str(trial.directory)]) for trial in group.trials],
                ranking,
            )
            for group in problem.groups
        ],
    }


def _compared(trial: Trial, run: Run) -> ComparedRun:
    return ComparedRun(run.id, run.name, trial.seed, trial.finished, trial.curve)
