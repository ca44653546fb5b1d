"""Comparison of runs as plain JSON: curves over member-steps, in groups, with intervals over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from popgrad.core.score import Score
from popgrad.core.seeding import Floats
from popgrad.statistics.bootstrap import bootstrap, interquartile_mean
from popgrad.views.plain import Json, plain_number

_POINTS = 60
"""Points at which the runs of a group are summarised."""

_RESAMPLES = 500
"""Resamples of an interval, of which a page draws a band."""


@dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison. Scores are such that higher is better.

    Attributes:
        id: Its name in addresses.
        name: Name to show.
        seed: Its seed.
        finished: Whether it has come to one of its limits.
        curve: [I, 3] member-steps, best and median score of the members after each interval; nan = all
            have failed.
    """

    id: str
    name: str
    seed: int
    finished: bool
    curve: Floats = field(repr=False)

    @property
    def steps(self) -> Floats:
        """[I] member-steps behind each point."""
        return self.curve[:, 0]

    @property
    def best(self) -> Floats:
        """[I] best score so far; nan = none yet."""
        best: Floats = np.fmax.accumulate(self.curve[:, 1])
        return best

    @property
    def median(self) -> Floats:
        """[I] median score of the members."""
        return self.curve[:, 2]


def group_json(label: str, runs: Sequence[ComparedRun], ranking: Score) -> Json:
    """Return a group of runs that differ in the seed alone.

    Keys: label; runs, each with its curves steps, best and median; steps, at which the group is
    summarised; best and median, each with value (interquartile mean), low and high. A group is
    summarised as far as each of its runs has come. Scores are values of the metric, as it was
    evaluated; None = there is none.

    Args:
        label: Label of the group.
        runs: Its runs, at least one.
        ranking: Metric that ranks.
    """
    steps = _common_steps(runs)
    return {
        "label": label,
        "runs": [_run_json(run, ranking) for run in runs],
        "steps": [int(step) for step in steps],
        "best": _band([_at(run.steps, run.best, steps) for run in runs], ranking),
        "median": _band([_at(run.steps, run.median, steps) for run in runs], ranking),
    }


def _run_json(run: ComparedRun, ranking: Score) -> Json:
    return {
        "id": run.id,
        "name": run.name,
        "seed": run.seed,
        "finished": run.finished,
        "steps": [int(step) for step in run.steps],
        "best": [plain_number(ranking.shown(float(score))) for score in run.best],
        "median": [plain_number(ranking.shown(float(score))) for score in run.median],
    }


def _common_steps(runs: Sequence[ComparedRun]) -> Floats:
    """Return member-steps that all runs have come to, thinned out to some tens."""
    if not all(len(run.curve) for run in runs):
        return np.empty(0)
    first = max(float(run.steps[0]) for run in runs)
    last = min(float(run.steps[-1]) for run in runs)
    known = np.unique(np.concatenate([run.steps for run in runs]))
    known = known[(known >= first) & (known <= last)]
    if len(known) <= _POINTS:
        return known
    rows = np.unique(np.linspace(0, len(known) - 1, _POINTS).round().astype(int))
    thinned: Floats = known[rows]
    return thinned


def _at(steps: Floats, scores: Floats, wanted: Floats) -> Floats:
    """Return the last score at or before each of the wanted steps."""
    rows = np.searchsorted(steps, wanted, side="right") - 1
    found: Floats = scores[rows]
    return found


def _band(columns: Sequence[Floats], ranking: Score) -> Json:
    """Return the interquartile mean over runs at each point, and its interval over seeds."""
    points = np.stack(columns, axis=1)
    band: Json = {"value": [], "low": [], "high": []}
    for scores in points:
        for name, score in _summary(scores, ranking).items():
            band[name].append(score)
    return band


def _summary(scores: Floats, ranking: Score) -> dict[str, float | None]:
    if not np.isfinite(scores).all():
        return {"value": None, "low": None, "high": None}
    found = bootstrap([scores], lambda strata: interquartile_mean(strata[0]), resamples=_RESAMPLES)
    low, high = sorted((ranking.shown(found.low), ranking.shown(found.high)))
    shown = (ranking.shown(found.value), low, high)
    return dict(zip(("value", "low", "high"), map(plain_number, shown), strict=True))
