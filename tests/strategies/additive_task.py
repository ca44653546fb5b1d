"""A population whose scores add up: each segment gains what its hyperparameters are worth at its round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from popgrad.core.history import History
from popgrad.core.population import Budget, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Space
from popgrad.strategies import Strategy

Gain = Callable[[int, Mapping[str, Any], np.random.Generator], float]


def history_of(space: Space, rows: list[dict[str, Any]]) -> History:
    """The history of rows with `member`, `interval`, `score`, `start`, `first`, `last` and `hparams`."""

    def column(name: str) -> Any:
        return np.array([row[name] for row in rows])

    return History(
        names=tuple(space),
        members=column("member"),
        intervals=column("interval"),
        scores=column("score"),
        starts=column("start"),
        parents=np.full(len(rows), -1),
        first_steps=column("first"),
        steps=column("last"),
        hparams=np.array([space.encode(row["hparams"]) for row in rows]),
    )


@dataclass
class Additive:
    """Synchronous runs of a strategy, without an engine.

    Attributes:
        gains: [rounds][N] gain of each segment.
        hparams: [rounds][N] its hyperparameters.
    """

    space: Space
    strategy: Strategy
    gain: Gain
    size: int = 4
    rounds: int = 40
    gains: list[Any] = field(default_factory=list)
    hparams: list[Any] = field(default_factory=list)

    def run(self, seed: int) -> "Additive":
        rng = np.random.default_rng(seed + 1000)
        present = [self.space.sample(rng) for _ in range(self.size)]
        starts = np.zeros(self.size)
        memory = self.strategy.init()
        rows: list[dict[str, Any]] = []
        for t in range(self.rounds):
            gained = np.array([self.gain(t, each, rng) for each in present])
            scores = starts + gained
            for member, hparams in enumerate(present):
                rows.append(
                    {"member": member, "interval": t, "hparams": hparams, "first": 10 * t}
                    | {"last": 10 * t + 10, "start": starts[member], "score": scores[member]}
                )
            self.gains.append(gained)
            self.hparams.append(present)

            past = history_of(self.space, rows)
            population = Population(
                scores=scores,
                intervals=np.full(self.size, t + 1),
                steps=np.full(self.size, 10 * t + 10),
                hparams=present,
                budget=Budget(self.size * self.rounds, self.size * (t + 1)),
                past=lambda past=past: past,
            )
            plan, memory = self.strategy.step(Rng(seed), population, np.arange(self.size), memory)
            present = list(plan.hparams)
            starts = scores[list(plan.sources)]
        return self
