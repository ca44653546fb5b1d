"""Gate for code: imports that a name in a file or in a record may cause.

A name that a user types, or writes into a configuration, is imported. A name that a record brings
along may come from any sender of that record. It is imported only if it lies outside of the run's
directory, and if its source is the one that the run was started with.
"""

import hashlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import SOURCE

_PUBLIC = ("popgrad.tasks", "popgrad.metrics")
"""Modules of popgrad that a name may lead into."""


@dataclass(frozen=True)
class RecordedCode:
    """Code that a record may name.

    Attributes:
        directory: Directory of the record, from which nothing is imported; None = in memory only.
        digests: SHA-256 of the sources that were imported when the run was started.
        allow_changed: Whether the user has accepted other sources.
    """

    directory: Path | None
    digests: Collection[str]
    allow_changed: bool = False


_RECORDED: ContextVar[RecordedCode | None] = ContextVar("recorded", default=None)
_IMPORTED: ContextVar[dict[str, str] | None] = ContextVar("imported", default=None)


@contextmanager
def recorded_code(recorded: RecordedCode) -> Iterator[None]:
    """Import by name only what a record may name, while the block lasts.

    Entries of `sys.path` that lie in the directory of the record are removed for good, so that
    neither a later import nor a worker process finds anything in there.
    """
    token = _RECORDED.set(recorded)
    inside = recorded.directory
    if inside is not None:
        sys.path[:] = [entry for entry in sys.path if not _is_inside(Path(entry), inside)]
    try:
        yield
    finally:
        _RECORDED.reset(token)


@contextmanager
def imported_code() -> Iterator[dict[str, str]]:
    """Collect the SHA-256 of each source that is imported by name while the block lasts.

    Gives a dictionary that grows: digests by the name that was imported.
    """
    imported: dict[str, str] = {}
    token = _IMPORTED.set(imported)
    try:
        yield imported
    finally:
        _IMPORTED.reset(token)


def admit(reference: str, what: str) -> bytes | None:
    """Admit the import of a name, or refuse it. Nothing is imported for the check.

    Args:
        reference: "module:Name" or "path/file.py:Name".
        what: Kind of the object, for messages: "task", "metric".

    Returns:
        The source as it was compared; None if it was not found.

    Raises:
        UsageError: The code may not be imported; the message states the cure.
    """
    source = reference.rpartition(":")[0]
    if not source.endswith(".py"):
        _refuse_internals(source, reference, what)
    place = _locate(source)
    recorded = _RECORDED.get()
    if recorded is not None and recorded.directory is not None:
        for path in place.searched:
            _refuse_inside(path, recorded.directory, reference, what)

    content = None if place.file is None else _read(place.file, what)
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    if recorded is not None and content is not None:
        _refuse_changed(digest, recorded, reference, what)
    imported = _IMPORTED.get()
    if imported is not None and content is not None:
        imported[reference] = digest
    return content


def is_recorded(folder: Path) -> bool:
    """Return whether a folder lies in the directory of the record that names code at present."""
    recorded = _RECORDED.get()
    return (
        recorded is not None
        and recorded.directory is not None
        and _is_inside(folder, recorded.directory)
    )


def check_outside(values: Any, directory: Path) -> None:
    """Refuse values of a record in which any string leads to code in the directory of the record.

    Args:
        values: References and options of any depth.
        directory: Directory of the record.

    Raises:
        UsageError: A string does; the message states the cure.
    """
    for text in _strings(values):
        name = text.removeprefix("-")  # a metric to be minimised
        source = name if name.endswith(".py") else name.rpartition(":")[0]
        for path in _locate(source).searched:
            _refuse_inside(path, directory, text, "task")


def is_own(function: Any) -> bool:
    """Return whether a function or class is a user's, and not a part of Python, popgrad or a library.

    A partial counts as its function. An interactive session has functions too.
    """
    while isinstance(function, partial):
        function = function.func
    return is_own_module(getattr(function, "__module__", None) or "")


def is_own_module(name: str) -> bool:
    """Return whether a module that is loaded is a user's, by its name."""
    top = name.partition(".")[0]
    if top == "popgrad" or top in sys.stdlib_module_names:
        return False
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:  # compiled into the interpreter
        return module is sys.modules["__main__"]
    return not _is_installed(Path(file))


