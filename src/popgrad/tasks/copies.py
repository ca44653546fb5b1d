"""Copies of a task: as bytes for another process, or as an object for a trial in this one."""

import io
import linecache
import pickle
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import CodeType
from typing import Any

import cloudpickle

from popgrad.core.errors import UsageError
from popgrad.tasks.base import Sharing, Task


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


def _pickle(task: Task) -> tuple[bytes, set[str]]:
    """Return a task as bytes, and the files of its functions."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(task)
    return file.getvalue(), pickler.files


def pickle_task(task: Task) -> bytes:
    """Return the task as bytes that `load_task` reads in another process.

    The source of functions that are pickled by value goes along, so that a traceback or a warning
    shows the same file and line as in this process, even for a cell of a notebook.

    Raises:
        UsageError: The task cannot be pickled.
    """
    try:
        pickled, files = _pickle(task)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # The task's own parts may raise anything.
        raise UsageError(
            f"the task cannot be sent to worker processes ({type(error).__name__}: {error}); "
            "open files, locks and the like inside its functions, or train with the serial executor"
        ) from error
    sources = {name: "".join(linecache.getlines(name)) for name in files}
    return pickle.dumps((sources, pickled))


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


def copy_task(task: Task) -> Task | None:
    """Return a copy of a task that shares its data; None if it cannot be copied as it is.

    A class that loads itself may wait for something, such as a file server. Workers have a clock for it.
    """
    if vars(type(task)).keys() & {"__setstate__", "__reduce__", "__reduce_ex__"}:
        return None
    try:
        copy: Task = cloudpickle.loads(_pickle(task)[0])
    except Exception:
        return None
    if isinstance(copy, Sharing) and isinstance(task, Sharing):
        # Data that cannot be read is explained where the copy reads it.
        with suppress(Exception):
            copy.adopt(task.share())
    return copy
