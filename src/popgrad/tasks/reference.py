"""Tasks by name: built-in ones, `module:Name` and `file.py:Name`, with checked arguments."""

import functools
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from popgrad.core.errors import UsageError
from popgrad.lookup import import_object
from popgrad.tasks import TASKS
from popgrad.tasks.base import Task


def resolve_task(reference: str, options: Mapping[str, Any], data_dir: str | None = None) -> Task:
    """The task that a reference names, made with its arguments.

    Args:
        reference: A name in `TASKS`, "module:Name" or "path/file.py:Name"; Name is a class or function that
            makes the task, or the task itself.
        options: Its arguments by name.
        data_dir: Handed on as `data_dir` where it takes one.

    Raises:
        UsageError: There is no such task, or an argument is unknown or of the wrong type.
    """
    if not isinstance(reference, str):  # it may come from a file
        raise UsageError(f"task: given {reference!r:.80}; a text is allowed")
    factory = import_object(reference, "task", TASKS)
    if callable(factory) and not _makes_tasks(factory):
        raise UsageError(
            f"task {reference} makes no task: allowed is a class with init, train and evaluate, a task, "
            "or a function of your own (one that is installed has to say that it returns a task)"
        )
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


def _makes_tasks(factory: Callable[..., Any]) -> bool:
    """Whether calling it may be expected to make a task.

    A reference and its options may come from a file of somebody else's: called with these, many a function of
    Python and its libraries does harm, as `os:system`.
    """
    if isinstance(factory, type):
        return _is_task(factory)
    function = factory.func if isinstance(factory, functools.partial) else factory
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if (
        file is None
    ):  # of the interpreter, or compiled into it; a session that is typed in has functions too
        return module is sys.modules["__main__"]
    return not _is_installed(Path(file)) or _is_task(_hints(function).get("return"))


def _is_task(made: Any) -> bool:
    return all(hasattr(made, name) for name in ("init", "train", "evaluate"))


def _is_installed(file: Path) -> bool:
    """Whether it belongs to Python, or was installed into it."""
    places = {
        Path(sysconfig.get_path(name)).resolve()
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    return any(file.resolve().is_relative_to(place) for place in places)


def check_outside(reference: str, options: Mapping[str, Any], directory: Path) -> None:
    """Refuse a task that a recorded run names where its code lies in the run's own directory.

    Whoever hands a run on could have put it there. It is told without importing anything.

    Args:
        reference: As `resolve_task` takes it.
        options: The task's arguments; texts among them may name functions of one's own, such as metrics.
        directory: The run's.

    Raises:
        UsageError: Code lies in the directory; says what to do.
    """
    inside = directory.resolve()
    for named_by in (reference, *_texts(options)):
        for path in _places(named_by):
            if path.resolve().is_relative_to(inside):
                raise UsageError(
                    f"task: {named_by!r:.200} is code in the directory of the run, which is not executed; if "
                    "you trust it, move it out and give the task again: task=..., allow_changed_task=True"
                )


def _texts(value: Any) -> Iterator[str]:
    """All texts within options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _places(reference: str) -> Iterator[Path]:
    """Where what a reference names may lie. Only its package is looked for, for which nothing is imported."""
    place = reference.rpartition(":")[0]
    if not place or reference in TASKS:
        return
    if place.endswith(".py"):
        yield Path(place)
        return
    package, *inner = place.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):  # as odd a name as any
        return
    if spec is None:
        return
    if spec.origin is not None:
        yield Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        yield from (
            Path(folder, *inner),
            Path(folder, *inner).with_suffix(".py"),
            Path(folder, *inner, "__init__.py"),
        )


def check_options(
    factory: Callable[..., Any], options: Mapping[str, Any], what: str
) -> dict[str, Any]:
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
            raise UsageError(
                f"{what} has no option {name!r}; it has {', '.join(parameters) or 'none'}"
            )
        checked[name] = _check_option(hints.get(name, Any), name, value, what)
    missing = [
        n for n, each in parameters.items() if each.default is each.empty and n not in options
    ]
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
        adapter = TypeAdapter(
            hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
        )
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
    return (
        isinstance(given, bool)
        and isinstance(checked, int | float)
        and not isinstance(checked, bool)
    )


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
    plain = {
        n: each for n, each in vars(task).items() if isinstance(each, str | int | float | tuple)
    }
    try:
        text = "".join(map(inspect.getsource, theirs)) + repr(sorted(plain.items()))
        return hashlib.sha256(text.encode()).hexdigest() if theirs else ""
    except (OSError, TypeError):
        return ""
