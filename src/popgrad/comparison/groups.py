"""Groups of trials: those that learn the same thing in the same way, over seeds."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from popgrad.comparison.trial import Trial
from popgrad.config.keys import settings
from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.core.seeding import Floats
from popgrad.strategies import STRATEGIES

_LONGEST = 40
"""Most characters of a value in a label."""


@dataclass(frozen=True)
class Group:
    """Trials that agree in all settings but the seed.

    Attributes:
        label: Strategy and its settings that are not the default, such as "pbt:fraction=0.3", with
            further keys in which groups of the same strategy differ.
        trials: Trials by ascending seed.
    """

    label: str
    trials: tuple[Trial, ...] = field(repr=False)

    @cached_property
    def counted(self) -> tuple[Trial, ...]:
        """Trials that count: finished, with a winner."""
        return tuple(trial for trial in self.trials if trial.counts)

    @property
    def lost(self) -> int:
        """Finished trials without a winner: all members have failed."""
        return sum(trial.finished and not trial.counts for trial in self.trials)

    @property
    def unfinished(self) -> int:
        """Trials that have not come to an end; they do not count yet."""
        return sum(not trial.finished for trial in self.trials)

    @property
    def steps(self) -> tuple[int, ...]:
        """Member-steps that occur among the trials that count, ascending."""
        return tuple(sorted({trial.steps for trial in self.counted}))

    @property
    def tested(self) -> bool:
        """Whether the test score of each trial that counts is on record."""
        return bool(self.counted) and all(np.isfinite(trial.test) for trial in self.counted)

    def scores(self, kind: str = "winner") -> Floats:
        """Return a score of each trial that counts, [S], by ascending seed.

        Args:
            kind: "winner", "median" or "test".
        """
        return np.array([getattr(trial, kind) for trial in self.counted], dtype=np.float64)


@dataclass(frozen=True)
class Problem:
    """Groups that learn the same thing: one task with its options, space and metric.

    Attributes:
        label: The task, with keys in which problems of the same task differ.
        groups: Groups in the order in which their runs were given.
        ranking: Metric that ranks, with its direction.
    """

    label: str
    groups: tuple[Group, ...]
    ranking: Score


def group_trials(trials: Sequence[Trial]) -> tuple[Problem, ...]:
    """Return trials in groups, and these by what they learn, in the order of the trials.

    Raises:
        UsageError: Two trials agree in all settings and in the seed.
    """
    by_problem = _by(trials, lambda trial: trial.problem)
    labels = _distinct(
        [_task_label(own[0].problem["task"]) for own in by_problem],
        [own[0].problem for own in by_problem],
    )
    return tuple(
        Problem(label, _groups(own), own[0].ranking)
        for label, own in zip(labels, by_problem, strict=True)
    )


def _groups(trials: Sequence[Trial]) -> tuple[Group, ...]:
    by_setting = _by(trials, lambda trial: trial.setting)
    labels = _distinct(
        [strategy_label(own[0].setting["strategy"]) for own in by_setting],
        [own[0].setting for own in by_setting],
    )
    return tuple(Group(label, _by_seed(own)) for label, own in zip(labels, by_setting, strict=True))


def _by(trials: Iterable[Trial], key: Any) -> list[list[Trial]]:
    """Return trials in lists of those with an equal key, which is plain data."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(json.dumps(key(trial), sort_keys=True), []).append(trial)
    return list(found.values())


def _by_seed(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    by_seed: dict[int, Trial] = {}
    for trial in trials:
        other = by_seed.setdefault(trial.seed, trial)
        if other is not trial:
            raise UsageError(
                f"DIR: {other.directory} and {trial.directory} are the same run: equal settings and "
                f"seed {trial.seed}; leave one out, or give it another seed"
            )
    return tuple(by_seed[seed] for seed in sorted(by_seed))


# --- labels ---------------------------------------------------------------------------------------


def strategy_label(strategy: Mapping[str, Any]) -> str:
    """Return the name of a strategy with its settings that are not the default.

    Args:
        strategy: Strategy of a resolved configuration: its name, and its settings.

    Example:
        >>> strategy_label({"name": "pbt", "fraction": 0.3, "burn_in": 0})
        'pbt:fraction=0.3'
    """
    name = str(strategy["name"])
    defaults = {}
    if name in STRATEGIES:
        defaults = {key.name: _plain(key.default) for key in settings(STRATEGIES[name])}
    changed = [
        f"{key}={_text(value)}"
        for key, value in strategy.items()
        if key != "name" and (key not in defaults or _plain(value) != defaults[key])
    ]
    return ":".join([name, *changed])


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _task_label(task: str) -> str:
    """Return the reference of a task without the folders of its file."""
    module, colon, name = str(task).rpartition(":")
    return f"{PurePath(module).name}{colon}{name}"


def _distinct(labels: Sequence[str], keys: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return labels, equal ones with the keys in which they differ, such as "pbt, population 8"."""
    distinct = []
    for label, own in zip(labels, keys, strict=True):
        peers = [other for name, other in zip(labels, keys, strict=True) if name == label]
        differing = [
            f"{key} {_text(own[key])}"
            for key in own
            if key not in ("strategy", "task") and any(other[key] != own[key] for other in peers)
        ]
        distinct.append(", ".join([label, *differing]))
    return distinct


def _text(value: Any) -> str:
    """Return a value in a label."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


# --- directories ----------------------------------------------------------------------------------


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Return the directories of runs that paths name: a run, or a folder of runs, up to two levels deep.

    Raises:
        UsageError: A path holds no run.
    """
    found: dict[Path, None] = {}
    for path in paths:
        # Unlike methods of `Path`, this takes a name that is too long for a path.
        if os.path.isfile(path / "journal.db"):
            found[path.absolute()] = None
            continue
        inside = _inside(path) if os.path.isdir(path) else []
        if not inside:
            raise UsageError(
                f"DIR: {str(path)[:200]} holds no run (there is no journal.db in it, or in its folders)"
            )
        found |= {file.parent.absolute(): None for file in inside}
    return list(found)


def _inside(folder: Path) -> list[Path]:
    """Return the journals in the folders of a folder."""
    return sorted(folder.glob("*/journal.db")) + sorted(folder.glob("*/*/journal.db"))
