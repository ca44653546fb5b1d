"""Members that break: by exception, for want of memory, with their process, by a score that is no number."""

import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from popgrad import Context, LogUniform, Space
from popgrad.state import State

SHORT = 1 << 26  # bytes that are still to be had
LARGE = 1 << 28  # bytes that are asked for


def raises() -> None:
    raise OSError("the disk is away")


def exits() -> None:
    raise SystemExit("enough")


def is_killed() -> None:
    """As by the kernel, when the machine is short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def lacks_memory_for_tensors() -> None:
    with _little_memory():
        torch.ones(LARGE, dtype=torch.uint8)


def lacks_memory_for_arrays() -> None:
    with _little_memory():
        np.ones(LARGE, np.uint8)


@contextmanager
def _little_memory() -> Iterator[None]:
    """This process may take little more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SHORT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


BREAKS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (raises, exits, is_killed, lacks_memory_for_tensors, lacks_memory_for_arrays)
}


@dataclass(frozen=True)
class Mortal:
    """Breaks where it is told to, half-way through a segment; draws before and after that.

    Attributes:
        folder: Where attempts are counted: a file for each segment, with a byte for each attempt.
        breaks: (member, interval) -> one of `BREAKS`, or a score.
        times: How many attempts at each of these break.
        cause: Nothing breaks once this file in the folder is gone; "" = there is no such file.
    """

    folder: str
    breaks: Mapping[tuple[int, int], str] = field(default_factory=dict)
    times: int = 99
    cause: str = ""
    space: Space = Space({"lr": LogUniform(1e-3, 1.0)})  # noqa: RUF009
    score: str = "sum"

    def init(self, hparams: Any, ctx: Context) -> State:
        return {"x": torch.rand(3)}

    def train(self, state: State, hparams: Any, steps: int, ctx: Context) -> State:
        state["x"] += hparams["lr"] * torch.rand(3)
        how = self._broken(ctx)
        if how and self._attempt(ctx) <= self.times and how in BREAKS:
            BREAKS[how]()
        state["x"] += torch.rand(3)
        return state

    def evaluate(self, state: State, hparams: Any, split: Any, ctx: Context) -> dict[str, float]:
        how = self._broken(ctx)
        return {"sum": float(how) if how and how not in BREAKS else float(state["x"].sum())}

    def _broken(self, ctx: Context) -> str | None:
        gone = self.cause and not (Path(self.folder) / self.cause).exists()
        return None if gone else self.breaks.get((ctx.member, ctx.interval))

    def _attempt(self, ctx: Context) -> int:
        with (Path(self.folder) / f"{ctx.member} {ctx.interval}").open("ab") as file:
            file.write(b".")
        return attempts(self.folder, (ctx.member, ctx.interval))


def attempts(folder: str | Path, segment: tuple[int, int]) -> int:
    """How often a segment that is to break was trained."""
    return (Path(folder) / f"{segment[0]} {segment[1]}").stat().st_size
