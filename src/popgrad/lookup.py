"""An object by its name: one that is known, `module:Name` or `file.py:Name`."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from popgrad.core.errors import PopgradError, UsageError


def import_object(reference: str, what: str, known: Mapping[str, Any]) -> Any:
    """The object that a reference names.

    Args:
        reference: A key of `known`, "module:Name" or "path/file.py:Name".
        what: What it is, for messages: "task", "metric".
        known: Those that need no module.

    Raises:
        UsageError: There is no such object, or its module or file cannot be loaded.
    """
    if reference in known:
        return known[reference]
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(
            f"there is no {what} {reference!r}; there is {', '.join(known)}, or one of your own as "
            "module:Name or file.py:Name"
        )
    module = _load_file(Path(place), what) if place.endswith(".py") else _import(place, what)
    try:
        return getattr(module, name)
    except AttributeError:
        raise UsageError(f"{what} {reference}: {place} has no {name!r}") from None


def _import(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except PopgradError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what} module {name!r} cannot be imported: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """What somebody's code raises, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _load_file(path: Path, what: str) -> ModuleType:
    """A module from a file, as if the file were run as a script.

    It is pickled by value, so that workers need not find it.
    """
    try:
        there = path.is_file()
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"there is no {what} file {str(path)[:80]}: {error.strerror}") from None
    if not there:
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
        raise UsageError(f"{what} file {path} fails: {_said(error)}") from error
    cloudpickle.register_pickle_by_value(module)
    return module
