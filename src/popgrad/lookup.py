"""Objects by reference: a known name, `module:Name` or `file.py:Name`."""

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.spelling import did_you_mean


def import_object(reference: str, what: str, known: Mapping[str, Any]) -> Any:
    """Return the object that a reference names.

    Args:
        reference: A key of `known`, "module:Name" or "path/file.py:Name".
        what: Kind of the object, for messages: "task", "metric".
        known: Objects that need no module, by name.

    Raises:
        UsageError: No such object exists, or its module or file cannot be loaded.
    """
    if reference in known:
        return known[reference]

    source, colon, name = reference.rpartition(":")
    if not colon or not source or not name:
        raise UsageError(f"there is no {what} {reference!r}{_alternatives(reference, known)}")

    module = _load_file(Path(source), what) if source.endswith(".py") else _import(source, what)
    try:
        return getattr(module, name)
    except AttributeError:
        similar = did_you_mean(name, vars(module))
        raise UsageError(f"{what} {reference}: {source} has no {name!r}{similar}") from None


def _alternatives(reference: str, known: Mapping[str, Any]) -> str:
    """Return the end of the message about a reference that is no known name."""
    if reference.endswith(".py") and os.path.isfile(reference):
        return f"; choose an object in this file: {reference}:Name"
    listing = f"; there is {', '.join(known)}, or one of your own as module:Name or file.py:Name"
    return did_you_mean(reference, known) or listing


def _import(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except PopgradError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{what} module {name!r} cannot be imported: {_one_line(error)}"
        ) from error


def _one_line(error: BaseException) -> str:
    """Return the type and message of an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _load_file(path: Path, what: str) -> ModuleType:
    """Load a module from a file, with the file's directory first on the path, as for a script.

    It is pickled by value, so that workers need not find it.
    """
    try:
        exists = path.is_file()
    except OSError as error:
        # The name may be too long for a path, for example.
        raise UsageError(f"there is no {what} file {str(path)[:80]}: {error.strerror}") from None
    if not exists:
        raise UsageError(f"there is no {what} file {path}")

    path = path.resolve()
    name = f"popgrad_{what}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module

    try:
        spec.loader.exec_module(module)
    except PopgradError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what} file {path} fails: {_one_line(error)}") from error

    cloudpickle.register_pickle_by_value(module)
    return module
