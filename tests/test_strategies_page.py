"""The page of the strategies: each has a row, a section, a file, and the options that it really has."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from popgrad.core.space import LogUniform, Space
from popgrad.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: [cell.strip() for cell in match[0].strip("|").split("|")]
    for match in re.finditer(r"^\| \[`([a-z0-9-]+)`\].*\|$", PAGE, re.M)
}
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))
SPACE = Space({"lr": LogUniform(1e-4, 0.1)})


def options(section: str) -> dict[str, object]:
    """Return the options that a section lists, with their defaults."""
    paragraph = re.search(r"^Options: (.*?)\n\n", section + "\n\n", re.M | re.S)
    assert paragraph is not None
    listed = re.findall(r"`(\w+)=([^`]*)`", paragraph[1])
    return {
        name: None if text == "None" else tomllib.loads(f"x = {text}")["x"] for name, text in listed
    }


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_every_strategy_has_a_row_and_a_section() -> None:
    assert [name for name in STRATEGIES if name not in ROWS or name not in SECTIONS] == []


@pytest.mark.skipif(len(STRATEGIES) < 15, reason="the strategies of the page are not merged yet")
def test_the_page_names_no_other() -> None:
    assert set(ROWS) == set(SECTIONS) == set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_row_has_every_cell_and_names_the_file(name: str) -> None:
    cells = ROWS[name]
    assert len(cells) == 6
    assert all(cells)
    module = STRATEGIES[name].__module__.rpartition(".")[2]
    assert cells[2] == f"`{module}.py`"
    assert f"(#{name})" in cells[0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_section_lists_the_options_with_their_defaults(name: str) -> None:
    _, *settings = inspect.signature(STRATEGIES[name]).parameters.values()
    defaults = {setting.name: plain(setting.default) for setting in settings}
    assert options(SECTIONS[name]) == defaults


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_that_decides_together_is_marked(name: str) -> None:
    assert ("*together*" in ROWS[name][3]) is STRATEGIES[name](SPACE).together
