"""Keys and how they are described: one `Key` for each field of a configuration and setting of a factory.

A field is declared with `key`. Help texts, signatures and documentation read it back with `keys`.
"""

import functools
import inspect
import json
import operator
import re
import types
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Command = Literal["run", "resume", "train"]
"""Commands that train; `run` and `resume` are functions, too."""


@dataclass(frozen=True)
class Option:
    """Option of the command line that sets a key.

    Attributes:
        panel: Heading of the help under which it is listed.
        metavar: Placeholder of its value; None = the option takes no value.
        name: Name of the option, such as "--from"; "" = that of the key.
    """

    panel: str
    metavar: str | None = None
    name: str = ""


@dataclass(frozen=True)
class Usage:
    """Places that a key can be set in, beside a file and `--set`.

    Attributes:
        commands: Commands that take its option, and functions that take its keyword.
        option: Option of the command line; None = it has none.
        keyword: Whether it is one of the generated keywords of the functions in `commands`; else they declare
            the parameter themselves, with a wider type.
        if_unset: Effect of leaving the key out, for a key whose default is None.
        on_resume: Further sentence for `resume`; "" = none.
    """

    commands: tuple[Command, ...] = ("run",)
    option: Option | None = None
    keyword: bool = True
    if_unset: str = ""
    on_resume: str = ""


@dataclass(frozen=True)
class Key:
    """Description of a key.

    Attributes:
        name: Name in a file, with "_" between words.
        sentence: Meaning of the key, one plain sentence.
        annotation: Type, with limits and validators.
        default: Value of a key that is left out (of a strategy, its name); None also if it has none.
        required: Whether the key has to be set.
        usage: Places that it can be set in.
    """

    name: str
    sentence: str
    annotation: Any
    default: Any = None
    required: bool = False
    usage: Usage = field(default_factory=Usage)

    @property
    def option_name(self) -> str:
        """Option of the command line, such as "--max-time"."""
        renamed = self.usage.option.name if self.usage.option else ""
        return renamed or f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """Default as TOML writes it, or the effect of leaving the key out; "" = nothing to state."""
        if self.default is None:
            return self.usage.if_unset
        value = list(self.default) if isinstance(self.default, tuple) else self.default
        return json.dumps(value)

    @property
    def accepted(self) -> Any:
        """Type of the values that the key can be set to, without limits and validators."""
        return accepted_type(self.annotation)


def key(
    default: Any,
    sentence: str,
    *,
    commands: tuple[Command, ...] = ("run",),
    option: Option | None = None,
    keyword: bool = True,
    if_unset: str = "",
    on_resume: str = "",
    **limits: Any,
) -> Any:
    """Declare a field of a configuration; everything that is stated about a key is stated here.

    Args:
        default: Value of a key that is left out; ... = the key is required.
        sentence: Meaning of the key, one plain sentence.
        commands: As in `Usage`.
        option: As in `Usage`.
        keyword: As in `Usage`.
        if_unset: As in `Usage`.
        on_resume: As in `Usage`.
        **limits: Limits of a number: ge, gt, le, lt.
    """
    usage = Usage(commands, option, keyword, if_unset, on_resume)
    return Field(default, description=sentence, json_schema_extra=asdict(usage), **limits)


def keys(model: type[BaseModel]) -> list[Key]:
    """Return the keys of a model in the order of its fields."""
    return [_from_field(name, info) for name, info in model.model_fields.items()]


def _from_field(name: str, info: FieldInfo) -> Key:
    extra = info.json_schema_extra
    assert isinstance(extra, dict), f"{name} is not declared with `key`"
    usage: dict[str, Any] = dict(extra)
    if usage["option"] is not None:
        usage["option"] = Option(**usage["option"])
    required = info.is_required()
    default = None if required else getattr(info.default, "name", info.default)
    annotation: Any = info.annotation
    if info.metadata:
        annotation = Annotated[(annotation, *info.metadata)]

    return Key(
        name=name,
        sentence=info.description or "",
        annotation=annotation,
        default=default,
        required=required,
        usage=Usage(**usage),
    )


def settings(factory: Callable[..., Any]) -> list[Key]:
    """Return the settings of a strategy or task: its parameters, described by its docstring.

    Args:
        factory: Function or class. Its parameters `space` and `score` are not settings.
    """
    hints = typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    sentences = _documented_arguments(factory)
    return [
        Key(
            name=name,
            sentence=sentences.get(name, ""),
            annotation=hints[name],
            default=None if parameter.default is parameter.empty else parameter.default,
            required=parameter.default is parameter.empty,
        )
        for name, parameter in inspect.signature(factory).parameters.items()
        if name not in ("space", "score")
    ]


def _documented_arguments(factory: Callable[..., Any]) -> dict[str, str]:
    """Return the description of each argument in a docstring of Google style."""
    text = inspect.getdoc(factory) or ""
    section = re.search(r"^(?:Args|Attributes):\n((?: +.*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.M)
    # A file cannot hold what Python calls None.
    return {
        name: " ".join(words.split()).replace("None = ", "not given = ") for name, words in entries
    }


def accepted_type(annotation: Any) -> Any:
    """Return the type of the values that an annotation accepts, without limits and validators."""
    if typing.get_origin(annotation) is Annotated:
        inner, *metadata = typing.get_args(annotation)
        for mark in metadata:
            wider = getattr(mark, "json_schema_input_type", PydanticUndefined)
            if wider is not PydanticUndefined:
                return wider
        return accepted_type(inner)
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, map(accepted_type, typing.get_args(annotation)))
    if typing.get_origin(annotation) in (dict, list):
        inner = tuple(map(accepted_type, typing.get_args(annotation)))
        return types.GenericAlias(typing.get_origin(annotation), inner)
    return annotation
