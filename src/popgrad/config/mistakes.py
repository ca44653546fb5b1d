"""Mistakes in a configuration, explained in one line."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from popgrad.config.values import key_text, short
from popgrad.core.spelling import did_you_mean

_SHOWN = 5
"""Number of mistakes that one message names."""

_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a name or a table",
    "model_attributes_type": "a name or a table",
}
"""Kind of a validation error -> what is expected."""


def explain(error: ValidationError, known: Iterable[str]) -> str:
    """Return one line that names each wrong key, what is expected and what was given.

    Args:
        error: Error of pydantic.
        known: Names of all keys.
    """
    lines = [_explain_one(dict(details), known) for details in error.errors()]
    further = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "; ".join(lines[:_SHOWN] + further)


def _explain_one(details: dict[str, Any], known: Iterable[str]) -> str:
    place = details["loc"]
    if details["type"] == "literal_error" and isinstance(place[-1], int):
        # A list of names is mostly given as options, which have no positions.
        place = place[:-1]
    path = ".".join(key_text(str(part)) for part in place)
    if details["type"] == "extra_forbidden":
        listing = f"; known are {', '.join(known)}"
        name = details["loc"][-1]
        return f"unknown key {short(name)}{did_you_mean(name, known) or listing}"
    if details["type"] == "missing":
        return f"{path} is missing"
    similar = did_you_mean(details["input"], _choices(details))
    return f"{path}: expected {_expectation(details)}, got {short(details['input'])}{similar}"


def _expectation(details: dict[str, Any]) -> str:
    context = details.get("ctx", {})
    if details["type"] == "value_error":  # raised by a type of `config.values`
        return str(context["error"])
    if details["type"] == "literal_error":
        return f"one of {', '.join(_choices(details))}"

    template = _EXPECTED.get(details["type"])
    if template is None:
        return str(details["msg"]).removeprefix("Input should be ")
    limits = {name: f"{value:.20g}" for name, value in context.items() if name in template}
    return template.format(**limits)


def _choices(details: dict[str, Any]) -> list[str]:
    """Return the strings that a key can be set to; none for a key of another kind."""
    if details["type"] != "literal_error":
        return []
    return re.findall(r"'([^']*)'", details["ctx"]["expected"])
