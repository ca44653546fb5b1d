"""A worker process: trains what it is told, one segment after the other, until its controller is gone."""

import io
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection

import cloudpickle
import torch

from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.population import Assignment, Outcome
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import Save, train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.processes.shared_memory import Layout, View, layout
from popgrad.executors.writer import Writer
from popgrad.state import unflatten
from popgrad.tasks.base import Sharing, Task


@dataclass(frozen=True)
class Setup:
    """The first message to a worker: the task, and the settings of the controller that change bits.

    Attributes:
        name: For the telemetry.
        task: Pickled by cloudpickle.
        save: Writes a checkpoint; None = none are written.
        path: Where modules are found.
        dtype: As `torch.get_default_dtype()` of the controller.
        matmul_precision: As `torch.get_float32_matmul_precision()` of the controller.
        deterministic: As `torch.are_deterministic_algorithms_enabled()` of the controller.
        data: Slot path and layout of the task's data; None = the task reads its own.
    """

    name: str
    task: bytes
    save: Save | None
    path: tuple[str, ...]
    dtype: torch.dtype
    matmul_precision: str
    deterministic: bool
    data: tuple[str, Layout] | None = None


@dataclass(frozen=True)
class Job:
    """One segment to train.

    Attributes:
        assignment: What to train.
        device: Where.
        source: Slot path and layout of the state to start from; None = a fresh member.
        target: Path of the slot for the final state.
    """

    assignment: Assignment
    device: str
    source: tuple[str, Layout] | None
    target: str


@dataclass(frozen=True)
class Done:
    """The answer to a `Job`.

    Attributes:
        outcome: What the executor hands on.
        layout: How the final state lies in the target slot; None = there is none.
    """

    outcome: Outcome
    layout: Layout | None


@dataclass(frozen=True)
class Flushed:
    """The answer to None, which asks for the checkpoints to be written."""


@dataclass(frozen=True)
class Refused:
    """The answer where the run as a whole cannot go on.

    Attributes:
        error: What popgrad raised on purpose.
    """

    error: PopgradError


def main(connection: int, lifeline: int) -> None:
    """The process: one torch thread, deaf to Ctrl-C (the controller's matter).

    Args:
        connection: File descriptor of the socket to the controller.
        lifeline: File descriptor of a pipe that ends when the controller does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            line_buffering=True
        )  # it ends by SIGKILL, which loses what is buffered
    torch.set_num_threads(1)
    keep_memory(keep=True)  # page faults were 5 to 15% of a convolution's step
    with Connection(connection) as pipe:
        # By the socket's end the controller learns of ours: what the task starts must not hold it open.
        os.set_inheritable(connection, False)
        os.register_at_fork(after_in_child=pipe.close)
        try:
            _serve(pipe)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)  # nothing is ever written: it returns when the controller is gone
    os.killpg(0, signal.SIGKILL)  # with whatever the task has started


def _serve(pipe: Connection) -> None:
    setup: Setup = cloudpickle.loads(pipe.recv_bytes())
    sys.path[:] = [*setup.path, *(entry for entry in sys.path if entry not in setup.path)]
    torch.set_default_dtype(setup.dtype)
    torch.set_float32_matmul_precision(setup.matmul_precision)
    torch.use_deterministic_algorithms(setup.deterministic)
    try:
        task: Task = cloudpickle.loads(setup.task)
        if setup.data is not None and isinstance(task, Sharing):
            path, where = setup.data
            task.adopt(unflatten(where.tree, View(path).look(where)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        pipe.send(
            Refused(
                UsageError(f"the task cannot be loaded in a worker process ({reason}); try serial")
            )
        )
        return
    pipe.send(fingerprint())
    views: dict[str, View] = {}
    writer = None if setup.save is None else Writer(setup.save)
    while True:
        job: Job | None = pipe.recv()
        try:
            answer: Done | Flushed | Refused = (
                _flush(writer) if job is None else _train(task, setup.name, job, views, writer)
            )
        except PopgradError as error:
            answer = Refused(error)
        except Exception as error:  # a checkpoint's, since the task's own are in the outcome
            answer = Refused(RunError(f"{type(error).__name__}: {error}"))
        pipe.send(answer)


def _flush(writer: Writer | None) -> Flushed:
    if writer is not None:
        writer.flush()
    return Flushed()


def _train(task: Task, name: str, job: Job, views: dict[str, View], writer: Writer | None) -> Done:
    source = None
    if job.source is not None:
        path, where = job.source
        source = unflatten(where.tree, _view(views, path).read(where))
    outcome, tree, leaves = train_segment(
        task, job.assignment, source, torch.device(job.device), writer, name
    )
    if outcome.error:
        return Done(outcome, None)
    target = layout(tree, leaves)
    try:
        _view(views, job.target).write(target, leaves)
    except OSError as error:
        raise RunError(
            f"no memory for the state of member {job.assignment.member}, {target.size} bytes ({error}); "
            "train a smaller population or model"
        ) from None
    return Done(outcome, target)


def _view(views: dict[str, View], path: str) -> View:
    return views.setdefault(path, View(path))
