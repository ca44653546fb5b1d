"""Vendored libraries are those of their packages, byte for byte, with the text of their licence."""

import hashlib
import json
from pathlib import Path

import popgrad

FOLDER = Path(popgrad.__file__).parent / "dashboard" / "static" / "vendor"
RECORDED = {
    each["file"]: each for each in json.loads((FOLDER / "digests.json").read_text())["files"]
}


def test_every_file_has_its_recorded_digest() -> None:
    found = {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in RECORDED}
    assert found == {name: each["sha256"] for name, each in RECORDED.items()}


def test_nothing_else_lies_beside_them() -> None:
    present = {path.name for path in FOLDER.iterdir()}
    assert present == {*RECORDED, "digests.json", "README.md"}


def test_every_library_comes_with_its_licence() -> None:
    phrases = {
        "ISC": "Permission to use, copy, modify, and/or distribute",
        "MIT": "The MIT License",
    }
    for name in {each["name"] for each in RECORDED.values()}:
        licence = RECORDED[f"{name}.LICENSE"]
        assert phrases[licence["licence"]] in (FOLDER / licence["file"]).read_text()


def test_the_table_states_the_recorded_versions() -> None:
    table = (FOLDER / "README.md").read_text()
    for each in RECORDED.values():
        assert f"| {each['version']} | {each['licence']}, `{each['name']}.LICENSE` |" in table
        assert each["version"] in each["origin"]
