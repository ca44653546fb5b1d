"""The public names: imported at their first use, and typed as a checker reads them."""

import ast
import importlib
from pathlib import Path

import pytest

import popgrad

TREE = ast.parse(Path(popgrad.__file__).read_text(encoding="utf-8"))


def typed() -> dict[str, str]:
    """Public names with the modules that a type checker finds them in."""
    block = next(node for node in TREE.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_a_checker_finds_the_names_that_there_are() -> None:
    modules = {name for name, module in typed().items() if module == "popgrad"}
    assert {*typed()} - modules == {*popgrad.__all__}
    assert dir(popgrad) == sorted([*popgrad.__all__, *modules])


@pytest.mark.parametrize(("name", "module"), typed().items())
def test_a_name_is_what_a_checker_takes_it_for(name: str, module: str) -> None:
    if module == "popgrad":
        assert getattr(popgrad, name) is importlib.import_module(f"popgrad.{name}")
    else:
        assert getattr(popgrad, name) is getattr(importlib.import_module(module), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'popgrad' has no attribute 'runn'"):
        popgrad.runn  # type: ignore[attr-defined]  # noqa: B018
