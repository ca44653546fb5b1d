"""Options of the command line that set keys of a configuration, generated from the keys."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from typing import Annotated, Any

import typer

from popgrad.config.keys import Command, Key, keys, settings
from popgrad.config.model import RunConfig
from popgrad.strategies import pbt


def integer(text: str) -> int:
    """Parse an integer of the command line."""
    try:
        return int(_ascii(text))
    except ValueError:
        raise typer.BadParameter(f"expected an integer, got {text!r}") from None


def number(text: str) -> float:
    """Parse a number of the command line."""
    try:
        return float(_ascii(text))
    except ValueError:
        raise typer.BadParameter(f"expected a number, got {text!r}") from None


def _ascii(text: str) -> str:
    """Return a number's text, or raise ValueError: Python would read the digits of any script."""
    if not text.isascii():
        raise ValueError("a number in the digits 0 to 9")
    return text


PARSERS: dict[str | None, Callable[[str], Any]] = {"N": integer, "X": number}
"""Parsers of values, by metavar; all other values are strings."""

_STRATEGY_SETTINGS = ("fraction", "burn_in")
"""Settings of pbt with an option of their own; all others are set by --set strategy.NAME=VALUE."""


def key_names(command: Command) -> list[str]:
    """Return the names of the keys that have an option of a command."""
    return [key.name for key in _keys(command)]


def _keys(command: Command) -> Iterator[Key]:
    for key in keys(RunConfig):
        if key.usage.option is not None and command in key.usage.commands:
            yield key


def takes_keys(
    command: Command, *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of its keys.

    The decorated function takes `keys`, a mapping of the keys that were given, and for `run` `strategy`, a
    mapping of the strategy's given settings. In place of these, the command has an option for each key.

    Args:
        command: Command that the function implements, or that it has the options of.
        without: Names of keys whose options it does not have.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        generated = [
            _key_parameter(key, command) for key in _keys(command) if key.name not in without
        ]
        names = [parameter.name for parameter in generated]
        missing = {parameter.name: parameter.default for parameter in generated}
        # On the command line of `run`, an option without a value sets the opposite of the default.
        opposite = {
            key.name for key in _keys(command) if _has_no_value(key) and key.default is True
        }
        takes_strategy = "strategy" in inspect.signature(function).parameters
        if takes_strategy:
            position = names.index("strategy") + 1
            generated[position:position] = map(_setting_parameter, _STRATEGY_SETTINGS)

        @functools.wraps(function)
        def with_options(**arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in names}
            # An option without a value that was not given is False; None if it has a negative form.
            mappings = {
                "keys": {
                    k: v if k not in opposite else not v
                    for k, v in given.items()
                    if v is not missing[k]
                }
            }
            if takes_strategy:
                own = {name: arguments.pop(name) for name in _STRATEGY_SETTINGS}
                name = mappings["keys"].pop("strategy", None)
                mappings["strategy"] = {"name": name, **own}
            function(**arguments, **mappings)

        own = inspect.signature(function, eval_str=True).parameters.values()
        explicit = [p for p in own if p.name not in ("keys", "strategy")]
        positional = [p for p in explicit if p.default is p.empty]
        others = [p for p in explicit if p.default is not p.empty]
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*positional, *generated, *others)
        ]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return decorate


def _key_parameter(key: Key, command: Command) -> inspect.Parameter:
    """Return the parameter of a command that sets a key."""
    option = key.usage.option
    assert option is not None
    if command == "resume":
        help_text = f"{key.sentence} {key.usage.on_resume}".strip()
    else:
        help_text = with_default(key)

    names = key.option_name
    kind: Any = {"N": int, "X": float}.get(option.metavar or "", str) | None
    default: Any = None
    if option.metavar is None and command == "resume":
        # What is recorded can be taken back.
        names = f"{names}/--no-{names.removeprefix('--')}"
        kind = bool | None
    elif option.metavar is None:
        kind = bool
        default = False
    elif isinstance(key.default, list):
        kind = list[str] | None  # it may be repeated
    declared = typer.Option(
        names,
        metavar=option.metavar or "",  # an option without a value shows no type
        help=help_text,
        rich_help_panel=option.panel,
        show_default=False,
        parser=PARSERS.get(option.metavar),
    )
    return inspect.Parameter(
        key.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, declared],
    )


def _has_no_value(key: Key) -> bool:
    return key.usage.option is not None and key.usage.option.metavar is None


def with_default(key: Key) -> str:
    """Return the sentence of a key with its default."""
    if key.default is True:
        return f"{key.sentence} This turns it off."
    default = key.default if isinstance(key.default, str) else key.default_text
    if key.accepted is bool or not default or key.default == []:
        return key.sentence
    return f"{key.sentence} Default: {default}."


def _setting_parameter(name: str) -> inspect.Parameter:
    """Return the parameter of a command that sets a setting of pbt."""
    setting = next(key for key in settings(pbt) if key.name == name)
    panel = next(key.usage.option.panel for key in _keys("run") if key.usage.option)
    metavar = {int: "N", float: "X"}[setting.accepted]
    sentence = with_default(setting)
    declared = typer.Option(
        setting.option_name,
        metavar=metavar,
        help=f"Of pbt: {sentence[:1].lower()}{sentence[1:]}",
        rich_help_panel=panel,
        show_default=False,
        parser=PARSERS[metavar],
    )
    kind: Any = setting.accepted | None
    annotation = Annotated[kind, declared]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
