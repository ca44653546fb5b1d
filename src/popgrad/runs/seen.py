"""Tasks that have passed their check, by a fingerprint of their code and values."""

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch

from popgrad.core.space import Space
from popgrad.hardware import versions
from popgrad.state import digest
from popgrad.store.atomic import replacing
from popgrad.tasks.base import Task
from popgrad.tasks.calls import is_users

_MOST = 500
"""Fingerprints that are kept on disk, the newest ones."""

_LARGEST = 1 << 20
"""Bytes of a tensor that are hashed; a task that holds more has no fingerprint."""

_DEEPEST = 20

_in_process: set[str] = set()
"""Fingerprints of the tasks that have passed in this process."""


class CheckedTasks:
    """Fingerprints of the tasks that have passed: in this process, and in the user's cache."""

    def __init__(self) -> None:
        self._file = _folder() / "checked-tasks.txt"

    def __contains__(self, fingerprint: str | None) -> bool:
        if fingerprint is None:
            return False
        return fingerprint in _in_process or fingerprint in self._lines()

    def add(self, fingerprint: str | None) -> None:
        """Keep a fingerprint; without effect on a disk that cannot be written."""
        if fingerprint is None:
            return
        _in_process.add(fingerprint)
        lines = [line for line in self._lines() if line != fingerprint]
        try:
            with replacing(self._file) as aside:
                aside.write_text("\n".join([*lines, fingerprint][-_MOST:]) + "\n")
        except OSError:
            return

    def _lines(self) -> list[str]:
        try:
            return self._file.read_text().split()
        except (OSError, UnicodeDecodeError):
            return []


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("popgrad"))


def task_fingerprint(task: Task, device: str) -> str | None:
    """Return the SHA-256 of a task's code and values, and of the versions that it trains with.

    The code is that of all files that are no part of an installed package, by name, size and time of
    change.

    Args:
        task: The task.
        device: Kind of the device.

    Returns:
        None if its code lies in no file, as in a notebook, or a value has no description.
    """
    try:
        described = _describe(task, 0)
    except Exception:
        # It has no description, or is of a kind that raises anything.
        return None
    text = repr([device, sorted(versions().items()), _users_files(), described])
    return hashlib.sha256(text.encode()).hexdigest()


def _users_files() -> list[str]:
    """Return the modules of the user's that are loaded, each with its size and time of change."""
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    found = []
    for file in sorted(filter(None, files)):
        if not _is_users(file):
            continue
        try:
            status = Path(file).stat()
        except OSError:
            continue
        found.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    return found


@functools.lru_cache(maxsize=16384)
def _is_users(file: str) -> bool:
    return is_users(file)


class _NotDescribedError(Exception):
    """A value without a description that is equal in every process."""


def _describe(value: Any, depth: int) -> Any:
    """Return a value in strings, tuples and lists: equal ones for equal values, in any process."""
    if depth > _DEEPEST:
        raise _NotDescribedError
    if value is None or isinstance(
        value, bool | int | float | str | bytes | Enum | Path | torch.device | torch.dtype
    ):
        return repr(value)
    if isinstance(value, Space):
        return repr(value.spec())
    if isinstance(value, Mapping):
        return [(_describe(k, depth + 1), _describe(v, depth + 1)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [_describe(item, depth + 1) for item in value]
    if isinstance(value, torch.Tensor | np.ndarray):
        if value.nbytes > _LARGEST:
            raise _NotDescribedError
        return digest(value)
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, type):
        return _describe_class(value, depth)
    if isinstance(value, types.FunctionType):
        return _describe_function(value, depth)
    if isinstance(value, functools.partial):
        return _describe([value.func, value.args, value.keywords], depth + 1)
    if isinstance(value, types.MethodType):
        return _describe([value.__self__, value.__func__], depth + 1)
    if isinstance(value, types.BuiltinFunctionType):
        return value.__qualname__
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        return [_describe_class(type(value), depth), _describe(vars(value), depth + 1)]
    raise _NotDescribedError


def _describe_class(cls: type, depth: int) -> Any:
    """Return the name of a class, and the values that the functions of a user's class enclose."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__ != "__main__" and (file is None or not _is_users(file)):
        return name
    kinds = (bool, int, float, str, Space, types.FunctionType)
    own = [value for value in vars(cls).values() if isinstance(value, kinds)]
    return [name, *(_describe(value, depth + 1) for value in own if not _is_generated(value))]


def _is_generated(value: object) -> bool:
    """Whether a value is a method that a decorator such as `dataclass` has written."""
    return isinstance(value, types.FunctionType) and value.__code__.co_filename == "<string>"


def _describe_function(function: types.FunctionType, depth: int) -> Any:
    """Return the place of a function, and the values that it uses besides its arguments."""
    code = function.__code__
    if not Path(code.co_filename).is_file():
        raise _NotDescribedError
    place = f"{code.co_filename}:{code.co_firstlineno}:{code.co_qualname}"
    if not _is_users(code.co_filename):
        return place

    plain = (bool, int, float, str)
    used = {
        name: function.__globals__[name]
        for name in code.co_names
        if isinstance(function.__globals__.get(name), plain)
    }
    try:
        enclosed = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError as error:  # a name without a value yet
        raise _NotDescribedError from error
    return [
        place,
        _describe([function.__defaults__, function.__kwdefaults__, used, enclosed], depth + 1),
    ]
