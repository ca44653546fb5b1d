"""A call that can be suspended in the middle, at any depth, and resumed later.

A loop that trains several segments is such a call: it is suspended at its boundaries. Greenlets keep it on
the caller's thread, with Ctrl-C, signal handlers and debuggers as usual. Without greenlet it runs on a
thread of its own.
"""

import contextlib
import contextvars
import ctypes
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits

from popgrad.tasks.settings import Settings

try:
    import greenlet
except ImportError:
    greenlet = None

_SECONDS = 5.0
"""Seconds that a thread is given to end by an exception; one in compiled code does not see it."""


@dataclass(frozen=True)
class Suspension:
    """A point at which the call waits.

    Attributes:
        value: Value that the call has passed to its caller.
    """

    value: Any


class Coroutine(Protocol):
    """A call that is suspended and resumed."""

    def resume(self, value: Any = None) -> Suspension | None:
        """Continue the call, and wait for its next suspension.

        Args:
            value: Value that `suspend` returns inside of the call. The first one is dropped.

        Returns:
            The suspension; None = the call has ended.

        Raises:
            BaseException: Whatever the call has raised.
        """

    def suspend(self, value: Any) -> Any:
        """Suspend the call, from inside of it; return what `resume` is given."""

    def interrupt(self, error: BaseException) -> None:
        """Raise an exception inside of the suspended call, and wait for its end."""


def make_coroutine(body: Callable[[Coroutine], None]) -> Coroutine:
    """Return a coroutine that calls `body` with itself: by a greenlet if there are any, else by a thread."""
    return GreenletCoroutine(body) if greenlet is not None else ThreadCoroutine(body)


class GreenletCoroutine:
    """A coroutine on the thread of its caller.

    Settings of torch belong to the thread, so both sides keep their own.

    Args:
        body: Function to call.
    """

    def __init__(self, body: Callable[[Coroutine], None]) -> None:
        self._greenlet = greenlet.greenlet(lambda _: body(self))
        self._greenlet.gr_context = contextvars.copy_context()

    def resume(self, value: Any = None) -> Suspension | None:
        """Switch to the call."""
        return self._switch(lambda: self._greenlet.switch(value))

    def suspend(self, value: Any) -> Any:
        """Switch to the caller."""
        settings = Settings.current()
        threads = torch.get_num_threads()
        answer = self._greenlet.parent.switch(Suspension(value))
        settings.apply()
        _set_threads(threads)
        return answer

    def interrupt(self, error: BaseException) -> None:
        """Raise in the call. One that was never resumed ends without having started."""
        if not self._greenlet:  # it has not started, or has ended
            return
        # The collector of garbage may call this on another thread, which cannot switch.
        with contextlib.suppress(greenlet.error):
            self._switch(lambda: self._greenlet.throw(error))

    def _switch(self, switch: Callable[[], Any]) -> Suspension | None:
        # Exceptions of the call go to its parent.
        self._greenlet.parent = greenlet.getcurrent()
        settings = Settings.current()
        try:
            result = switch()
        finally:
            settings.apply()
        return result if isinstance(result, Suspension) else None


class ThreadCoroutine:
    """A coroutine on a thread of its own, of which one side runs at a time.

    Args:
        body: Function to call.
    """

    def __init__(self, body: Callable[[Coroutine], None]) -> None:
        self._body = body
        self._to_call: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._to_caller: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._settings = Settings.current()
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="popgrad-loop", daemon=True)
        self._started = False

    def resume(self, value: Any = None) -> Suspension | None:
        """Let the thread continue, and wait for it. An interrupt of the caller ends the thread too."""
        return self._exchange(value, None)

    def suspend(self, value: Any) -> Any:
        """Wait for the caller."""
        threads = torch.get_num_threads()
        self._to_caller.put((Suspension(value), None))
        answer, error = self._to_call.get()
        _set_threads(threads)
        if error is not None:
            raise error
        return answer

    def interrupt(self, error: BaseException) -> None:
        """Raise in the thread. One that was never resumed ends without having started."""
        if self._started and self._thread.is_alive():
            self._exchange(None, error)

    def _exchange(self, value: Any, error: BaseException | None) -> Suspension | None:
        """Pass a value or an error to the thread, and wait for its answer."""
        try:
            if self._started:
                self._to_call.put((value, error))
            else:
                self._started = True
                self._thread.start()
            result, raised = self._to_caller.get()
        except BaseException:
            # Ctrl-C and SIGTERM arrive on the main thread.
            _raise_in(self._thread, KeyboardInterrupt)
            self._thread.join(_SECONDS)
            raise
        if raised is not None:
            raise raised
        return result  # type: ignore[no-any-return]

    def _run(self) -> None:
        # Bits depend on the number of threads, which each thread has of its own.
        self._settings.apply()
        torch.set_num_threads(self._threads)
        try:
            with threadpool_limits(self._threads):
                self._body(self)
        except BaseException as error:
            self._to_caller.put((None, error))
        else:
            self._to_caller.put((None, None))


def _set_threads(number: int) -> None:
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


def _raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an exception in another thread, at its next line of Python."""
    if thread.ident is not None:
        identity = ctypes.c_ulong(thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(error))
