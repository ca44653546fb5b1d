"""A task without a torch module: softmax regression with momentum in NumPy, on the digits data.

Run it with: python examples/plain_task.py
"""
# ruff: noqa: ARG002, D102  # the protocol documents the methods and their arguments

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits

import popgrad
from popgrad import LogUniform, OneMinus, Space

SPACE = Space({"lr": LogUniform(1e-3, 10.0), "momentum": OneMinus(0.1, 0.99)})
PIXELS, CLASSES = load_digits(return_X_y=True)
ROWS = np.random.default_rng(0).permutation(len(PIXELS))
SPLITS = {"train": ROWS[:1200], "validation": ROWS[1200:1500], "test": ROWS[1500:]}


@dataclass(frozen=True)
class SoftmaxRegression:
    """A task by the protocol: a space, a score and three methods. The state is plain data."""

    batch_size: int = 50
    space: Space = SPACE
    score: str = "accuracy"

    def init(self, hparams, ctx):
        return {"weights": np.zeros((64, 10)), "velocity": np.zeros((64, 10))}

    def train(self, state, hparams, steps, ctx):
        weights = state["weights"]
        velocity = state["velocity"]
        # Seeded for this segment: a generator that is kept would depend on what trained before.
        rng = np.random.default_rng(ctx.seed("batches"))

        for _ in range(steps):
            rows = rng.choice(SPLITS["train"], self.batch_size)
            x = PIXELS[rows] / 16
            targets = np.eye(10)[CLASSES[rows]]
            gradient = x.T @ (softmax(x @ weights, axis=1) - targets) / len(x)
            velocity = hparams["momentum"] * velocity + gradient
            weights = weights - hparams["lr"] * velocity
        return {"weights": weights, "velocity": velocity}

    def evaluate(self, state, hparams, split, ctx):
        rows = SPLITS[split]
        hits = (PIXELS[rows] @ state["weights"]).argmax(1) == CLASSES[rows]
        return {"accuracy": float(hits.mean())}


if __name__ == "__main__":
    # The task counts no epochs, so an interval is a number of steps.
    task = SoftmaxRegression()
    result = popgrad.run(task, population=8, intervals=8, interval=24, executor="serial")
    print(f"validation accuracy {result.winner.score:.4f}, test {result.test()['accuracy']:.4f}")
    print(f"ended with {dict(result.winner.hparams)}")
