"""The module `popgrad.runs.keywords`, written from the keys of the configuration.

Type checkers and editors read types from a file, not from a running program. `make docs` writes it.
"""

import collections.abc
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

from popgrad.runs.signature import Keyword, accepted_keywords

_HEAD = '''\
"""Keywords of `popgrad.run` and `popgrad.resume`. Written by `make docs` from the keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict


class RunKeywords(TypedDict, total=False):
    """Keywords of `popgrad.run` beside those in its signature: keys, and the settings of strategies."""
'''

_RESUME = '''

class ResumeKeywords(TypedDict, total=False):
    """Keywords of `popgrad.resume` beside those in its signature. None leaves a key as it is recorded."""
'''


def module() -> str:
    """Return the source of the module, as ruff would format it."""
    run = [_field(keyword) for keyword in accepted_keywords("run")]
    resume = [_field(keyword) for keyword in accepted_keywords("resume")]
    return "".join([_HEAD, *run, _RESUME, *resume])


def _field(keyword: Keyword) -> str:
    lines = textwrap.wrap(keyword.sentence, width=90)
    closing = "" if len(lines) == 1 else "\n    "
    text = "\n    ".join(lines)
    declaration = f"{keyword.name}: {annotation_source(keyword.annotation)}"
    return f'\n    {declaration}\n    """{text}{closing}"""\n'


def annotation_source(annotation: Any) -> str:
    """Return a type as it is written in source; containers as the abstract ones that callers may pass."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(annotation_source(argument) for argument in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(_quoted(argument) for argument in arguments)}]"
    if origin in (dict, collections.abc.Mapping):
        return f"Mapping[{', '.join(annotation_source(argument) for argument in arguments)}]"
    if origin in (list, tuple, collections.abc.Sequence):
        return f"Sequence[{annotation_source(arguments[0])}]"
    names = {types.NoneType: "None", Any: "Any", Path: "Path"}
    return names.get(annotation) or annotation.__name__


def _quoted(text: str) -> str:
    return f'"{text}"'
