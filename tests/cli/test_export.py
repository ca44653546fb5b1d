"""The command export: to standard output, to a file, and what it refuses."""

from pathlib import Path

import pytest

from popgrad.runs.api import load
from popgrad.runs.export import FORMATS
from program import contents, popgrad, refused


@pytest.mark.parametrize("name", [each for each in FORMATS if each != "parquet"])
def test_text_goes_to_standard_output(finished: Path, name: str) -> None:
    before = contents(finished)
    done = popgrad("export", str(finished), "--format", name)
    assert (done.code, done.err) == (0, "")
    assert done.out == load(finished).export(name)
    assert popgrad("export", str(finished), "--format", name, "-o", "file").out == ""
    assert Path("file").read_text() == done.out
    assert contents(finished) == before


def test_parquet_needs_a_file(finished: Path) -> None:
    assert "-o: expected a file for parquet" in refused(
        "export", str(finished), "--format", "parquet"
    )
    assert popgrad("export", str(finished), "--format=parquet", "-o", "x.parquet").code == 0
    assert Path("x.parquet").read_bytes().startswith(b"PAR1")


def test_mistakes_are_named(finished: Path) -> None:
    assert "--format: expected alife, newick" in refused("export", str(finished), "--format", "x")
    assert "holds no run" in refused("export", ".", "--format", "csv")
    assert "cannot write x/y" in _blocked(finished)


def _blocked(finished: Path) -> str:
    Path("x").write_text("")
    return refused("export", str(finished), "--format", "csv", "-o", "x/y")
