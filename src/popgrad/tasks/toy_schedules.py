"""Toys whose best hyperparameter is a schedule: what a strategy finds, in a second instead of a day."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from popgrad.core.plan import Transform
from popgrad.core.population import Hparams
from popgrad.core.seeding import Rng
from popgrad.core.space import Space, Uniform
from popgrad.state import State
from popgrad.tasks.base import Context, Split

THETA = 0.9
"""Weight that every member of the first two toys starts with."""
HEIGHT = 1.2
"""Score at the weight 0, the highest of the first two toys."""
RATE = 0.002
"""Decay of the weight in a step, for each unit of the toys' rate."""
BLOCK = 20
"""Steps of a block of the time-linked toy."""
BLOCKS = 50
"""Blocks over which the best value of the time-linked toy falls from 1 to 0."""
PENALTY = 0.2
"""Loss of rate for each unit by which the values of all blocks so far are off."""


@dataclass(frozen=True)
class ToyPlain:
    """Toy in which greed is right: the lower h is, and the sooner, the better.

    The score is 1.2 - theta^2; a step multiplies theta by 1 - 0.002 (2 - h). From theta = 0.9,
    1,000 steps of h = 0 reach 1.19973, of h = 1 only 1.18522. Chebykin, Alderliesten, Bosman 2025
    ("To Be Greedy, or Not to Be", TMLR), section 5.2, with intervals of 20 steps.

    Attributes:
        space: Space of h, up to 1.1; members start in [0.9, 1.1], as published.
        score: Name of the metric that ranks.

    Example:
        >>> task, ctx, hparams = ToyPlain(), Context(), {"h": 1.0}
        >>> state = task.train(task.init(hparams, ctx), hparams, 1000, ctx)
        >>> round(task.evaluate(state, hparams, "validation", ctx)["q"], 5)
        1.18522
    """

    space: Space = field(default=Space({"h": Uniform(1e-4, 1.1, start=(0.9, 1.1))}))
    score: str = "q"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the start of every member, theta = 0.9."""
        del hparams, ctx
        return {"theta": THETA}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Take `steps` steps."""
        del ctx
        return {"theta": _decay(state["theta"], 2.0 - float(hparams["h"]), steps)}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Return the score, which is equal on every split."""
        del hparams, split, ctx
        return {"q": HEIGHT - state["theta"] ** 2}

    def transform(self, state: State, fresh: State, transform: Transform) -> State:
        """Shrink the weight, and add a share of the first one."""
        return {**state, "theta": _shrunk(state["theta"], fresh["theta"], transform)}

    def network_bytes(self, hparams: Hparams) -> int:
        """Return 0: there is no network."""
        del hparams
        return 0


@dataclass(frozen=True)
class ToyTimeLinked:
    """Toy in which greed is punished: a low h helps at once, and costs for the rest of the run.

    As `ToyPlain`, but the rate is max(2 - h - 0.2 sum_i |h_i - (1 - i / 50)|, 0), where h_i is the
    value in block i of 20 steps, up to the present one. So h should fall from 1 to 0 over 1,000
    steps, which reaches 1.19793; the best constant reaches 1.0970, h = 0 from the start 0.827.
    Published as the deceptive toy in Chebykin, Alderliesten, Bosman 2025, section 5.2.

    The history of h is part of the state, so that an heir inherits its donor's. Blocks have 20 steps
    however long an interval is, since the penalty is a sum over blocks; if h changes within a block,
    its last value counts. Intervals are best a multiple of 20 steps.

    Attributes:
        space: Space of h, up to 1.1; members start in [0.9, 1.1], as published.
        score: Name of the metric that ranks.

    Example:
        >>> task, ctx = ToyTimeLinked(), Context()
        >>> state = task.init({"h": 1.0}, ctx)
        >>> for block in range(50):
        ...     state = task.train(state, {"h": 1.0 - block / 50}, 20, ctx)
        >>> round(task.evaluate(state, {"h": 0.02}, "validation", ctx)["q"], 5)
        1.19793
    """

    space: Space = field(default=Space({"h": Uniform(1e-4, 1.1, start=(0.9, 1.1))}))
    score: str = "q"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the start of every member, theta = 0.9 without a history."""
        del hparams, ctx
        return {"theta": THETA, "steps": 0, "history": []}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Take `steps` steps; the value of h enters the history of each block that they touch."""
        del ctx
        h = float(hparams["h"])
        theta = state["theta"]
        end = state["steps"] + steps

        # The block that is under way gets its value again, with its later steps.
        history = state["history"][: state["steps"] // BLOCK]
        deviation = sum(abs(value - _target(block)) for block, value in enumerate(history))
        step = state["steps"]
        while step < end:
            deviation += abs(h - _target(len(history)))
            history.append(h)
            last = min(len(history) * BLOCK, end)
            theta = _decay(theta, max(2.0 - h - PENALTY * deviation, 0.0), last - step)
            step = last
        return {"theta": theta, "steps": step, "history": history}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Return the score, which is equal on every split."""
        del hparams, split, ctx
        return {"q": HEIGHT - state["theta"] ** 2}

    def transform(self, state: State, fresh: State, transform: Transform) -> State:
        """Shrink the weight, and add a share of the first one; the history stays."""
        return {**state, "theta": _shrunk(state["theta"], fresh["theta"], transform)}

    def network_bytes(self, hparams: Hparams) -> int:
        """Return 0: there is no network."""
        del hparams
        return 0


