"""The tables of keywords and options in docs/python.md and docs/command-line.md.

A table stands between two comments that name it; `python docs/generate.py`, which is `make docs`, writes it.
"""

import re
from collections.abc import Sequence
from typing import Any

from popgrad.cli.app import command as program_command
from popgrad.config.keys import keys, settings
from popgrad.config.model import RunConfig
from popgrad.runs.signature import Function, accepted_keywords
from popgrad.strategies import pbt

_MARKED = re.compile(r"(<!-- table: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.S)


def with_tables(text: str) -> str:
    """Return a page with each marked table in it as the code has it."""

    def table(match: re.Match[str]) -> str:
        rows = keyword_table(match[3]) if match[2] == "keywords" else option_table(match[3])
        return f"{match[1]}\n{rows}\n\n{match[4]}"

    return _MARKED.sub(table, text)


def keyword_table(function: Function) -> str:
    """Return the table of the keywords of a function."""
    rows = [(f"`{keyword.name}`", keyword.sentence) for keyword in accepted_keywords(function)]
    return _table(("keyword", "meaning"), rows)


def option_table(command: str) -> str:
    """Return the table of the options of a command."""
    rows = [
        _option_row(parameter)
        for parameter in program_command(command).params
        if parameter.param_type_name == "option" and parameter.name != "help"
    ]
    return _table(("option", "key", "meaning"), rows)


def _option_row(option: Any) -> tuple[str, str, str]:
    value = "" if option.is_flag else f" {option.metavar}"
    key = ""
    if option.name in {key.name for key in keys(RunConfig)}:
        key = f"`{option.name}`"
    elif option.name in {setting.name for setting in settings(pbt)}:
        key = f"`strategy.{option.name}`"
    return f"`{option.opts[0]}{value}`", key, option.help or ""


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        titles,
        ["---"] * len(titles),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
