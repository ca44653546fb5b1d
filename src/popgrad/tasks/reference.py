"""Tasks by reference: a built-in name, `module:Name` or `file.py:Name`, with checked options."""

import functools
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.lookup import import_object
from popgrad.tasks import TASKS
from popgrad.tasks.base import Task
from popgrad.tasks.expectation import expectation


def resolve_task(
    reference: str,
    options: Mapping[str, Any],
    data_dir: str | None = None,
    *,
    similar: Iterable[str] = (),
) -> Task:
    """Return the task that a reference names, constructed with its options.

    Args:
        reference: A name in `TASKS`, "module:Name" or "path/file.py:Name"; Name is a class or
            function that returns the task, or the task itself.
        options: Arguments of the class or function, by name.
        data_dir: Directory of the data; passed as `data_dir` if it has such a parameter.
        similar: Further names that a misspelt option may stand for.

    Raises:
        UsageError: No such task exists, or an option is unknown or of the wrong type.

    Example:
        >>> resolve_task("quadratic", {"lr": 0.5}).score
        'q'
    """
    if not isinstance(reference, str):  # it may come from a file
        raise UsageError(f"task: expected a string, got {reference!r:.80}")

    factory = import_object(reference, "task", TASKS)
    if not callable(factory):
        if options:
            raise UsageError(
                f"task {reference} is ready-made and takes no options; got {', '.join(options)}"
            )
        return typing.cast(Task, factory)
    if not _makes_tasks(factory):
        raise UsageError(
            f"task {reference} makes no task: expected a class with init, train and evaluate, a task, "
            "or a function of your own (an installed one has to declare that it returns a task)"
        )

    arguments = dict(options)
    if data_dir is not None and "data_dir" in inspect.signature(factory).parameters:
        arguments.setdefault("data_dir", data_dir)
    for name in options.keys() - inspect.signature(factory).parameters:
        if reference in TASKS and name in factory().space:
            raise UsageError(
                f"task {reference} has no option {name!r}: it is a hyperparameter; to fix it, set "
                f'space.{name} = {{kind = "constant", value = {options[name]!r:.40}}}'
            )
    checked = check_options(factory, arguments, f"task {reference}", similar=similar)
    return typing.cast(Task, factory(**checked))


def _makes_tasks(factory: Callable[..., Any]) -> bool:
    """Whether a call of the factory may be expected to return a task.

    A reference and its options may come from a file of unknown origin, and many functions of Python
    and its libraries do harm if they are called with these, such as `os:system`.
    """
    if isinstance(factory, type):
        return _is_task(factory)

    function = factory.func if isinstance(factory, functools.partial) else factory
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None:
        # Part of the interpreter or compiled into it; but an interactive session has functions too.
        return module is sys.modules["__main__"]
    return not _is_installed(Path(file)) or _is_task(_hints(function).get("return"))


def _is_task(candidate: Any) -> bool:
    return all(hasattr(candidate, name) for name in ("init", "train", "evaluate"))


