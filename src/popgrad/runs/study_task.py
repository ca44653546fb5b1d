"""The task of a study: a space and a score. Its members are trained by the callers of the study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.space import Space
from popgrad.state import State
from popgrad.tasks.base import Context, Split


@dataclass(frozen=True)
class StudyTask:
    """A task without code, in the place of one that an engine and a result have in a run.

    Attributes:
        space: Hyperparameters that are searched.
        score: Metric that ranks, as `Score.parse` reads it.

    Example:
        >>> from popgrad import Context, Space
        >>> StudyTask(Space({}), "-loss").init({}, Context())
        Traceback (most recent call last):
            ...
        popgrad.core.errors.UsageError: init: a study has no task; its callers train and evaluate
    """

    space: Space
    score: str

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Raise `UsageError`: the caller makes a fresh member."""
        del hparams, ctx
        _refuse("init")

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Raise `UsageError`: the caller trains."""
        del state, hparams, steps, ctx
        _refuse("train")

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Raise `UsageError`: the caller evaluates."""
        del state, hparams, split, ctx
        _refuse("evaluate")


def _refuse(method: str) -> NoReturn:
    raise UsageError(f"{method}: a study has no task; its callers train and evaluate")
