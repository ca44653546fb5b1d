"""The caller of `popgrad.run` and `popgrad.resume`: its callbacks, and the Ctrl-C that it receives."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from popgrad.core.errors import RunError
from popgrad.engine.callbacks import Callbacks, OnInterval, OnSegment
from popgrad.runs.advice import call, command
from popgrad.runs.status import run_status
from popgrad.store.directory import open_record

_LINE = "_popgrad_line"
"""Attribute of an interrupt that a script ends with in one line."""


@dataclass(frozen=True)
class Caller:
    """Caller of a run, with what it has to know to continue the run.

    Attributes:
        directory: Directory of the run; None = in memory only.
        given_task: Whether the run was given a task instance, which has to be passed again.
    """

    directory: Path | None
    given_task: bool

    def callbacks(self, on_segment: OnSegment | None, on_interval: OnInterval | None) -> Callbacks:
        """Return the caller's functions as callbacks. An exception in one names it, and the way on."""
        return Callbacks(
            self._noted(on_segment, "on_segment"), self._noted(on_interval, "on_interval")
        )

    def _noted(
        self, function: Callable[[Any], bool | None] | None, name: str
    ) -> Callable[[Any], bool | None] | None:
        if function is None:
            return None

        def noted(event: Any) -> bool | None:
            try:
                return function(event)
            except Exception as error:
                error.add_note(
                    f"popgrad: {name} raised this, so the run was stopped; {self._way_on()}"
                )
                raise

        return noted

    def _way_on(self) -> str:
        if self.directory is None:
            return "it was in memory only and is lost; choose a directory to be able to resume"
        resume = call("resume", self.directory, given_task=self.given_task)
        if self.given_task:
            return f"continue with: {resume}"
        return f"continue with: {resume}, or {command('resume', self.directory)}"

    def interrupt(self) -> KeyboardInterrupt:
        """Return the interrupt of a run with the way to continue it, in place of the frames of its engine.

        In a script that does not catch it, it prints one line; the exit code is that of any Ctrl-C.
        """
        interrupt = KeyboardInterrupt(self._interruption())
        setattr(interrupt, _LINE, f"popgrad: {interrupt}")
        # IPython prints what this returns.
        interrupt._render_traceback_ = lambda: [f"popgrad: {interrupt}"]  # type: ignore[attr-defined]
        if sys.excepthook is sys.__excepthook__:
            sys.excepthook = _print_exception
        return interrupt

    def _interruption(self) -> str:
        """Return how far the run has come, and the way on, in words."""
        if self.directory is None:
            return f"interrupted; {self._way_on()}"
        try:
            status = run_status(open_record(self.directory), {}, "")
        except RunError:
            return "interrupted before the run had started"
        return f"{status.describe()}; {self._way_on()}"


def _print_exception(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print an interrupt of a run as its line, and any other exception as Python does."""
    line = getattr(error, _LINE, None)
    if line is None:
        sys.__excepthook__(kind, error, traceback)
    elif sys.stderr is not None:
        print(line, file=sys.stderr)
