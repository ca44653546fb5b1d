"""The population as one model: averages of the last members' weights, and their ensemble.

The last members of a population are relatives: most descend from one founder a few intervals ago. So
their weights often lie in one basin, where an average of weights is a network too. Averages after
Wortsman et al. 2022, "Model soups", arXiv 2203.05482.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.score import Score
from popgrad.runs.winner import write_description, write_weights
from popgrad.state import State
from popgrad.tasks.base import Context, ModularTask, Task, is_modular
from popgrad.tasks.evaluation import seeded


@dataclass(frozen=True)
class Candidate:
    """One model made of members, with its metrics.

    Attributes:
        name: "winner", "uniform soup", "greedy soup" or "ensemble".
        members: Members that it is made of, the best first.
        metrics: Metrics on the validation split, by name.
        score: Score on the validation split, higher is better.
        test: Metrics on the test split, by name; None = it was not read.
        state: State of the network, with all that rebuilds it; None = it is several networks.

    Example:
        >>> Candidate("greedy soup", (2, 0), {"accuracy": 0.9}, 0.9).as_data()["members"]
        [2, 0]
    """

    name: str
    members: tuple[int, ...]
    metrics: Mapping[str, float]
    score: float
    test: Mapping[str, float] | None = None
    state: State | None = field(default=None, repr=False, compare=False)

    @property
    def words(self) -> str:
        """Its name and members: "greedy soup of members 0, 2"."""
        return f"{self.name} of {_listed(self.members)}"

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data for JSON; numbers that are not finite are None."""
        return {
            "name": self.name,
            "members": list(self.members),
            "metrics": _finite(self.metrics),
            "test": None if self.test is None else _finite(self.test),
        }


@dataclass(frozen=True, kw_only=True)
class Soup:
    """The last members of a run as one model, beside the winner. Made by `Result.soup`.

    Attributes:
        winner: The best member alone.
        uniform: Average of the weights of all members of the best member's shapes.
        greedy: Average to which members were added from the best on, each if the validation score
            did not fall.
        ensemble: Mean of the outputs of all members with a finite score; None = they have no mean.
        mean: What the ensemble is the mean of: "probabilities" or "outputs".
        left_out: Reasons of the members that no average includes, by member.
        hparams: Hyperparameters of both soups, those of the best member.
        task: Task that the members were trained on.
        ranking: Metric that ranks, with its direction.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "digits", population=3, intervals=2, interval=9, directory="runs/m", executor="serial"
        ... )
        >>> soup = result.soup()
        >>> soup.greedy.score >= soup.winner.score
        True
        >>> soup.module[-1]
        Linear(in_features=64, out_features=10, bias=True)
    """

    winner: Candidate
    uniform: Candidate
    greedy: Candidate
    ensemble: Candidate | None
    mean: str
    left_out: Mapping[int, str]
    hparams: Hparams
    task: Task = field(repr=False)
    ranking: Score = field(repr=False)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The winner, both soups, and the ensemble if there is one."""
        all_four = (self.winner, self.uniform, self.greedy, self.ensemble)
        return tuple(candidate for candidate in all_four if candidate is not None)

    @property
    def chosen(self) -> Candidate:
        """The better soup on the validation split; ties: the greedy one."""
        return self.uniform if self.uniform.score > self.greedy.score else self.greedy

    @property
    def state(self) -> State:
        """State of the chosen soup; an optimizer's moments in it are those of the best member."""
        assert self.chosen.state is not None, "a soup is one network"
        return self.chosen.state

    @property
    def helps(self) -> bool:
        """Whether the chosen soup is better than the winner on the validation split."""
        return self.chosen.score > self.winner.score

    @property
    def verdict(self) -> str:
        """One sentence on whether the soup helps; with a reading of the test split, on that as well."""
        winner = self.ranking.words(self.winner.score)
        if not self.helps:
            return (
                "The soup does not help: no average of the last members is better on the validation split "
                f"than the winner alone ({winner})."
            )

        shown = self.ranking.shown(self.chosen.score)
        begin = (
            f"The {self.chosen.words} is better on the validation split: "
            f"{self.ranking.metric} {shown:.4g}, the winner's is {winner.split(' ', 1)[1]}"
        )
        gain = self._test_gain
        if gain is None:
            return f"{begin}."
        return f"{begin}; on the test split it {'helps too' if gain > 0 else 'does not help'}."

    @property
    def _test_gain(self) -> float | None:
        """Score of the chosen soup less that of the winner on the test split; None = not read."""
        if self.chosen.test is None or self.winner.test is None:
            return None
        metric = self.ranking.metric
        return self.ranking.rank(self.chosen.test[metric]) - self.ranking.rank(
            self.winner.test[metric]
        )

    @cached_property
    def module(self) -> nn.Module:
        """Network of the chosen soup on the CPU, in evaluation mode."""
        with seeded(Context()):
            return _modular(self.task).module(self.state, self.hparams)

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data for JSON, without the weights."""
        return {
            "verdict": self.verdict,
            "helps": self.helps,
            "chosen": self.chosen.name,
            "winner": self.winner.as_data(),
            "uniform": self.uniform.as_data(),
            "greedy": self.greedy.as_data(),
            "ensemble": None if self.ensemble is None else self.ensemble.as_data(),
            "ensemble_mean": self.mean,
            "left_out": {str(member): reason for member, reason in self.left_out.items()},
        }

    def save(self, path: Path, made_by: Mapping[str, Any]) -> None:
        """Write the weights of the chosen soup, and beside them a JSON for `popgrad.load_model`.

        Args:
            path: Path of the weights, ending in ".safetensors".
            made_by: Task, options, versions and ranking behind the members.
        """
        write_weights(path, self.state, self.module, self.hparams)
        description = {
            **made_by,
            "rebuild": f'popgrad.load_model("{path.name}")',
            "hparams": dict(self.hparams),
            "score": self.chosen.score,
            "metrics": dict(self.chosen.metrics),
            "soup": self.as_data(),
            "module": str(self.module),
        }
        write_description(path.with_suffix(".json"), description)


def _modular(task: Task) -> ModularTask:
    if not is_modular(task):
        raise UsageError(f"a {type(task).__name__} trains no torch module")
    return task


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _listed(members: tuple[int, ...]) -> str:
    return f"member{'s' if len(members) > 1 else ''} {', '.join(map(str, sorted(members)))}"
