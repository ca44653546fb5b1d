"""A worker process as its controller sees it: started, spoken to, and ended with all that it has started."""

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

_MAIN = "import sys; from popgrad.executors.processes.worker import main; main(*map(int, sys.argv[1:3]))"


_LAST_WORDS = (
    1.0  # seconds for what was printed before the end; more only where somebody else holds the pipe
)


class Process:
    """A fresh interpreter that runs `worker.main`.

    Attributes:
        pipe: The socket to it.
        attempt: What it is busy with; None = it is idle.
        slot: For the final state of that.
        began: When it began with it, in seconds of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.attempt: Attempt | None = None
        self.slot: SharedState | None = None
        self.began = 0.0
        self.pipe, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        try:
            self._process = interpreter(
                *("-c", _MAIN, str(theirs.fileno()), str(lifeline)),
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._relay = Thread(target=_relay, args=(self._process.stdout,), daemon=True)
            self._relay.start()
        finally:
            theirs.close()
            os.close(lifeline)

    def send(self, message: bytes) -> None:
        """Send a message. Whether it has ended is noticed by `receive`, not here."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send_bytes(message)

    def receive(self) -> object:
        """Wait for an answer.

        Raises:
            EOFError: It has ended.
        """
        try:
            return self.pipe.recv()
        except OSError as error:  # reset, or in the middle of an answer
            raise EOFError from error

    def kill(self) -> None:
        """End it, with whatever the task has started. A second time does nothing."""
        if self.pipe.closed:
            return
        os.close(self._lifeline)
        self.pipe.close()
        with suppress(ProcessLookupError, PermissionError):  # gone; on macOS, not yet waited for
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> str:
        """Wait for its end, and say how it ended."""
        code = self._process.wait()
        self._relay.join(_LAST_WORDS)
        advice = " (killed: was memory short? Try fewer workers)" if code == -signal.SIGKILL else ""
        return f"the worker process ended with code {code}{advice}"


def _relay(lines: IO[bytes]) -> None:
    """Hand on what a task prints, a line at a time, to what is standard error here: a live table, perhaps."""
    with lines:
        for line in lines:
            with suppress(
                OSError, ValueError, AttributeError
            ):  # standard error is closed, or there is none
                sys.stderr.write(line.decode(errors="replace"))
