"""Types in the words of a user, for messages about options."""

import collections.abc
import types
import typing
from typing import Any

_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "booleans"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
}
"""Singular and plural of the plain types."""

_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)
_TABLES = (dict, collections.abc.Mapping)


def expectation(hint: Any, example: Any = None) -> str:
    """Return the values that a type permits, in words.

    Args:
        hint: Type of a parameter.
        example: Value to show if the type is a list; None = no example.

    Example:
        >>> expectation(float | None)
        'a number'
        >>> expectation(collections.abc.Sequence[float], (0.8, 1.25))
        'a list of numbers such as [0.8, 1.25]'
        >>> expectation(typing.Literal["sync", "async"])
        'one of sync, async'
    """
    words = _words(hint)[0]
    if words.startswith("a list") and isinstance(example, list | tuple) and example:
        return f"{words} such as {list(example)}"
    return words


def _words(hint: Any) -> tuple[str, str]:
    """Return the singular and the plural of a type."""
    if hint in _WORDS:
        return _WORDS[hint]

    origin = typing.get_origin(hint) or hint
    arguments = typing.get_args(hint)
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin is typing.Literal:
        choices = f"one of {', '.join(map(str, arguments))}"
        return choices, f"values, each {choices}"
    if origin in (types.UnionType, typing.Union):
        kinds = [_words(argument) for argument in arguments if argument is not types.NoneType]
        return " or ".join(one for one, _ in kinds), " or ".join(many for _, many in kinds)
    if origin in _LISTS:
        items = f" of {_words(arguments[0])[1]}" if arguments else ""
        return f"a list{items}", f"lists{items}"
    if origin in _TABLES:
        return "a table", "tables"

    name = getattr(hint, "__name__", str(hint))
    return f"a {name}", f"values of type {name}"
