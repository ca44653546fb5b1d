"""Objects by reference: a known name, `module:Name` or `file.py:Name`."""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.fault import Fault
from popgrad.core.spelling import did_you_mean
from popgrad.gates.code import admit, is_recorded


def import_object(reference: str, what: str, known: Mapping[str, Any]) -> Any:
    """Return the object that a reference names.

    Args:
        reference: A key of `known`, "module:Name" or "path/file.py:Name".
        what: Kind of the object, for messages: "task", "metric".
        known: Objects that need no module, by name.

    Raises:
        UsageError: No such object exists, its module or file cannot be loaded, or the gate for code
            refuses it.
    """
    if reference in known:
        return known[reference]

    source, colon, name = reference.rpartition(":")
    if not colon or not source or not name:
        raise UsageError(f"there is no {what} {reference!r}{_alternatives(reference, known)}")

    module = load_module(source, what, name)
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


def load_module(source: str, what: str, name: str = "") -> ModuleType:
    """Return the module that a reference names.

    Args:
        source: Name of a module, or path of a file that ends with ".py".
        what: Kind of the object that is looked for, for messages.
        name: Name of the object, for messages.

    Raises:
        UsageError: There is no such module or file, it cannot be loaded, or the gate for code
            refuses it.
    """
    if not source.endswith(".py"):
        _search_here(source)
    content = admit(f"{source}:{name}", what)
    if not source.endswith(".py"):
        return _import(source, what)
    if content is None:
        raise UsageError(f"there is no {what} file {source}")
    return _load_file(Path(source).resolve(), content, what)


def _search_here(name: str) -> None:
    """Put the working directory first on the path if it holds a module, as `python -m` does.

    It is not on the path otherwise: it may be a run's, with code of any origin.
    """
    package = name.partition(".")[0]
    here = Path.cwd()
    if (here / package).is_dir() or (here / f"{package}.py").is_file():
        _search(here)


def _import(name: str, what: str) -> ModuleType:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except (PopgradError, KeyboardInterrupt):
        raise
    except BaseException as error:
        cure = ""
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            cure = "; start popgrad in the folder that holds it, or name that folder in PYTHONPATH"
        raise UsageError(
            f"{what} module {name!r} cannot be imported: {one_line(error)}{cure}"
        ) from error


def _search(folder: Path) -> None:
    """Put a folder first on the path of modules, unless it is on it or belongs to a record."""
    if str(folder) not in sys.path and not is_recorded(folder):
        sys.path.insert(0, str(folder))


def one_line(error: BaseException) -> str:
    """Return the type and message of an exception, and the line that raised it, in one line."""
    fault = Fault.read("".join(traceback.format_exception(error)))
    return " ".join(str(fault or f"{type(error).__name__}: {error}").split())


def _load_file(path: Path, content: bytes, what: str) -> ModuleType:
    """Load a module from a file, with the file's directory first on the path, as for a script.

    It is pickled by value, so that workers need not find it. But a file of a package is imported as a
    part of that package, by name, so that its relative imports work.

    Args:
        path: The file.
        content: Its content.
        what: Kind of the object that is looked for, for messages.
    """
    _search(path.parent)
    name = _name_in_package(path)
    if name is not None:
        _search(path.parents[name.count(".")])
        return _import(name, what)

    name = f"popgrad_{what}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module

    try:
        # What is executed is what the gate has compared, and no compiled file beside it.
        exec(compile(content, path, "exec", dont_inherit=True), module.__dict__)
    except (PopgradError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UsageError(f"{what} file {path} fails: {one_line(error)}") from error

    cloudpickle.register_pickle_by_value(module)
    return module


def _name_in_package(path: Path) -> str | None:
    """Return the full name of the module in a file, such as "package.module".

    None = it is in no package, or another package of that name is imported already.
    """
    names = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, folder.name)
        folder = folder.parent
    if len(names) == 1 or not path.stem.isidentifier():
        return None
    loaded = getattr(sys.modules.get(names[0]), "__file__", None)
    other = loaded is not None and Path(loaded).resolve() != folder / names[0] / "__init__.py"
    return None if other else ".".join(names)
