"""Tasks by name: built-in ones, `module:Name` and `file.py:Name`, with checked arguments."""

import hashlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from popgrad.core.errors import UsageError
from popgrad.named import named
from popgrad.tasks import TASKS
from popgrad.tasks.base import Task


def resolve(reference: str, options: Mapping[str, Any], data_dir: str | None = None) -> Task:
    """The task that a reference names, made with its arguments.

    Args:
        reference: A name in `TASKS`, "module:Name" or "path/file.py:Name"; Name is a class or function that
            makes the task, or the task itself.
        options: Its arguments by name.
        data_dir: Handed on as `data_dir` where it takes one.

    Raises:
        UsageError: There is no such task, or an argument is unknown or of the wrong type.
    """
    factory = named(reference, "task", TASKS)
    if not callable(factory):
        if options:
            raise UsageError(
                f"task {reference} is ready made and takes no options; given {', '.join(options)}"
            )
        return typing.cast(Task, factory)
    given = dict(options)
    if data_dir is not None and "data_dir" in inspect.signature(factory).parameters:
        given.setdefault("data_dir", data_dir)
    return typing.cast(Task, factory(**check_options(factory, given, f"task {reference}")))


def check_options(factory: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Options in the types that a factory's parameters declare.

    Raises:
        UsageError: Names the option, what was given and what is allowed.
    """
    parameters = {
        name: each
        for name, each in inspect.signature(factory).parameters.items()
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD) and name != "space"
    }
    hints = _hints(factory)
    checked = {}
    for name, value in options.items():
        if name not in parameters:
            raise UsageError(f"{what} has no option {name!r}; it has {', '.join(parameters) or 'none'}")
        checked[name] = _check_option(hints.get(name, Any), name, value, what)
    missing = [n for n, each in parameters.items() if each.default is each.empty and n not in options]
    if missing:
        raise UsageError(f"{what} needs the option {', '.join(missing)}")
    return checked


def defaults(factory: Callable[..., Any]) -> dict[str, Any]:
    """What a factory's options are when they are not given."""
    parameters = inspect.signature(factory).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Declared types by parameter; none where they cannot be looked up (a `partial`, an unknown name)."""
    try:
        return typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    except (NameError, TypeError):
        return {}


def _check_option(hint: Any, name: str, value: Any, what: str) -> Any:
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
        checked = adapter.validate_python(value)
    except PydanticSchemaGenerationError:
        return value
    except ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors())
        raise UsageError(f"{what}, option {name}: given {value!r}; {reasons}") from None
    if _became_number(value, checked):
        raise UsageError(f"{what}, option {name}: given {value!r}; a number is allowed")
    return checked


def _became_number(given: Any, checked: Any) -> bool:
    """Whether a boolean was taken for 0 or 1, in a sequence too."""
    if isinstance(given, list | tuple) and isinstance(checked, list | tuple):
        return any(map(_became_number, given, checked))
    return isinstance(given, bool) and isinstance(checked, int | float) and not isinstance(checked, bool)


def source_digest(task: Task, reference: str | None) -> str:
    """SHA-256 of the source of a user's task; "" for the built-in ones, and where there is none to read.

    A task that was named is told by its whole file, one that was handed over by its class, its functions and
    its numbers and texts.
    """
    if reference in TASKS:
        return ""
    if reference is not None:
        place = reference.rpartition(":")[0]
        file = place if place.endswith(".py") else getattr(sys.modules.get(place), "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    written: list[Any] = [
        type(task),
        *(each for _, each in sorted(vars(task).items()) if inspect.isfunction(each)),
    ]
    theirs = [each for each in written if not str(each.__module__).startswith("popgrad.")]
    plain = {n: each for n, each in vars(task).items() if isinstance(each, str | int | float | tuple)}
    try:
        text = "".join(map(inspect.getsource, theirs)) + repr(sorted(plain.items()))
        return hashlib.sha256(text.encode()).hexdigest() if theirs else ""
    except (OSError, TypeError):
        return ""
