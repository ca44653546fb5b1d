"""The page docs/configuration.md: all keys, as the code declares them. `make docs` writes it."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from popgrad.config.keys import Key, keys, settings
from popgrad.config.model import RunConfig, StrategyConfig
from popgrad.core.space import DIMENSIONS
from popgrad.strategies import STRATEGIES
from popgrad.tasks import TASKS

Row = tuple[str, ...]
"""Key, type, default, meaning."""

_WORDS = {
    str: "string",
    Path: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    Any: "any",
    StrategyConfig: "table",
}
_LIMITS = {"ge": "at least", "gt": "above", "lt": "below", "le": "at most"}

_INTRODUCTION = """\
# Configuration

<!-- Written by `make docs`. Change the sentences in the code: config/model.py, strategies/, tasks/. -->

A run is configured by a TOML or JSON file of these keys; options of the command line override the file, and
`--set KEY=VALUE` overrides both. Only `task` is required. An unknown key, or a value that is not allowed, is
refused in one line. `run.toml` in the directory of a run is the complete configuration of that run.

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

A table of `name` and the settings of that strategy; or the name alone, as a string. Here the rate has
factors of its own, and [starts](tasks.md#the-start-range) in a part of its range:

```toml file=factors.toml
task = "digits"

[strategy]
name = "pbt"
factors = {lr = [0.5, 2.0], default = [0.8, 1.25]}

[space]
lr = {kind = "log_uniform", low = 1e-6, high = 1.0, start = [1e-3, 1e-2]}
```

On the command line the same is `--set "strategy.factors={lr = [0.5, 2.0], default = [0.8, 1.25]}"`.

```python
import popgrad

given = config.read(Path("factors.toml"))
result = popgrad.run(
    given["task"],
    space=given["space"],
    factors=given["strategy"]["factors"],
    fraction=0.4,
    population=5,
    intervals=3,
    interval=10,
    executor="serial",
)
assert all(1e-3 <= s.hparams["lr"] <= 1e-2 for s in result.segments if s.interval == 0)
explored = [s.changes["lr"] for s in result.segments if s.source and s.source[0] != s.member]
assert explored and set(explored) <= {0.5, 2.0}
```"""

_SPACE = """\
## space

A table of dimensions by the names of hyperparameters: `kind`, and the fields of that kind. A task has a space
of its own (`popgrad tasks`); a dimension given here replaces the one of the same name, or is added. With
`init_only = true` a member draws the value once, its heirs inherit it, and it is never explored. With
`start`, which may be left out, members are sampled from a part of the range, or from some of the options, and
explore reaches all of it. [Tasks](tasks.md) describes how a task receives its hyperparameters."""

_OPTIONS = """\
## options

Arguments of the task, by name. A task of your own takes the parameters of its class or function."""


def page() -> str:
    """Return the page, in Markdown."""
    parts = [_INTRODUCTION, "## Keys of a run", _table(map(_row, keys(RunConfig)))]
    parts += [_STRATEGY]
    for name, factory in STRATEGIES.items():
        parts += _section(f'name = "{name}"', factory)
    parts += [_SPACE, _table(map(_dimension, DIMENSIONS), ("kind", "fields", "values"))]
    parts += [_OPTIONS]
    for name, factory in TASKS.items():
        parts += _section(f'task = "{name}"', factory)
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterable[Row], titles: Row = ("key", "type", "default", "meaning")) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *escaped]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _section(title: str, factory: Callable[..., Any]) -> list[str]:
    """Return a heading, a description of a strategy or task, and a row for each of its settings."""
    rows = [_row(setting) for setting in settings(factory)]
    table = _table(rows) if rows else "It has no settings."
    return [f"### {title}", _first_paragraph(factory), table]


def _row(key: Key) -> Row:
    default = key.default_text
    if key.default is not None:
        default = f"`{default}`"
    return f"`{key.name}`", _kind(key), default, key.sentence


def _dimension(name: str) -> Row:
    kind = DIMENSIONS[name]
    fields = [f"`{_field(parameter)}`" for parameter in inspect.signature(kind).parameters.values()]
    return f"`{name}`", ", ".join(fields), _first_paragraph(kind)


def _field(parameter: inspect.Parameter) -> str:
    if parameter.default in (parameter.empty, None):
        return parameter.name
    return f"{parameter.name} = {str(parameter.default).lower()}"


def _first_paragraph(factory: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(factory) or "").partition("\n\n")[0].split())


def _kind(key: Key) -> str:
    """Return the type of a key in words, with its limits."""
    return ", ".join([_words(key.accepted), *_limits(key.annotation)])


def _limits(annotation: Any) -> list[str]:
    return [
        f"{words} {_number(getattr(mark, name))}"
        for mark in getattr(annotation, "__metadata__", ())
        for name, words in _LIMITS.items()
        if hasattr(mark, name)
    ]


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else format(value, ".15g")


def _words(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        kinds = [_words(member) for member in inner if member is not types.NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if origin in (list, tuple, Sequence):
        return f"list of {_words(inner[0])}s"
    if origin in (dict, Mapping):
        return "table"
    if origin is typing.Literal:
        return " or ".join(inner)
    return _WORDS[annotation]
