"""Tasks for the tests of runs: small ones that tell what they were given, fail on purpose, have odd shapes.

They lie in a module of their own, so that worker processes can import them.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

import popgrad
from popgrad import Choice, Context, Integer, LogUniform, Segment, Space, Splits, TorchTask, Uniform
from popgrad.core.plan import Decision
from popgrad.state import digest
from popgrad.store.journal import Journal


def time_with(**functions: Callable[..., object]) -> SimpleNamespace:
    """Return the module `time` with other functions, for one module under test.

    Were the module itself changed, then an event loop in a thread would wait by the wrong clock, for ever.
    """
    return SimpleNamespace(**{**vars(time), **functions})


SPACE = Space({"lr": LogUniform(1e-3, 1.0), "mix": Uniform(0.0, 1.0), "width": Integer(1, 8, init_only=True),
               "kind": Choice(("a", "b", "c"))})  # fmt: skip


CLIMB = """
import popgrad

class Climb:
    space = popgrad.Space({"lr": popgrad.LogUniform(1e-3, 1.0)})
    score = "q"

    def init(self, hparams, ctx):
        return {"x": 0.0}

    def train(self, state, hparams, steps, ctx):
        return {"x": state["x"] + hparams["lr"] * steps}

    def evaluate(self, state, hparams, split, ctx):
        return {"q": state["x"]}
"""
"""A task in a file of its own, as a user writes it."""


def fingerprint(state: Any) -> float:
    """A state's digest as a number that a float holds exactly."""
    return shortened(digest(state))


def shortened(of_state: str) -> float:
    return float(int(of_state[:12], 16))


@dataclass(frozen=True)
class Spy:
    """Its state and metrics hold what it was given; it draws from every global generator.

    Attributes:
        broken: (member, interval) -> "nan", "inf", "-inf" or "raise": how that segment fails.
    """

    broken: Mapping[tuple[int, int], str] = field(default_factory=dict)
    space: Space = SPACE
    score: str = "q"

    def init(self, hparams: Any, ctx: Context) -> dict[str, Any]:
        return {"x": torch.rand(3), "seen": [], "at_start": 0.0}

    def train(
        self, state: dict[str, Any], hparams: Any, steps: int, ctx: Context
    ) -> dict[str, Any]:
        at_start = fingerprint(state)
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002
        x = state["x"] + hparams["lr"] * steps * torch.tensor(drawn)
        seen = [*state["seen"], [ctx.member, ctx.interval, ctx.first_step, steps, dict(hparams)]]
        if self.broken.get((ctx.member, ctx.interval)) == "raise":
            raise ZeroDivisionError(
                f"broken on purpose: member {ctx.member}, interval {ctx.interval}"
            )
        ctx.log(ctx.first_step + steps, loss=float(x.sum()))
        return {"x": x, "seen": seen, "at_start": at_start}

    def evaluate(
        self, state: dict[str, Any], hparams: Any, split: str, ctx: Context
    ) -> dict[str, float]:
        if split != "validation":
            raise PermissionError(f"the {split} split was read")
        seen = state["seen"][-1]
        how = self.broken.get((ctx.member, ctx.interval))
        return {
            "q": float(how) if how in ("nan", "inf", "-inf") else float(state["x"].sum()),
            "at_start": state["at_start"],
            "end": fingerprint(state),
            "steps": float(sum(steps for *_, steps, _ in state["seen"])),
            "first_step": float(seen[2]),
            "lr": seen[4]["lr"],
            "mix": seen[4]["mix"],
            "width": float(seen[4]["width"]),
            "kind": float("abc".index(seen[4]["kind"])),
        }


class Plain:
    """A task that is no dataclass, and counts no epochs."""

    space = Space({"lr": LogUniform(1e-3, 1.0)})
    score = "q"

    def init(self, hparams: Any, ctx: Context) -> dict[str, Any]:
        return {"x": 0.0}

    def train(
        self, state: dict[str, Any], hparams: Any, steps: int, ctx: Context
    ) -> dict[str, Any]:
        return {"x": state["x"] + hparams["lr"] * steps}

    def evaluate(
        self, state: dict[str, Any], hparams: Any, split: str, ctx: Context
    ) -> dict[str, float]:
        return {"q": state["x"]}


def _odd_model(hparams: Any) -> nn.Module:
    return nn.Sequential(
        nn.Linear(33, 7), nn.Tanh(), popgrad.nn.Dropout(0.0, hparam="dropout"), nn.Linear(7, 3)
    )


def _odd_data() -> Splits:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(97 + 41 + 23, 33, generator=generator)
    y = (x[:, :3] + 0.3 * torch.randn(len(x), 3, generator=generator)).argmax(1)
    parts = [
        (x[rows].clone(), y[rows].clone()) for rows in torch.arange(len(x)).split([97, 41, 23])
    ]
    return Splits(*parts)


def odd() -> TorchTask:
    """A network with 33 features, trained in batches of 1 and 32: the shapes in which kernels differ."""
    return TorchTask(
        space=Space(
            {
                "lr": LogUniform(1e-3, 1e-1),
                "dropout": Uniform(0.0, 0.5),
                "batch_size": Choice((1, 32)),
            }
        ),
        model=_odd_model,
        optimizer=lambda module, hparams: torch.optim.SGD(
            module.parameters(), lr=0.1, momentum=0.9
        ),
        data=_odd_data,
    )


def record(directory: Path | str) -> tuple[str, str]:
    """Segments and decisions of a run, as text: exact, and nan equals nan in it."""
    segments, decisions = read(directory)
    return repr(segments), repr(decisions)


def read(directory: Path | str) -> tuple[list[Segment], list[Decision]]:
    journal = Journal(Path(directory) / "journal.db", readonly=True)
    try:
        return journal.segments(), journal.decisions()
    finally:
        journal.close()
