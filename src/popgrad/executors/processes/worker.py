"""A worker process: it trains one segment after the other, until its controller ends."""

import faulthandler
import io
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import cloudpickle
import torch

from popgrad.core.segment import Assignment, Outcome
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.processes.limits import limit_error
from popgrad.executors.processes.shared_memory import Layout, View, make_layout
from popgrad.executors.remote import Setup, WorkerError, apply_setup
from popgrad.executors.writer import Writer
from popgrad.state import State, unflatten
from popgrad.tasks.base import Task

_PACKAGE = str(Path(__file__).parents[2])

_REPORT_SECONDS = 5.0
"""Seconds of loading a task after which a worker reports the line at which it is."""


@dataclass(frozen=True)
class StartReport:
    """A message of a worker that starts: it is ready for its first message, or takes long to load it.

    Attributes:
        doing: What it does, such as "loads the task".
    """

    doing: str


@dataclass(frozen=True)
class FirstMessage:
    """The first message to a worker. The answer is its fingerprint, or a `WorkerError`.

    `StartReport`s may come before the answer.

    Attributes:
        name: Name of the worker, for the telemetry.
        setup: Task and settings.
        data: Path and layout of the task's data in shared memory; None = the task reads its own.
    """

    name: str
    setup: Setup
    data: tuple[str, Layout] | None = None


@dataclass(frozen=True)
class Job:
    """One segment to train. The answer is a `SegmentDone` or a `WorkerError`.

    Attributes:
        assignment: Segment to train.
        device: Device to compute on.
        source: Path and layout of the state to start from; None = a fresh member.
        target: Path of the shared memory for the final state.
    """

    assignment: Assignment
    device: str
    source: tuple[str, Layout] | None
    target: str


@dataclass(frozen=True)
class SegmentDone:
    """The answer to a `Job`.

    Attributes:
        outcome: Outcome of the segment.
        layout: Layout of the final state in the target; None = the segment has none.
    """

    outcome: Outcome
    layout: Layout | None


@dataclass(frozen=True)
class FlushDone:
    """The answer to None, which asks for the checkpoints to be written."""


def main(connection: int, lifeline: int) -> None:
    """Run the process, with one torch thread. It ignores Ctrl-C, which the controller handles.

    Args:
        connection: File descriptor of the socket to the controller.
        lifeline: File descriptor of a pipe that is closed when the controller ends.
    """
    # Ctrl-C reaches the controller, which ends its workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()

    # After a crash of compiled code, the line of the task is printed.
    faulthandler.enable()
    # The process ends by SIGKILL, which loses what is buffered.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    # Bits depend on the number of threads, and workers share the cores.
    torch.set_num_threads(1)
    # Memory that is returned costs page faults later: 5 to 15% of a convolution's step.
    keep_memory(keep=True)

    with Connection(connection) as pipe:
        # The controller learns from the closed socket that this process has ended. So processes
        # that the task starts must not hold it open.
        os.set_inheritable(connection, False)
        os.register_at_fork(after_in_child=pipe.close)
        try:
            _serve(pipe)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _end_with(lifeline: int) -> None:
    """Wait for the end of the controller, then end this process and what the task started."""
    # Nothing is ever written: this returns when the pipe is closed.
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _serve(pipe: Connection) -> None:
    """Answer the controller's messages, in order."""
    pipe.send(StartReport("waits for the task"))
    first: FirstMessage = cloudpickle.loads(pipe.recv_bytes())
    # Nothing else is sent before the report is given up, so its thread is alone on the pipe.
    report = threading.Timer(_REPORT_SECONDS, _report_place, (pipe, threading.get_ident()))
    report.daemon = True
    report.start()
    try:
        read_data = None if first.data is None else partial(_read_data, *first.data)
        task = apply_setup(first.setup, read_data)
        answer: object = fingerprint()
    except BaseException as error:
        answer = WorkerError.cannot_load(error, "in a worker process", "try serial")
    report.cancel()
    report.join()
    pipe.send(answer)
    if isinstance(answer, WorkerError):
        return

    views: dict[str, View] = {}
    writer = None if first.setup.save is None else Writer(first.setup.save)
    while True:
        job: Job | None = pipe.recv()
        try:
            if job is None:
                answer = _flush(writer)
            else:
                answer = _train(task, first.name, job, views, writer)
        except BaseException as error:
            # Exceptions of the task's own functions are not raised, but in the outcome; but for
            # KeyboardInterrupt, which ends the run like Ctrl-C.
            answer = WorkerError.of(error)
        pipe.send(answer)


def _report_place(pipe: Connection, thread: int) -> None:
    """Report the line of code at which a thread is, as far as it is the task's."""
    frames = traceback.extract_stack(sys._current_frames()[thread])
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    innermost = (own or frames)[-1]
    place = f"{innermost.filename}, line {innermost.lineno}, in {innermost.name}"
    with suppress(OSError):
        pipe.send(StartReport(f"loads the task ({place})"))


def _read_data(path: str, layout: Layout) -> State:
    return unflatten(layout.tree, View(path).alias(layout))  # type: ignore[no-any-return]


def _flush(writer: Writer | None) -> FlushDone:
    if writer is not None:
        writer.flush()
    return FlushDone()


def _train(
    task: Task, name: str, job: Job, views: dict[str, View], writer: Writer | None
) -> SegmentDone:
    """Train a segment, from and into shared memory.

    Args:
        task: Task to train.
        name: Name of the worker.
        job: Segment to train.
        views: Mappings of shared memory, by path; new ones are added.
        writer: Writes checkpoints; None = no checkpoints are written.

    Raises:
        RunError: Memory is full, or a checkpoint could not be written.
    """
    source = None
    if job.source is not None:
        path, layout = job.source
        try:
            source = unflatten(layout.tree, _view(views, path).read(layout))
        except OSError as error:
            raise limit_error(error, f"the state of member {job.assignment.member}") from None

    outcome, tree, leaves = train_segment(
        task, job.assignment, source, torch.device(job.device), writer, name
    )
    if outcome.error:
        return SegmentDone(outcome, None)

    # The worker writes the state itself, so that only its layout goes through the pipe.
    target = make_layout(tree, leaves)
    try:
        _view(views, job.target).write(target, leaves)
    except OSError as error:
        state = f"the state of member {job.assignment.member}, {target.size} bytes"
        raise limit_error(error, state) from None
    return SegmentDone(outcome, target)


def _view(views: dict[str, View], path: str) -> View:
    return views.setdefault(path, View(path))