def _is_installed(file: Path) -> bool:
    """Return whether a file belongs to Python, or was installed into it."""
    folders = {
        Path(sysconfig.get_path(name)).resolve()
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    return any(file.resolve().is_relative_to(folder) for folder in folders)


# --- checks -----------------------------------------------------------------------------------------


def _refuse_internals(module: str, reference: str, what: str) -> None:
    top = module.partition(".")[0]
    public = any(module == part or module.startswith(f"{part}.") for part in _PUBLIC)
    if top in sys.stdlib_module_names or (top == "popgrad" and not public):
        owner = "popgrad" if top == "popgrad" else "Python"
        raise UsageError(
            f"{what} {reference!r:.200} makes no {what}: it is a part of {owner} itself; expected a "
            f"built-in name, or a {what} of your own as module:Name or file.py:Name"
        )


def _refuse_inside(path: Path, directory: Path, reference: str, what: str) -> None:
    if _is_inside(path, directory):
        raise UsageError(
            f"{what}: {reference!r:.200} is code in the directory of the run, which is not executed; if "
            "you trust it, move it out and give the task again: task=..., allow_changed_task=True"
        )


def _refuse_changed(digest: str, recorded: RecordedCode, reference: str, what: str) -> None:
    if digest in recorded.digests or recorded.allow_changed:
        return
    raise UsageError(
        f"the source of the {what} has changed since the run started, or is not on its record: undo the "
        "change, or pass --allow-changed-task (allow_changed_task=True) if you trust it; it is named "
        f"{reference[:200]!r}"
    )


def _is_inside(path: Path, directory: Path) -> bool:
    """Return whether a path leads into a directory, by whatever name of it."""
    try:
        resolved = path.resolve()
        if resolved.is_relative_to(directory.resolve()):
            return True
        # A file system may take names in any case, and know a folder by several.
        return any(
            os.path.samefile(parent, directory)
            for parent in (resolved, *resolved.parents)
            if parent.exists()
        )
    except (OSError, ValueError, RuntimeError):  # a name that cannot be a path
        return False


def _read(path: Path, what: str) -> bytes | None:
    """Return the content of a file of code; None if there is none, which its import reports."""
    try:
        return read_bytes(path, SOURCE)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{what} file {str(path)[:200]} cannot be read: {reason}") from None


# --- where code lies --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Place of the code that a name leads to.

    Attributes:
        searched: Files and folders that the import executes or searches.
        file: File of the code itself; None = it was not found.
    """

    searched: tuple[Path, ...]
    file: Path | None


def _locate(source: str) -> _Place:
    """Find code level by level, as an import would, without importing the packages that it lies in.

    Args:
        source: A file that ends in ".py", or the dotted name of a module.
    """
    if source.endswith(".py"):
        return _Place((Path(source),), Path(source))
    loaded = getattr(sys.modules.get(source), "__file__", None)
    searched: list[Path] = [] if loaded is None else [Path(loaded)]

    names = source.split(".")
    # A module in the working directory comes first.
    if names[0]:
        searched += [path for path in (Path(names[0]), Path(f"{names[0]}.py")) if path.exists()]
    folders: list[str] | None = None
    origin: Path | None = None
    for depth in range(1, len(names) + 1):
        spec = _find(".".join(names[:depth]), folders)
        if spec is None:
            origin = None
            break
        folders = list(spec.submodule_search_locations or ())
        origin = Path(spec.origin) if spec.origin is not None and spec.has_location else None
        searched += [*map(Path, folders), *([] if origin is None else [origin])]
    return _Place(tuple(searched), origin if loaded is None else Path(loaded))


def _find(name: str, folders: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Find a module in folders; None = among those that are not in a package."""
    try:
        if folders is None:
            return importlib.util.find_spec(name)
        # `PathFinder` would search the loaded modules for the package.
        finders = filter(None, map(pkgutil.get_importer, folders))
        specs = [spec for finder in finders if (spec := finder.find_spec(name)) is not None]
        # Folders without an __init__.py come last.
        return min(specs, key=lambda spec: spec.loader is None, default=None)
    except (ImportError, ValueError, AttributeError, TypeError, OSError):  # such as an empty name
        return None


def _strings(value: Any) -> Iterator[str]:
    """Yield all strings within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)
