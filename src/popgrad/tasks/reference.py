"""Tasks by reference: a built-in name, `module:Name` or `file.py:Name`, with checked options."""

import functools
import hashlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.gates.code import is_own
from popgrad.gates.files import file_digest
from popgrad.gates.sizes import SOURCE
from popgrad.lookup import import_object, load_module, one_line
from popgrad.tasks import TASKS
from popgrad.tasks.base import Sourced, Task
from popgrad.tasks.expectation import expectation

Given = TypeVar("Given")


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
        UsageError: No such task exists, it cannot be made, or an option is unknown or of the wrong type.

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

    if _takes_member(factory):
        raise UsageError(
            f"task {reference} is a plain function that takes a member; make a task of it: put "
            "@popgrad.loop(space=..., score=...) above it"
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
    try:
        return typing.cast(Task, factory(**checked))
    except (PopgradError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UsageError(f"task {reference} cannot be made: {one_line(error)}") from error


def full_reference(reference: str) -> str:
    """Return a reference with the name of its task, if it names a file or a module alone.

    Only references of a user are completed, never those of a record: it imports the code.

    Args:
        reference: A reference as in `resolve_task`, "path/file.py" or "package.module".

    Raises:
        UsageError: The file or module holds no task, or several.

    Example:
        >>> full_reference("popgrad.tasks.toys")
        'popgrad.tasks.toys:Quadratic'
        >>> full_reference("digits")
        'digits'
    """
    alone = reference.endswith(".py") or all(map(str.isidentifier, reference.split(".")))
    # Unlike methods of `Path`, these take a name that is too long for a path.
    is_folder = os.path.isdir(reference)
    names_module = "." in reference or is_folder or os.path.isfile(f"{reference}.py")
    if reference in TASKS or not alone or not names_module:
        return reference

    module = load_module(reference, "task")
    names = _task_names(vars(module), module.__name__)
    if len(names) == 1:
        return f"{reference}:{names[0]}"
    if names:
        listed = ", ".join(f"{reference}:{name}" for name in names)
        raise UsageError(f"task: {reference} holds several tasks; choose one of {listed}")
    raise UsageError(
        f"task: {reference} holds no class, object or declared function that is a task; name the one "
        f"that is meant, {reference}:NAME"
    )


def _task_names(members: Mapping[str, Any], module: str) -> list[str]:
    """Return the names of the tasks that a module defines; ready-made ones alone if it has any."""
    public = {name: value for name, value in members.items() if not name.startswith("_")}
    ready = [name for name, value in public.items() if _is_task(value) and not callable(value)]
    if ready:
        return ready
    return [
        name
        for name, value in public.items()
        if getattr(value, "__module__", None) == module
        and (inspect.isclass(value) or inspect.isfunction(value))
        and (_is_task(value) or _is_task(_hints(value).get("return")))
    ]


def task_instance(task: Given) -> Given:
    """Return an instance of a task that was given as a class; any other object as it is.

    Raises:
        UsageError: The class needs arguments.
    """
    if not isinstance(task, type) or not _is_task(task):
        return task
    try:
        inspect.signature(typing.cast(Any, task).__init__).bind(None)
    except TypeError as error:
        raise UsageError(
            f"task: got the class {task.__name__}, which cannot be made without arguments ({error}); "
            f"give an instance, {task.__name__}(...)"
        ) from None
    return typing.cast(Given, task())


def _makes_tasks(factory: Callable[..., Any]) -> bool:
    """Whether a call of the factory may be expected to return a task.

    A reference and its options may come from a file of unknown origin, and many functions of Python
    and its libraries do harm if they are called with these, such as `os:system`.
    """
    if isinstance(factory, type):
        return _is_task(factory)

    function = factory.func if isinstance(factory, functools.partial) else factory
    if str(getattr(function, "__module__", "")).startswith("popgrad."):
        # Its own loaders of tasks return tasks too.
        return any(factory is known for known in TASKS.values())
    return is_own(function) or _is_task(_hints(function).get("return"))


def _takes_member(factory: Callable[..., Any]) -> bool:
    """Whether a function is a training loop that no task was made of."""
    if not inspect.isfunction(factory):
        return False
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.default is p.empty]
    if len(parameters) != 1:
        return False
    return parameters[0].name in ("m", "member") or "Member" in str(parameters[0].annotation)


def _is_task(candidate: Any) -> bool:
    return all(hasattr(candidate, name) for name in ("init", "train", "evaluate"))


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
    """Whether a boolean was taken for 0 or 1, or digits of another script for a number; in a sequence too."""
    if isinstance(value, list | tuple) and isinstance(checked, list | tuple):
        return any(map(_became_number, value, checked))
    is_number = isinstance(checked, int | float) and not isinstance(checked, bool)
    foreign_digits = isinstance(value, str) and not value.isascii()
    return is_number and (isinstance(value, bool) or foreign_digits)


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
        return file_digest(file, SOURCE) if file else ""

    if isinstance(task, Sourced):
        text = task.source()
        return hashlib.sha256(text.encode()).hexdigest() if text else ""

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
