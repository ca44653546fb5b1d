"""What is derived from the keys is up to date and complete: a page, tables, keywords and options."""

import inspect
import re
import typing
from typing import Any

import generate
import pytest
from configuration_page import page
from key_tables import keyword_table, option_table

import popgrad
from popgrad.cli.app import command as program_command
from popgrad.cli.key_options import key_names
from popgrad.config.keys import keys, settings
from popgrad.config.model import RunConfig
from popgrad.core.space import DIMENSIONS
from popgrad.runs.components import EXECUTORS
from popgrad.runs.keywords import ResumeKeywords, RunKeywords
from popgrad.strategies import STRATEGIES, StrategyName
from popgrad.tasks import TASKS


def section(title: str) -> list[list[str]]:
    """The cells of the table below a heading of the configuration page."""
    text = page().partition(f"{title}\n")[2]
    assert text, title
    lines = re.split(r"^#", text, maxsplit=1, flags=re.M)[0].splitlines()
    rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def explicit(function: Any) -> set[str]:
    """The parameters that a function declares itself, generated keywords aside."""
    return set(function.__code__.co_varnames[: function.__code__.co_kwonlyargcount + 1])


@pytest.mark.parametrize("name", generate.FILES)
def test_a_generated_file_is_up_to_date(name: str) -> None:
    present = (generate.ROOT / name).read_text(encoding="utf-8")
    assert generate.FILES[name](present) == present, "write it again: make docs"


def test_the_pages_have_their_tables() -> None:
    for name, count in (("docs/python.md", 2), ("docs/command-line.md", 1)):
        assert (generate.ROOT / name).read_text(encoding="utf-8").count("<!-- table: ") == count


# --- the page of all keys -----------------------------------------------------------------------------


def test_every_key_of_a_run_is_on_the_page_with_its_sentence() -> None:
    rows = section("## Keys of a run")
    assert [row[0].strip("`") for row in rows] == list(RunConfig.model_fields)
    assert all(len(row) == 4 and row[1] and row[3].endswith(".") for row in rows)
    by_key = {row[0].strip("`"): row for row in rows}
    assert by_key["seed"][1:3] == ["integer, at least 0, below 2^63", "`0`"]
    assert by_key["sleep"][1:3] == ["number, at least 0, at most 1000000000", "`20.0`"]
    assert by_key["deadline"][1:3] == ["number or string, above 0", "no limit"]
    assert by_key["strategy"][1:3] == ["string or table", '`"pbt"`']
    assert "Seconds" in by_key["sleep"][3]


@pytest.mark.parametrize(("title", "factories"), [("name", STRATEGIES), ("task", TASKS)])
def test_every_setting_of_a_strategy_and_a_task_is_on_the_page_with_its_sentence(
    title: str, factories: dict[str, object]
) -> None:
    for name, factory in factories.items():
        rows = section(f'### {title} = "{name}"')
        parameters = inspect.signature(factory).parameters  # type: ignore[arg-type]
        wanted = [parameter for parameter in parameters if parameter not in ("space", "score")]
        assert [row[0].strip("`") for row in rows] == wanted
        assert all(len(row) == 4 and row[1] and row[3] for row in rows), rows


def test_options_that_two_tasks_share_have_one_sentence() -> None:
    fc, conv = (
        {row[0]: row for row in section(f'### task = "mnist-{kind}"')} for kind in ("fc", "conv")
    )
    assert fc.keys() - conv.keys() == {"`n_hiddens`"}
    assert all(conv[key] == fc[key] for key in fc.keys() & conv.keys() - {"`batch_norm`"})
    assert "See there" not in page()
    assert "None" not in page()


def test_every_kind_of_dimension_is_on_the_page_with_its_fields() -> None:
    rows = section("## space")
    assert [row[0].strip("`") for row in rows] == list(DIMENSIONS)
    assert rows[1][1] == "`low`, `high`, `init_only = false`, `start`"


# --- keywords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "typed"), [(popgrad.run, RunKeywords), (popgrad.resume, ResumeKeywords)]
)
def test_a_function_takes_a_keyword_for_each_of_its_keys(function: Any, typed: Any) -> None:
    expected = {key.name for key in keys(RunConfig) if function.__name__ in key.usage.commands}
    if function is popgrad.run:
        expected |= {key.name for factory in STRATEGIES.values() for key in settings(factory)}
    shown = set(inspect.signature(function).parameters)
    assert expected <= shown
    assert set(typing.get_type_hints(typed)) == shown - explicit(function)


@pytest.mark.parametrize("function", [popgrad.run, popgrad.resume])
def test_help_describes_every_keyword_once(function: Any) -> None:
    described = re.findall(r"^    (\w+): ", inspect.getdoc(function) or "", re.M)
    wanted = list(inspect.signature(function).parameters)
    assert [name for name in described if name in wanted] == wanted
    assert "**keywords" not in (inspect.getdoc(function) or "")


def test_a_keyword_has_the_default_of_its_key() -> None:
    parameters = inspect.signature(popgrad.run).parameters
    for key in keys(RunConfig):
        if key.name in parameters and key.usage.keyword:
            assert parameters[key.name].default == key.default


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(popgrad.UsageError, match="no keyword 'fractoin'; did you mean 'fraction'"):
        popgrad.run("quadratic", fractoin=0.3)  # type: ignore[call-arg]
    with pytest.raises(popgrad.UsageError, match=r"resume\(\) has no keyword 'seed'"):
        popgrad.resume("nowhere", seed=1)  # type: ignore[call-arg]


def test_the_executors_that_the_key_allows_are_those_that_there_are() -> None:
    key = next(key for key in keys(RunConfig) if key.name == "executor")
    assert set(typing.get_args(key.annotation)) == {*EXECUTORS, "auto"}


def test_the_strategies_that_a_checker_permits_are_those_that_there_are() -> None:
    assert list(typing.get_args(StrategyName)) == list(STRATEGIES)


# --- the same sentence everywhere ---------------------------------------------------------------------


@pytest.mark.parametrize("key", keys(RunConfig), ids=lambda key: key.name)
def test_a_key_has_one_sentence_everywhere(key: Any) -> None:
    """A key that is described by hand in another place would have another sentence there."""
    for command in ("run", "resume", "train"):
        if key.name in key_names(command):
            options = {option.name: option for option in program_command(command).params}
            assert options[key.name].help.startswith(key.sentence)
    if key.name in key_names("run"):
        assert f"| {key.sentence}" in option_table("run")
    for command in ("run", "resume"):
        if key.usage.keyword and command in key.usage.commands:
            assert f"| `{key.name}` | {key.sentence}" in keyword_table(command)