def _is_installed(file: Path) -> bool:
    """Whether a file belongs to Python, or was installed into it."""
    folders = {
        Path(sysconfig.get_path(name)).resolve()
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    return any(file.resolve().is_relative_to(folder) for folder in folders)


def check_outside(reference: str, options: Mapping[str, Any], directory: Path) -> None:
    """Refuse the task of a recorded run if its code lies in the directory of the run.

    The code could come from any sender of that directory. Nothing is imported for the check.

    Args:
        reference: Reference of the task, as in `resolve_task`.
        options: Options of the task; strings among them may name functions, such as metrics.
        directory: Directory of the run.

    Raises:
        UsageError: Code lies in the directory; the message states the cure.
    """
    inside = directory.resolve()
    for name in (reference, *_strings(options)):
        for path in _code_paths(name):
            if path.resolve().is_relative_to(inside):
                raise UsageError(
                    f"task: {name!r:.200} is code in the directory of the run, which is not executed; if "
                    "you trust it, move it out and give the task again: task=..., allow_changed_task=True"
                )


def _strings(value: Any) -> Iterator[str]:
    """Yield all strings within options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _code_paths(reference: str) -> Iterator[Path]:
    """Yield the paths at which the code of a reference may lie.

    Only the outermost package of a module is searched for, which imports nothing.
    """
    source = reference.rpartition(":")[0]
    if not source or reference in TASKS:
        return
    if source.endswith(".py"):
        yield Path(source)
        return

    package, *inner = source.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):  # such as an empty name
        return
    if spec is None:
        return

    if spec.origin is not None:
        yield Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *inner)
        yield from (path, path.with_suffix(".py"), path / "__init__.py")


def check_options(
    factory: Callable[..., Any],
    options: Mapping[str, Any],
    what: str,
    *,
    similar: Iterable[str] = (),
) -> dict[str, Any]:
    """Return options in the types that the parameters of a factory declare.

    Args:
        factory: Class or function; its parameter `space` is no option.
        options: Arguments by name.
        what: Description of the factory, for messages.
        similar: Further names that a misspelt option may stand for.

    Raises:
        UsageError: Names the option, the expected type and the given value.

    Example:
        >>> def network(*, width: int, lr: float = 0.1): ...
        >>> check_options(network, {"width": 8, "lr": 1}, "network")
        {'width': 8, 'lr': 1.0}
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name != "space"
    }
    hints = _hints(factory)
    checked = {}
    for name, value in options.items():
        if name not in parameters:
            listing = f"; it has {', '.join(parameters) or 'none'}"
            suggestion = did_you_mean(name, parameters)
            other = listing + did_you_mean(name, similar)
            raise UsageError(f"{what} has no option {name!r}{suggestion or other}")
        default = parameters[name].default
        checked[name] = _check_option(hints.get(name, Any), name, value, what, default)

    required = [name for name, p in parameters.items() if p.default is p.empty]
    missing = [name for name in required if name not in options]
    if missing:
        raise UsageError(f"{what} needs the option {', '.join(missing)}")
    return checked


def defaults(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the default values of a factory's parameters, by name.

    Example:
        >>> def network(*, width: int, lr: float = 0.1): ...
        >>> defaults(network)
        {'lr': 0.1}
    """
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return declared types by parameter; none if a name is unknown, or for a `partial`."""
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _check_option(hint: Any, name: str, value: Any, what: str, default: Any) -> Any:
    """Return a value in its declared type."""
    wrong = f"{what}, option {name}: expected {expectation(hint, default)}, got {value!r:.100}"
    try:
        adapter = TypeAdapter(
            hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
        )
        checked = adapter.validate_python(value)
    except PydanticSchemaGenerationError:  # a type that cannot be checked
        return value
    except ValidationError:
        raise UsageError(wrong) from None

    if _became_number(value, checked):
        raise UsageError(wrong)
    return checked


def _became_number(value: Any, checked: Any) -> bool:
    """Whether a boolean was taken for 0 or 1, in a sequence too."""
    if isinstance(value, list | tuple) and isinstance(checked, list | tuple):
        return any(map(_became_number, value, checked))
    is_number = isinstance(checked, int | float) and not isinstance(checked, bool)
    return isinstance(value, bool) and is_number


def source_digest(task: Task, reference: str | None) -> str:
    """Return the SHA-256 of the source of a user's task.

    The source of a task that is given by reference is its whole file. The source of a task that is
    given as an object is its class, its functions, and its numbers and strings.

    Args:
        task: The task.
        reference: Its reference; None if it was given as an object.

    Returns:
        "" for built-in tasks, and if there is no source to read.
    """
    if reference in TASKS:
        return ""
    if reference is not None:
        source = reference.rpartition(":")[0]
        in_file = source.endswith(".py")
        file = source if in_file else getattr(sys.modules.get(source), "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""

    values = sorted(vars(task).items())
    functions = [value for _, value in values if inspect.isfunction(value)]
    code: list[Any] = [type(task), *functions]
    users_code = [part for part in code if not str(part.__module__).startswith("popgrad.")]
    plain = [
        (name, value) for name, value in values if isinstance(value, str | int | float | tuple)
    ]
    try:
        text = "".join(map(inspect.getsource, users_code)) + repr(plain)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest() if users_code else ""