@dataclass(frozen=True)
class ToyDrifting:
    """Toy whose best value drifts: a reward 1 - 4 (x - c)^2 for each step, c = 0.5 + 0.4 sin(2 pi t / 40).

    The score is the sum of the rewards, at most the number of steps t. A strategy that models how
    the score changes, such as PB2 (Parker-Holder et al. 2020, arXiv 2002.02518), can follow c. The
    published theory bounds its regret; this toy measures it. Made for intervals of one step.

    Attributes:
        space: Space of x.
        score: Name of the metric that ranks. Metric "regret" is the part of the last step's reward
            that was missed, 4 (x - c)^2.

    Example:
        >>> task, ctx, hparams = ToyDrifting(), Context(), {"x": 0.5}
        >>> state = task.train(task.init(hparams, ctx), hparams, 11, ctx)
        >>> round(task.evaluate(state, hparams, "validation", ctx)["regret"], 2)
        0.64
    """

    space: Space = field(default=Space({"x": Uniform(0.0, 1.0)}))
    score: str = "reward"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the start of every member, without a reward."""
        del hparams, ctx
        return {"steps": 0, "reward": 0.0, "regret": 0.0}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Collect the rewards of `steps` steps."""
        del ctx
        x = float(hparams["x"])
        reward = state["reward"]
        regret = state["regret"]
        end = state["steps"] + steps

        for step in range(state["steps"], end):
            center = 0.5 + 0.4 * math.sin(2.0 * math.pi * step / 40.0)
            regret = 4.0 * (x - center) ** 2
            reward += 1.0 - regret
        return {"steps": end, "reward": reward, "regret": regret}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Return the score and the last step's regret, which are equal on every split."""
        del hparams, split, ctx
        return {"reward": state["reward"], "regret": state["regret"]}

    def transform(self, state: State, fresh: State, transform: Transform) -> State:
        """Return the inherited state: there is no weight to change."""
        del fresh, transform
        return state

    def network_bytes(self, hparams: Hparams) -> int:
        """Return 0: there is no network."""
        del hparams
        return 0


@dataclass(frozen=True)
class ToyTriangle:
    """Toy of Ray Tune's PBT example: the best learning rate rises, then falls, as the score grows.

    The best rate is the score / 10,000 up to a score of 100, and falls back to 0.001 from there; it
    is at least 0.001. A step adds up to 1 / q, q being the ratio of the two rates; nothing if q is 3
    or more, and it costs up to q - 3 if the rate is too high. Noise of standard deviation 2 is
    added. Scores are not below 0. No constant rate leads far.

    In that example 8 members start at a rate of 0.0001, with intervals of 20 steps here.

    Attributes:
        space: Space of the learning rate.
        score: Name of the metric that ranks. Metric "ratio" is q in the last step, at least 1.

    Example:
        >>> task, ctx, hparams = ToyTriangle(), Context(), {"lr": 0.001}
        >>> state = task.train(task.init(hparams, ctx), hparams, 20, ctx)
        >>> task.evaluate(state, hparams, "validation", ctx)["accuracy"] > 0
        True
    """

    space: Space = field(default=Space({"lr": Uniform(1e-4, 0.02)}))
    score: str = "accuracy"

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the start of every member, an accuracy of 0."""
        del hparams, ctx
        return {"steps": 0, "accuracy": 0.0, "ratio": 1.0}

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Take `steps` steps."""
        lr = float(hparams["lr"])
        accuracy = state["accuracy"]
        ratio = state["ratio"]
        end = state["steps"] + steps

        # Draws belong to steps, not to segments: two intervals are one of their length.
        gains, noises = _draws(ctx, state["steps"], end)
        for gain, noise in zip(gains, noises, strict=True):
            best = min(0.01, max(0.001, 0.01 - 0.0001 * abs(accuracy - 100.0)))
            ratio = max(lr, best) / min(lr, best)
            if ratio < 3.0:
                accuracy += gain / ratio
            elif lr > best:
                accuracy -= gain * (ratio - 3.0)
            accuracy = max(0.0, accuracy + noise)
        return {"steps": end, "accuracy": accuracy, "ratio": ratio}

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Return the score and the last ratio, which are equal on every split."""
        del hparams, split, ctx
        return {"accuracy": state["accuracy"], "ratio": state["ratio"]}

    def transform(self, state: State, fresh: State, transform: Transform) -> State:
        """Return the inherited state: there is no weight to change."""
        del fresh, transform
        return state

    def network_bytes(self, hparams: Hparams) -> int:
        """Return 0: there is no network."""
        del hparams
        return 0


def _decay(theta: float, rate: float, steps: int) -> float:
    """Return a weight after `steps` steps of a rate."""
    factor = 1.0 - RATE * rate
    # A product step by step, for a power would round otherwise: two intervals are one of their length.
    for _ in range(steps):
        theta *= factor
    return theta


def _shrunk(inherited: float, fresh: float, transform: Transform) -> float:
    """Return an inherited weight after "shrink-perturb"."""
    return transform.settings["keep"] * inherited + transform.settings["noise"] * fresh


def _target(block: int) -> float:
    """Return the best value in a block of the time-linked toy."""
    return 1.0 - block / BLOCKS


def _draws(ctx: Context, first: int, end: int) -> tuple[list[float], list[float]]:
    """Return the gain in [0, 1) and the normal noise, of standard deviation 2, of each step."""
    rng = Rng(ctx.run_seed)
    numbers = np.arange(3 * first, 3 * end)
    uniform = rng.uniform("task: toy-triangle", np.full(len(numbers), ctx.member), numbers)
    gains, radii, angles = uniform.reshape(-1, 3).T
    # Box and Muller 1958; 1 - u is above 0.
    noises = 2.0 * np.sqrt(-2.0 * np.log1p(-radii)) * np.cos(2.0 * np.pi * angles)
    return gains.tolist(), noises.tolist()
