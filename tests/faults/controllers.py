"""Controllers of runs that tests start and kill: processes of their own, with workers of their own."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from torch import nn

import popgrad
from faults import moments
from faults.moments import Moment, Trace
from popgrad import Context, LogUniform, Space, Uniform
from popgrad.state import State
from popgrad.strategies.base import Strategy
from popgrad.strategies.pbt import pbt
from seam import scripted

# Forked from a process that has imported popgrad, computed nothing and started no thread: no import is waited
# for, and a fork of this process, which may have had threads, is never computed in.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["popgrad.runs.api", "popgrad.reports.figures"])

RUN: dict[str, Any] = {"population": 3, "intervals": 4, "interval": 3}
GONE = 10.0  # seconds in which a worker has to notice that its controller is gone; it takes milliseconds


@dataclass(frozen=True)
class Traced:
    """A linear model with momentum that tells of its training: before each step, and after the last.

    No optimizer of torch: importing those takes a worker as long as all else that it does here.
    """

    space: Space = Space({"lr": LogUniform(1e-3, 1e-1), "decay": Uniform(0.0, 0.1)})  # noqa: RUF009
    score: str = "-loss"

    def init(self, hparams: Any, ctx: Context) -> State:
        shapes = {"weight": (7, 33), "bias": (7,)}
        return {
            "model": {name: torch.randn(shape) for name, shape in shapes.items()},
            "moments": {name: torch.zeros(shape) for name, shape in shapes.items()},
            "position": 0,
        }

    def train(self, state: State, hparams: Any, steps: int, ctx: Context) -> State:
        with moments.phase("training") as entry:
            for step in range(steps):
                entry.reached(step, steps)
                self._step(state, hparams)
            entry.reached(steps, steps)
        return state

    def _step(self, state: State, hparams: Any) -> None:
        inputs = torch.randn(5, 33)
        error = self.module(state, hparams)(inputs) - inputs[:, :7].tanh()
        for name, gradient in (("weight", error.T @ inputs), ("bias", error.sum(0))):
            value, moment = state["model"][name], state["moments"][name]
            moment.mul_(0.9).add_(gradient.detach() + hparams["decay"] * value)
            value.sub_(hparams["lr"] * moment)
        state["position"] += len(inputs)

    def evaluate(self, state: State, hparams: Any, split: Any, ctx: Context) -> dict[str, float]:
        inputs = torch.linspace(-1.0, 1.0, 11 * 33).reshape(11, 33)
        with torch.no_grad():
            return {
                "loss": float(
                    (self.module(state, hparams)(inputs) - inputs[:, :7].tanh()).square().mean()
                )
            }

    def module(self, state: State, hparams: Any) -> nn.Module:
        made = nn.Linear(33, 7, device="meta")
        made.load_state_dict(
            {name: value.clone() for name, value in state["model"].items()}, assign=True
        )
        return made


def strategy(*, parts: bool = False) -> Strategy:
    """Population Based Training, or one that uses every part of a plan, that tells when it decides."""
    space = Traced().space
    return moments.deciding(scripted(space) if parts else pbt(space, fraction=0.34))


@dataclass(frozen=True)
class Session:
    """What a controller is to do.

    Attributes:
        executor: Which.
        workers: How many, where it has some.
        every: Intervals between two checkpoints of a member.
        outputs: Whether tables and figures are written.
        population: Members that it goes on with, where a run is there already; None = as many.
        parts: Whether its strategy uses every part of a plan: rests, lengths, transforms, an archive.
    """

    executor: str = "serial"
    workers: int = 1
    every: int = 1
    outputs: bool = False
    population: int | None = None
    parts: bool = False


def go_on(directory: Path, session: Session) -> popgrad.Result:
    """What one does who finds the directory: go on with the run, or start it where there is none."""
    given: dict[str, Any] = {
        "task": Traced(),
        "strategy": strategy(parts=session.parts),
        "executor": session.executor,
        "workers": session.workers,
        "on_segment": lambda segment: moments.tell("segment"),
    }
    moments.tell("go on")
    if (directory / "journal.db").exists():
        return popgrad.resume(directory, population=session.population, **given)
    return popgrad.run(
        directory=directory, checkpoint_every=session.every, outputs=session.outputs, **given, **RUN
    )


def _main(directory: Path, session: Session, trace: Trace, moment: Moment | None) -> None:
    os.setsid()
    torch.set_num_threads(1)
    fd = os.open(trace.folder / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    sys.stdout = sys.stderr = open(fd, "w", buffering=1)  # noqa: SIM115  # until this process ends
    moments.order(trace.folder, moment)
    try:
        go_on(directory, session)
    except KeyboardInterrupt:
        sys.exit(130)


@dataclass(frozen=True)
class Controller:
    """A controller at work.

    Attributes:
        trace: What it and its workers tell.
        process: It.
    """

    trace: Trace
    process: ForkServerProcess

    @classmethod
    def start(
        cls, directory: Path, session: Session, folder: Path, moment: Moment | None
    ) -> "Controller":
        """Start or resume the run in a directory; `folder` is a new one for the trace."""
        folder.mkdir(parents=True)
        process = _CONTEXT.Process(target=_main, args=(directory, session, Trace(folder), moment))
        process.start()
        return cls(Trace(folder), process)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def workers(self) -> list[int]:
        """The processes that it has started and that are there."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return [
                int(pid)
                for task in Path(f"/proc/{self.pid}/task").iterdir()
                for pid in (task / "children").read_text().split()
            ]
        return []

    def wait_for(self, holds: Callable[[], bool], seconds: float = 100.0) -> bool:
        """Wait until something holds; returns whether it does, or the controller has ended before."""
        return eventually(lambda: holds() or not self.process.is_alive(), seconds) and holds()

    def kill(self, everything: bool) -> set[int]:
        """Kill it alone, or it and all its workers at once; returns the workers that there have been."""
        workers = self.workers()
        groups = [self.pid, *(workers if everything else ())]
        for group in groups:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(group, signal.SIGKILL)
        self.process.join(GONE)
        traced = {event["pid"] for event in self.trace.events()}
        return {*workers, *traced} - {self.pid}

    def finish(self, seconds: float = 100.0) -> int | None:
        """Wait for its end; returns its exit code."""
        self.process.join(seconds)
        return self.process.exitcode

    def said(self) -> str:
        """What it and its workers have printed."""
        return (self.trace.folder / "said").read_text()


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie that its parent has yet to ask after."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(holds: Callable[[], bool], seconds: float = GONE) -> bool:
    """Whether something holds before the time is over."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.003)
    return True


def shared_memory() -> set[str]:
    """What lies in /dev/shm, but for what other tests have put there by `tempfile`."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("tmp")}
