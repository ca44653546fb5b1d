"""The reference of all keys is what the code says, and leaves none out."""

import inspect
import re
from pathlib import Path

import pytest
from configuration_page import page

from popgrad.config.model import RunConfig
from popgrad.core.space import DIMENSIONS
from popgrad.strategies import STRATEGIES
from popgrad.tasks import TASKS

FILE = Path(__file__).parents[1] / "docs" / "configuration.md"


def section(title: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    text = page().partition(f"{title}\n")[2]
    assert text, title
    lines = re.split(r"^#", text, maxsplit=1, flags=re.M)[0].splitlines()
    rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_page_is_the_generated_one() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "write it again: make docs"


def test_every_key_of_a_run_is_there_with_its_meaning() -> None:
    rows = section("## Keys of a run")
    assert [row[0].strip("`") for row in rows] == list(RunConfig.model_fields)
    assert all(len(row) == 4 and row[1] and row[3].endswith(".") for row in rows)
    by_key = {row[0].strip("`"): row for row in rows}
    assert by_key["seed"][1:3] == ["whole number, at least 0, below 2^63", "`0`"]
    assert by_key["sleep"][1:3] == ["number, at least 0, at most 1000000000", "`20.0`"]
    assert "seconds" in by_key["sleep"][3].lower()
    assert by_key["strategy"][1:3] == ["text or table", '`"pbt"`']


@pytest.mark.parametrize(("title", "factories"), [("name", STRATEGIES), ("task", TASKS)])
def test_every_setting_of_a_strategy_and_a_task_is_there_with_its_meaning(
    title: str, factories: dict[str, object]
) -> None:
    for name, factory in factories.items():
        rows = section(f'### {title} = "{name}"')
        parameters = inspect.signature(factory).parameters  # type: ignore[arg-type]
        wanted = [each for each in parameters if each not in ("space", "score")]
        assert [row[0].strip("`") for row in rows] == wanted
        assert all(len(row) == 4 and row[1] and row[3] for row in rows), rows


def test_what_is_as_for_the_task_before_is_said_again() -> None:
    fc, conv = (
        {row[0]: row for row in section(f'### task = "mnist-{kind}"')} for kind in ("fc", "conv")
    )
    assert fc.keys() - conv.keys() == {"`n_hiddens`"}
    assert all(conv[key] == fc[key] for key in fc.keys() & conv.keys() - {"`batch_norm`"})
    assert "See there" not in page()
    assert "None" not in page()


def test_every_kind_of_dimension_is_there_with_its_fields() -> None:
    rows = section("## space")
    assert [row[0].strip("`") for row in rows] == list(DIMENSIONS)
    assert rows[1][1] == "`low`, `high`, `init_only = false`"
