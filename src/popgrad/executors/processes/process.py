"""A worker process as its controller sees it; it ends with all that it has started."""

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Pipe
from threading import Thread
from typing import IO

from popgrad.executors.base import Attempt
from popgrad.executors.interpreter import interpreter
from popgrad.executors.processes.shared_memory import SharedState

log = logging.getLogger("popgrad")

_MAIN = (
    "import sys; from popgrad.executors.processes.worker import main; "
    "main(*map(int, sys.argv[1:3]))"
)

_OUTPUT_TIMEOUT = 1.0
"""Seconds to wait for the last output of a process; it takes them if another one holds the pipe."""

_END_TIMEOUT = 10.0
"""Seconds to wait for the end of a process that was killed. It takes longer only if the system does not
let it go, since a disk or a GPU does not answer; then it is left to the system."""

_CRASH = " (a crash of compiled code; the lines that the worker printed show where)"

_ADVICE: dict[int, str] = {
    signal.SIGKILL: " (killed: was memory short? Try fewer workers)",
    **dict.fromkeys((signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL), _CRASH),
    signal.SIGBUS: " (memory that was mapped is gone: is a disk or the memory full?)",
}
"""Words on the end of a process, by the signal that ended it."""


class Process:
    """A fresh interpreter that runs `worker.main`.

    Attributes:
        pipe: Socket to the process.
        attempt: Segment that it trains; None = it is idle.
        target: Shared memory for the final state of that segment; None = it is idle.
        started: Start of the process, later of the attempt, in seconds of `time.monotonic`.
        ended: Whether the process has ended; False if it was killed and the system keeps it.

    Raises:
        OSError: The system permits no further process or open file.
        RuntimeError: The system permits no further thread.
    """

    def __init__(self) -> None:
        self.attempt: Attempt | None = None
        self.target: SharedState | None = None
        self.started = time.monotonic()
        self.ended = False
        self._last_line = ""
        self.pipe, child_end = Pipe()

        # The child's end of the lifeline is closed when this process ends, however that happens.
        try:
            lifeline, self._lifeline = os.pipe()
        except OSError:
            self.pipe.close()
            child_end.close()
            raise
        try:
            self._process = interpreter(
                *("-c", _MAIN, str(child_end.fileno()), str(lifeline)),
                pass_fds=(child_end.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._relay = Thread(target=self._copy, args=(self._process.stdout,), daemon=True)
            self._relay.start()
        except (OSError, RuntimeError):
            # The process, if there is one, ends with its lifeline.
            self.pipe.close()
            os.close(self._lifeline)
            raise
        finally:
            child_end.close()
            os.close(lifeline)

    def send(self, message: bytes) -> None:
        """Send a message. If the process has ended, `receive` notices it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send_bytes(message)

    def receive(self, timeout: float | None = None) -> object:
        """Wait for an answer.

        Args:
            timeout: Seconds to wait; None = no limit.

        Raises:
            EOFError: The process has ended.
            TimeoutError: There is no answer in that time.
        """
        try:
            if not self.pipe.poll(timeout):
                raise TimeoutError
            return self.pipe.recv()
        except TimeoutError:
            raise
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
        try:
            code = self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            log.warning("worker process %d was killed and does not end", self._process.pid)
            return (
                "the worker process was killed and does not end (does a disk or a GPU not answer?)"
            )
        self.ended = True
        self._relay.join(_OUTPUT_TIMEOUT)
        return f"the worker process ended with code {code}{_ADVICE.get(-code, '')}"

    @property
    def last_words(self) -> str:
        """The last line that the process has printed, in parentheses; "" = there is none."""
        return f" (it printed {self._last_line!r:.300})" if self._last_line else ""

    def _copy(self, lines: IO[bytes]) -> None:
        """Copy what a task prints to `sys.stderr`, line by line, as a live table needs it."""
        with lines:
            for line in lines:
                text = line.decode(errors="replace")
                self._last_line = text.strip() or self._last_line
                # Standard error may be closed or missing.
                with suppress(OSError, ValueError, AttributeError):
                    sys.stderr.write(text)
