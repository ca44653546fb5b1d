"""Trials without runs, for tests of comparisons."""

from pathlib import Path
from typing import Any

import numpy as np

from popgrad.comparison.trial import Trial
from popgrad.core.score import Score


def trial(
    strategy: str = "pbt",
    seed: int = 0,
    winner: float = 0.9,
    *,
    task: str = "digits",
    score: str = "accuracy",
    **changes: Any,
) -> Trial:
    """A finished trial of 8 members; `setting` and `problem` are merged over the defaults."""
    setting = {"strategy": {"name": strategy}, "population": 8, "intervals": 5}
    problem = {"task": task, "options": {}, "score": score}
    values: dict[str, Any] = {
        "directory": Path(f"/runs/{task}/{strategy}/{seed}"),
        "seed": seed,
        "problem": problem | changes.pop("problem", {}),
        "setting": setting | changes.pop("setting", {}),
        "ranking": Score.parse(score),
        "finished": True,
        "winner": winner,
        "median": winner - 0.1,
        "test": np.nan,
        "steps": 400,
        "seconds": 2.0,
        "curve": np.array([[200.0, winner - 0.2, winner - 0.4], [400.0, winner, winner - 0.1]]),
    }
    return Trial(**values | changes)


def trials(strategy: str, winners: list[float], **changes: Any) -> list[Trial]:
    """A trial for each score, with seeds from 0."""
    return [trial(strategy, seed, score, **changes) for seed, score in enumerate(winners)]
