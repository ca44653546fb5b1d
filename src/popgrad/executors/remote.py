"""Parts shared by the executors that train in other processes: their setup and their errors."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.fault import Fault
from popgrad.executors.base import Save
from popgrad.executors.tracebacks import format_exception
from popgrad.state import State
from popgrad.tasks.base import Sharing, Task
from popgrad.tasks.copies import load_task
from popgrad.tasks.settings import Settings


@dataclass(frozen=True)
class Setup:
    """The task of a worker, and the settings of the controller that change bits.

    Attributes:
        task: Task, as `pickle_task` returns it.
        save: Writes a checkpoint; None = no checkpoints are written.
        path: `sys.path` of the controller.
        settings: Settings of torch and NumPy in the controller.
    """

    task: bytes
    save: Save | None
    path: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True)
class WorkerError:
    """Answer of a worker if the run as a whole cannot continue.

    Attributes:
        error: Error that the controller raises.
    """

    error: PopgradError | KeyboardInterrupt

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return the answer to an exception outside of an outcome, such as a checkpoint's."""
        if isinstance(error, PopgradError | KeyboardInterrupt):
            return cls(error)
        return cls(RunError(f"{type(error).__name__}: {error}"))

    @classmethod
    def cannot_load(cls, error: BaseException, place: str, cure: str) -> Self:
        """Return the answer to an exception in `apply_setup`.

        Args:
            error: The exception.
            place: Place in which the task was loaded, such as "in a worker process".
            cure: Advice, such as "try serial".
        """
        reason = Fault.read(format_exception(error)) or f"{type(error).__name__}: {error}"
        return cls(UsageError(f"the task cannot be loaded {place} ({reason}); {cure}"))


def make_setup(pickled: bytes, save: Save | None) -> Setup:
    """Return the setup of workers that compute the bits that this process would compute.

    Args:
        pickled: Task, as `pickle_task` returns it.
        save: Writes a checkpoint; None = no checkpoints are written.
    """
    return Setup(
        task=pickled,
        save=save,
        path=tuple(sys.path),
        settings=Settings.current(),
    )


def apply_setup(setup: Setup, read_data: Callable[[], State] | None = None) -> Task:
    """Apply the controller's settings to this process, then load and return its task.

    Args:
        setup: Setup of the worker.
        read_data: Returns the data that the controller shares; None = the task reads its own.

    Raises:
        Exception: The task cannot be loaded here.
    """
    sys.path[:] = [*setup.path, *(entry for entry in sys.path if entry not in setup.path)]
    setup.settings.apply()

    task = load_task(setup.task)
    if read_data is not None and isinstance(task, Sharing):
        task.adopt(read_data())
    return task
