"""Callers of a study that tests start and kill: processes of their own, which train a built-in task."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from popgrad import Study
from popgrad.store.checkpoints import Checkpoints
from popgrad.store.journal import Journal
from popgrad.store.leases import FileLeases
from popgrad.tasks import Quadratic

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["popgrad.runs.study", "popgrad.tasks"])

KEYS: dict[str, Any] = {"population": 4, "intervals": 4, "interval": 10, "seed": 7}
TASK = Quadratic()

# Moments of a caller at which it is killed: (class, method, whether after it).
MOMENTS: dict[str, tuple[type, str, bool]] = {
    "before a claim": (FileLeases, "claim", False),
    "after a claim": (FileLeases, "claim", True),
    "before a checkpoint": (Checkpoints, "write", False),
    "after a checkpoint": (Checkpoints, "write", True),
    "before a segment is recorded": (Journal, "append_segments", False),
    "after a segment is recorded": (Journal, "append_segments", True),
    "before a decision": (Journal, "append_decision", False),
    "after a decision": (Journal, "append_decision", True),
    "before offers are published": (FileLeases, "publish", False),
    "while offers are published": (FileLeases, "_write", True),
    "after offers are published": (FileLeases, "publish", True),
    "before states are dropped": (Checkpoints, "retain", False),
    "after states are dropped": (Checkpoints, "retain", True),
    "before the end is recorded": (Journal, "set_about", False),
}


def train(study: Study, *, most: int | None = None) -> int:
    """Train what is asked for, as the executor serial does; return the number of segments."""
    count = 0
    while count != most and (assignment := study.ask()):
        ctx = assignment.context()
        state = assignment.source
        if state is None:
            state = TASK.init(assignment.hparams, ctx)
        state = TASK.train(state, assignment.hparams, assignment.steps, ctx)
        metrics = TASK.evaluate(state, assignment.hparams, "validation", ctx)
        study.tell(assignment, metrics, state=state)
        count += 1
    return count


def kill_at(moment: str, number: int) -> None:
    """Have this process kill itself at a moment, the so-many-th time that it comes."""
    owner, name, after = MOMENTS[moment]
    method = getattr(owner, name)
    calls = 0

    def killing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*args, **kwargs)
        if calls == number and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killing)


def _killed(directory: Path, moment: str, number: int) -> None:
    kill_at(moment, number)
    train(Study.open(directory))


def _whole(directory: Path) -> None:
    """Create the study, or open it, and train until it has ended; others may do so too."""
    with Study(TASK.space, score=TASK.score, directory=directory, outputs=False, **KEYS) as study:
        end = time.monotonic() + 60
        while not study.finished and time.monotonic() < end:
            train(study)


def start(function: Callable[..., None], *args: Any) -> Any:
    process = _CONTEXT.Process(target=function, args=args)
    process.start()
    return process


def kill_a_caller(directory: Path, moment: str, number: int) -> bool:
    """Let a caller train until it is killed; return whether it was."""
    process = start(_killed, directory, moment, number)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return bool(process.exitcode)


def work_together(directory: Path, callers: int) -> None:
    """Let several callers create the study and train it to its end."""
    processes = [start(_whole, directory) for _ in range(callers)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * callers


def expire_leases(directory: Path) -> None:
    """Let all leases be those of a day ago."""
    for path in (directory / "leases").glob("*.lease.json"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 86400))
