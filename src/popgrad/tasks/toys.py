"""Toys with known answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from popgrad.core.plan import Transform
from popgrad.core.population import Hparams
from popgrad.core.space import Space, Uniform
from popgrad.state import State
from popgrad.tasks.base import Context, Split


@dataclass(frozen=True)
class Quadratic:
    """Toy of Jaderberg et al. 2017, figure 2: maximise a quadratic through a surrogate.

    The score is Q = 1.2 - (a^2 + b^2), at most 1.2; a step ascends the surrogate
    1.2 - (h0 a^2 + h1 b^2), so that no constant h of the two workers (1, 0) and (0, 1) reaches more
    than 1.2 - 0.81 = 0.39 from the start (0.9, 0.9).

    Attributes:
        lr: Step size of the ascent; 0.01 as in re-implementations of the figure.
        space: Space of the weights h0 and h1 of the surrogate.
        score: Name of the metric that ranks, Q.

    Example:
        >>> task, ctx, hparams = Quadratic(), Context(), {"h0": 1.0, "h1": 1.0}
        >>> state = task.train(task.init(hparams, ctx), hparams, 200, ctx)
        >>> round(task.evaluate(state, hparams, "validation", ctx)["q"], 2)
        1.2
    """

    lr: float = 0.01
    space: Space = field(default=Space({"h0": Uniform(0.0, 1.0), "h1": Uniform(0.0, 1.0)}))
    score: str = "q"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the start of every member, (0.9, 0.9)."""
        del hparams, ctx
        return {"theta": [0.9, 0.9]}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Ascend the gradient of the surrogate by `steps` steps."""
        del ctx
        a, b = state["theta"]
        h0 = float(hparams["h0"])
        h1 = float(hparams["h1"])
        for _ in range(steps):
            a, b = a - self.lr * 2.0 * h0 * a, b - self.lr * 2.0 * h1 * b
        return {"theta": [a, b]}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Return Q, which is equal on every split."""
        del hparams, split, ctx
        a, b = state["theta"]
        return {"q": 1.2 - (a * a + b * b)}

    def transform(self, state: State, fresh: State, transform: Transform) -> State:
        """Shrink both coordinates, and add a share of the start."""
        keep = transform.settings["keep"]
        noise = transform.settings["noise"]
        pairs = zip(state["theta"], fresh["theta"], strict=True)
        return {"theta": [keep * inherited + noise * start for inherited, start in pairs]}

    def network_bytes(self, hparams: Hparams) -> int:
        """Return 0: there is no network."""
        del hparams
        return 0
