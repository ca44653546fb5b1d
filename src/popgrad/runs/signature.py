"""Keywords of the functions that take keys of a configuration, and how these functions describe them."""

import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from popgrad.config.keys import Key, keys, settings
from popgrad.config.model import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.strategies import STRATEGIES

Function = Literal["run", "resume"]
"""Functions of the public API that take keys."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Keyword:
    """Keyword of a function that stands for a key, or for a setting of a strategy.

    Attributes:
        name: Name of the keyword, and of the key.
        annotation: Type of its values.
        default: Value if it is not given.
        sentence: Meaning, with the default.
    """

    name: str
    annotation: Any
    default: Any
    sentence: str


def accepted_keywords(function: Function) -> list[Keyword]:
    """Return the keywords that stand for keys, then those for settings of strategies.

    Args:
        function: Name of the function.
    """
    accepted = [
        key for key in keys(RunConfig) if key.usage.keyword and function in key.usage.commands
    ]
    if function == "resume":
        return [_changed(key) for key in accepted]
    return [*map(_started, accepted), *_settings()]


def _started(key: Key) -> Keyword:
    """Return the keyword of a key of a new run."""
    default = key.default_text
    if isinstance(key.default, bool):
        default = repr(key.default)
    sentence = f"{key.sentence} Default: {default}." if default else key.sentence
    return Keyword(key.name, key.accepted, key.default, sentence)


def _changed(key: Key) -> Keyword:
    """Return the keyword of a key of a recorded run; None leaves the key as it is."""
    sentence = f"{key.sentence} {key.usage.on_resume}".strip()
    return Keyword(key.name, key.accepted | None, None, sentence)


def _settings() -> list[Keyword]:
    """Return a keyword for each setting; strategies may share one. None leaves it to the strategy."""
    strategies: dict[str, list[str]] = {}
    first: dict[str, Key] = {}
    for strategy, factory in STRATEGIES.items():
        for setting in settings(factory):
            strategies.setdefault(setting.name, []).append(strategy)
            first.setdefault(setting.name, setting)

    return [
        Keyword(
            name=name,
            annotation=setting.accepted | None,
            default=None,
            sentence=f"Setting of {' and '.join(strategies[name])}. {setting.sentence}",
        )
        for name, setting in first.items()
    ]


def check_keywords(function: Callable[..., Any], keywords: Iterable[str]) -> None:
    """Refuse keywords that a decorated function does not have.

    Args:
        function: Function that `takes_keywords` has decorated.
        keywords: Names of the keywords that it was given.

    Raises:
        UsageError: Names the keyword, and the one that is probably meant.
    """
    known = inspect.signature(function).parameters
    for name in keywords:
        if name in known:
            continue
        message = f"{function.__name__}() has no keyword {name!r}"
        if name in RunConfig.model_fields:
            raise UsageError(f"{message}: it is a key that this function cannot set")
        listing = f"; it has {', '.join(known)}"
        raise UsageError(f"{message}{did_you_mean(name, known) or listing}")


def takes_keywords(function: Function) -> Callable[[_Function], _Function]:
    """Show a function with the keywords that its `**keywords` stand for, in `help` and in editors.

    The decorated function is called as it is. Its signature lists each keyword with type and default, and
    its docstring describes each in place of the line that begins with `**keywords`.

    Args:
        function: Name of the function.
    """

    def decorate(decorated: _Function) -> _Function:
        declared = inspect.signature(decorated).parameters.values()
        explicit = [parameter for parameter in declared if parameter.kind != parameter.VAR_KEYWORD]
        generated = [
            inspect.Parameter(
                keyword.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=keyword.default,
                annotation=keyword.annotation,
            )
            for keyword in accepted_keywords(function)
        ]
        decorated.__signature__ = inspect.Signature([*explicit, *generated])  # type: ignore[attr-defined]
        decorated.__doc__ = _complete(inspect.getdoc(decorated) or "", accepted_keywords(function))
        return decorated

    return decorate


def _complete(docstring: str, described: list[Keyword]) -> str:
    """Return the docstring with an entry for each keyword in place of that of `**keywords`."""
    entries = [
        "\n        ".join(textwrap.wrap(f"{keyword.name}: {keyword.sentence}", width=96))
        for keyword in described
    ]
    before, placeholder, after = docstring.partition("**keywords")
    if not placeholder:  # docstrings are stripped by python -OO
        return docstring
    rest = after.partition("\n")[2]
    return before + "\n    ".join(entries) + "\n" + rest
