"""The page "How it works" is true: its files and functions exist, and its picture agrees with the layers."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from test_layers import LAYERS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "popgrad"
PAGE = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")

FILES = sorted(set(re.findall(r"`([\w/]+(?:\.py|\.md|/))`", PAGE)) - {"src/popgrad/"})
NAMES = sorted(set(re.findall(r"`([\w/]+\.py)`,\s+`((?:[A-Z]\w*\.)?\w+)`", PAGE)))


def picture() -> ModuleType:
    file = ROOT / "docs" / "figures" / "how_it_works.py"
    spec = importlib.util.spec_from_file_location("how_it_works", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows() -> dict[str, int]:
    """The row of each package in the picture, from the top."""
    return {
        package.partition(":")[0]: number
        for number, (_, _, packages) in enumerate(picture().ROWS)
        for package in packages
    }


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_the_page_names_exists(path: str) -> None:
    assert (SOURCE / path).exists()


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_a_function_that_the_page_names_is_in_its_file(path: str, name: str) -> None:
    owner, _, function = name.rpartition(".")
    text = (SOURCE / path).read_text(encoding="utf-8")
    assert re.search(rf"^( *)(def|class) {function}\b", text, re.M)
    assert not owner or re.search(rf"^class {owner}\b", text, re.M)


def test_the_page_names_enough_to_be_checked() -> None:
    assert len(FILES) > 50
    assert len(NAMES) > 15


def test_the_picture_has_every_package_and_imports_lead_down_only() -> None:
    row = rows()
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert packages <= row.keys()

    upwards = []
    for part, permitted in LAYERS.items():
        package = part.removeprefix("popgrad.").partition(".")[0]
        for target in permitted:
            other = target.removeprefix("popgrad.").partition(".")[0]
            if {package, other} <= row.keys() and package != other and row[other] <= row[package]:
                upwards.append((part, target))
    assert upwards == []
