"""Strategies of a benchmark, read from words such as "pbt:fraction=0.3"."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from popgrad import config as configuration
from popgrad.comparison.groups import strategy_label
from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.strategies import STRATEGIES

_BETWEEN = re.compile(r",(?![^\[\]]*\])")
"""Comma between two strategies, not within a list such as factors=[0.5,2]."""

_MOST = 50
"""Most strategies of a benchmark."""


def read_strategies(given: str | Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return strategies by label: each a name, with settings after colons.

    Args:
        given: Strategies in one string, with commas between them, or a sequence of them.

    Returns:
        Name and settings of each strategy, by its label.

    Raises:
        UsageError: There is no such strategy, a setting has no value, or one is given twice.

    Example:
        >>> read_strategies("pbt,pbt:fraction=0.3:factors=[0.5,2.0],random-search")["random-search"]
        {'name': 'random-search'}
        >>> list(read_strategies("pbt,pbt:fraction=0.3:factors=[0.5,2.0]"))
        ['pbt', 'pbt:fraction=0.3:factors=[0.5,2.0]']
    """
    if isinstance(given, str):
        words = [word.strip() for word in _BETWEEN.split(given)]
    else:
        words = list(given)
    if not words or len(words) > _MOST or not all(isinstance(word, str) for word in words):
        raise UsageError(
            f"strategies: expected 1 to {_MOST} names such as pbt,random-search, got {given!r:.100}"
        )

    strategies: dict[str, Mapping[str, Any]] = {}
    for word in words:
        values = _read_strategy(word)
        label = strategy_label(values)
        if label in strategies:
            raise UsageError(f"strategies: {label} is given twice; leave one out")
        strategies[label] = values
    return strategies


def _read_strategy(word: str) -> dict[str, Any]:
    name, *settings = word.split(":")
    if name not in STRATEGIES:
        raise UsageError(
            f"strategies: expected {', '.join(STRATEGIES)}, got {name!r:.100}"
            f"{did_you_mean(name, STRATEGIES)}"
        )

    for setting in settings:
        if not re.fullmatch(r"\w+=.+", setting, re.S):
            raise UsageError(
                f"strategies: expected settings as in {name}:NAME=VALUE, got {word!r:.100}"
            )

    changed = configuration.override(
        {"strategy": {"name": name}}, [f"strategy.{setting}" for setting in settings]
    )
    strategy: dict[str, Any] = changed["strategy"]
    if strategy["name"] != name:
        raise UsageError(f"strategies: {word!r:.100} sets the name twice")
    return strategy


def folder_name(label: str) -> str:
    """Return the name of a folder for the runs of a strategy.

    Example:
        >>> folder_name("pbt:fraction=0.3")
        'pbt-fraction=0.3'
    """
    return re.sub(r"[^\w.=,\[\]-]", "-", label)
