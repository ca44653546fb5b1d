"""A worker process as its controller sees it; it ends with all that it has started."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Pipe
from threading import Thread
from typing import IO

from popgrad.executors.base import Attempt
from popgrad.executors.interpreter import interpreter
from popgrad.executors.processes.shared_memory import SharedState

_MAIN = (
    "import sys; from popgrad.executors.processes.worker import main; "
    "main(*map(int, sys.argv[1:3]))"
)

_OUTPUT_TIMEOUT = 1.0
"""Seconds to wait for the last output of a process; it takes them if another one holds the pipe."""


class Process:
    """A fresh interpreter that runs `worker.main`.

    Attributes:
        pipe: Socket to the process.
        attempt: Segment that it trains; None = it is idle.
        target: Shared memory for the final state of that segment; None = it is idle.
        started: Start of the attempt, in seconds of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.attempt: Attempt | None = None
        self.target: SharedState | None = None
        self.started = 0.0
        self.pipe, child_end = Pipe()

        # The child's end of the lifeline is closed when this process ends, however that happens.
        lifeline, self._lifeline = os.pipe()
        try:
            self._process = interpreter(
                *("-c", _MAIN, str(child_end.fileno()), str(lifeline)),
                pass_fds=(child_end.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._relay = Thread(target=_relay, args=(self._process.stdout,), daemon=True)
            self._relay.start()
        finally:
            child_end.close()
            os.close(lifeline)

    def send(self, message: bytes) -> None:
        """Send a message. If the process has ended, `receive` notices it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send_bytes(message)

    def receive(self) -> object:
        """Wait for an answer.

        Raises:
            EOFError: The process has ended.
        """
        try:
            return self.pipe.recv()
        except OSError as error:
            # The connection was reset, perhaps in the middle of an answer.
            raise EOFError from error

    def kill(self) -> None:
        """End the process, and whatever the task has started. A second call does nothing."""
        if self.pipe.closed:
            return
        os.close(self._lifeline)
        self.pipe.close()
        # The group may be gone, or (on macOS) refuse the signal until its leader is waited for.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> str:
        """Wait for the end of the process, and return how it ended."""
        code = self._process.wait()
        self._relay.join(_OUTPUT_TIMEOUT)
        advice = " (killed: was memory short? Try fewer workers)" if code == -signal.SIGKILL else ""
        return f"the worker process ended with code {code}{advice}"


def _relay(lines: IO[bytes]) -> None:
    """Copy what a task prints to `sys.stderr`, line by line, as a live table needs it."""
    with lines:
        for line in lines:
            # Standard error may be closed or missing.
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(line.decode(errors="replace"))
