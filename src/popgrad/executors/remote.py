"""Parts shared by the executors that train in other processes: their setup and their errors."""

import io
import linecache
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any, Self

import cloudpickle

from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.fault import Fault
from popgrad.executors.base import Save
from popgrad.executors.tracebacks import format_exception
from popgrad.state import State
from popgrad.tasks.base import Sharing, Task
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


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions by value with the names of their files, which cloudpickle leaves out.

    Attributes:
        files: Files of the functions so far.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.files: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled; pickle calls it."""
        if not isinstance(obj, CodeType):
            return super().reducer_override(obj)
        self.files.add(obj.co_filename)
        make, arguments = self.dispatch_table[CodeType](obj)
        return _make_code, (obj.co_filename, make, arguments)


def _make_code(file: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=file)


def pickle_task(task: Task) -> bytes:
    """Return the task as bytes that `load_task` reads in another process.

    The source of functions that are pickled by value goes along, so that a traceback or a warning
    shows the same file and line as in this process, even for a cell of a notebook.

    Raises:
        UsageError: The task cannot be pickled.
    """
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(task)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # The task's own parts may raise anything.
        raise UsageError(
            f"the task cannot be sent to worker processes ({type(error).__name__}: {error}); "
            "open files, locks and the like inside its functions, or train with the serial executor"
        ) from error
    sources = {name: "".join(linecache.getlines(name)) for name in pickler.files}
    return pickle.dumps((sources, file.getvalue()))


def load_task(pickled: bytes) -> Task:
    """Return the task in `pickled`, and keep the source of its functions for tracebacks.

    Raises:
        Exception: The task cannot be loaded here.
    """
    sources: Mapping[str, str]
    sources, task = pickle.loads(pickled)
    for name, text in sources.items():
        # Without a time of modification, the entry is not compared with a file.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return cloudpickle.loads(task)  # type: ignore[no-any-return]


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
