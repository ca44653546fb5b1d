"""Variables of a user's loop, found on the stack while the loop waits at a boundary."""

import functools
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from popgrad.loops.call import Function, call
from popgrad.tasks.calls import is_users

Variables = dict[str, Any]
"""Values by the names of the variables that hold them."""


def user_variables(function: Function) -> Variables:
    """Return the variables that a loop can reach, when it is called from inside of that loop.

    These are the local variables of the user's frames between the call of the loop and this one, what their
    functions enclose, and the globals that they name. No frame is kept.

    Args:
        function: The loop.

    Returns:
        Values by name, those of the innermost frame first; modules and classes are left out.
    """
    own = _code(function)
    found: Variables = {}
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not call.__code__:
        code = frame.f_code
        if code is own or is_users(code.co_filename):
            _add(found, frame.f_locals)
            _add(found, dict(_named(code, frame.f_globals)))
        frame = frame.f_back
    _add_of_functions(found)
    return found


def _add(found: Variables, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not isinstance(value, types.ModuleType | type) and not name.startswith("__"):
            found.setdefault(name, value)


def _add_of_functions(found: Variables) -> None:
    """Add what the user's functions among the variables enclose and name, and theirs in turn."""
    known: set[int] = set()
    functions = [*_functions(found.values())]
    while functions:
        function = functions.pop()
        if id(function) in known:
            continue
        known.add(id(function))
        used = {**_enclosed(function), **dict(_named(function.__code__, function.__globals__))}
        functions += _functions(used.values())
        _add(found, used)


def _functions(values: Any) -> Iterator[types.FunctionType]:
    for value in values:
        while isinstance(value, functools.partial):
            value = value.func
        function = value.__func__ if isinstance(value, types.MethodType) else value
        if isinstance(function, types.FunctionType) and is_users(function.__code__.co_filename):
            yield function


def _enclosed(function: types.FunctionType) -> Variables:
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # a name without a value yet
            continue
    return values


def _named(code: types.CodeType, namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function names, and those that functions inside of it name."""
    for name in code.co_names:
        if name in namespace:
            yield name, namespace[name]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _named(constant, namespace)


def _code(function: Any) -> types.CodeType | None:
    """Return the code of a loop; None if it has none of its own."""
    while isinstance(function, functools.partial):
        function = function.func
    function = function.__func__ if isinstance(function, types.MethodType) else function
    code = getattr(function, "__code__", None)
    return code if isinstance(code, types.CodeType) else None
