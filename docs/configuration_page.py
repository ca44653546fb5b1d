"""The reference of all keys of a configuration, from the places that read them: `docs/configuration.md`.

`python docs/configuration_page.py` prints it; `make docs` writes it.
"""

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from popgrad.config.model import RunConfig, StrategyConfig
from popgrad.core.space import DIMENSIONS
from popgrad.strategies import STRATEGIES
from popgrad.tasks import TASKS

Row = tuple[str, ...]
"""Key, type, default, meaning."""

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}
_MANY = {"text": "texts", "whole number": "whole numbers", "number": "numbers", "table": "tables"}
_AS_BEFORE = re.compile(r"See there\.|This and all others as in ")
"""What a task's docstring says of an option that the task before it has too."""

_INTRODUCTION = """\
# Configuration

<!-- Written by `make docs`. Change the descriptions where they are read: config.py, strategies/, tasks/. -->

A run is told what to do by a TOML or JSON file of these keys, by options of the command line over it, and
by `--set KEY=VALUE` over both. Only `task` has to be given. A key that is not known, and a value that is not
allowed, is refused in one line. `run.toml` in the directory of a run is that run's complete configuration.

```toml file=run.toml
task = "digits"
population = 8
interval = "1 epoch"
epochs = 10

[options]
batch_size = 64

[strategy]
name = "pbt"
fraction = 0.25

[space]
lr = {kind = "log_uniform", low = 1e-4, high = 1e-1}
```

```python
from pathlib import Path

from popgrad import config

assert config.parse(config.read(Path("run.toml"))).strategy.options() == {"fraction": 0.25}
```

The files of the original project have [keys of their own](from-the-original.md)."""

_STRATEGY = """\
## strategy

A table of `name` and the settings of that strategy; or the name alone, as a text."""

_SPACE = """\
## space

A table of dimensions by the names of hyperparameters: `kind`, and the fields of that kind. A task has a space
of its own (`popgrad tasks`); what is given here replaces its dimensions of the same names, and adds others.
With `init_only = true` a member draws the value once, its heirs take it over, and it is never explored.
[Tasks](tasks.md) says how a task comes by its hyperparameters."""

_OPTIONS = """\
## options

Arguments of the task, by name. Those of a task of your own are the parameters of its class or function."""


def page() -> str:
    """The page, in Markdown."""
    parts = [
        _INTRODUCTION,
        "## Keys of a run",
        _table([_field(*each) for each in RunConfig.model_fields.items()]),
    ]
    parts += [_STRATEGY]
    for name, factory in STRATEGIES.items():
        parts += _section(f'name = "{name}"', factory, _described(factory))
    parts += [_SPACE, _table(map(_dimension, DIMENSIONS), ("kind", "fields", "values"))]
    parts += [_OPTIONS]
    before: Mapping[str, str] = {}
    for name, task in TASKS.items():
        meanings = {
            option: before.get(option, text) if _AS_BEFORE.match(text) else text
            for option, text in _described(task).items()
        }
        parts += _section(f'task = "{name}"', task, meanings)
        before = meanings
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterable[Row], titles: Row = ("key", "type", "default", "meaning")) -> str:
    lines = [
        titles,
        ("---",) * len(titles),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _field(name: str, field: FieldInfo) -> Row:
    """A key of a run."""
    limits = {"ge": "at least", "gt": "above", "lt": "below", "le": "at most"}
    kind = _kind(field.annotation)
    for each in field.metadata:
        for limit, words in limits.items():
            if (number := getattr(each, limit, None)) is not None:
                kind += f", {words} {'2^63' if number == 2**63 else format(number, '.15g')}"
    default = field.default.name if isinstance(field.default, StrategyConfig) else field.default
    return (
        f"`{name}`",
        kind,
        "" if field.is_required() else _value(default),
        _sentence(field.description or ""),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _dimension(name: str) -> Row:
    kind = DIMENSIONS[name]
    given = inspect.signature(kind).parameters.values()
    named = [
        each.name if each.default is each.empty else f"{each.name} = {_plain(each.default)}"
        for each in given
    ]
    return f"`{name}`", ", ".join(f"`{each}`" for each in named), _first_paragraph(kind)


def _section(title: str, factory: Callable[..., Any], meanings: Mapping[str, str]) -> list[str]:
    """A heading, what it is, and a row for each of its arguments."""
    hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    rows = [
        (f"`{name}`", _kind(hints[name]), _value(each.default), meanings.get(name, ""))
        for name, each in inspect.signature(factory).parameters.items()
        if name
        not in ("space", "score")  # the one has a section of its own, the other is the task's
    ]
    return [
        f"### {title}",
        _first_paragraph(factory),
        *([_table(rows)] if rows else ["It has no settings."]),
    ]


def _first_paragraph(factory: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(factory) or "").partition("\n\n")[0].split())


def _described(factory: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each argument."""
    text = inspect.getdoc(factory) or ""
    section = re.search(r"^(?:Args|Attributes):\n((?: +.*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.M)
    # What Python calls None is not there in a file.
    return {
        name: " ".join(words.split()).replace("None = ", "not given = ") for name, words in entries
    }


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(inner[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(
            dict.fromkeys(_kind(each) for each in inner if each is not types.NoneType)
        )
    if origin in (list, tuple, Sequence):
        return f"list of {_MANY.get(_kind(inner[0]), 'values')}"
    if origin in (dict, Mapping):
        return "table"
    if origin is typing.Literal:
        return " or ".join(inner)
    return "text or table" if annotation is StrategyConfig else _WORDS[annotation]


def _value(default: object) -> str:
    """A default as TOML has it; nothing where there is none."""
    return "" if default is None or default is inspect.Parameter.empty else f"`{_plain(default)}`"


def _plain(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    print(page(), end="")
