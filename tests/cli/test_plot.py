"""The command plot: where a figure goes, and what is never overwritten."""

import shutil
from pathlib import Path

import pytest

from popgrad.reports import figures
from popgrad.runs.plot import PLOTS
from program import contents, popgrad, refused

KINDS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def copy(finished: Path) -> Path:
    """A copy of a finished run in the working directory, without its figures, which were left blank."""
    return Path(shutil.copytree(finished, "run", ignore=shutil.ignore_patterns("*.png")))


@pytest.mark.parametrize("name", PLOTS)
def test_each_figure_is_drawn_into_the_directory(copy: Path, name: str) -> None:
    done = popgrad("plot", "run", name)
    assert (done.code, done.out, done.err) == (0, f"run/{name}.png\n", "")
    assert (copy / f"{name}.png").exists()


@pytest.mark.draws
@pytest.mark.parametrize("kind", KINDS)
def test_the_suffix_names_the_format(finished: Path, kind: str) -> None:
    before = contents(finished)
    for _ in range(2):  # an older figure is replaced
        done = popgrad("plot", str(finished), "scores", "-o", f"new/s.{kind}", "--size", "5x4")
        assert done.out == f"new/s.{kind}\n"
        first = Path(f"new/s.{kind}").read_bytes()
    assert first.startswith(KINDS[kind])
    assert (
        popgrad("plot", str(finished), "scores", f"--output=again.{kind}", "--size=5X4").code == 0
    )
    assert Path(f"again.{kind}").read_bytes() == first
    assert contents(finished) == before


def test_options_of_a_figure(finished: Path) -> None:
    assert popgrad("plot", str(finished), "lineage", "--member=1", "-o", "a.svg").code == 0
    assert popgrad("plot", str(finished), "lineage", "--colour=h0", "-o", "b.svg").code == 0
    assert "founders takes none; schedule, lineage, scores do" in refused(
        "plot", str(finished), "founders", "--member=1"
    )
    assert "--colour: scores takes none; lineage do" in refused(
        "plot", str(finished), "scores", "--colour=h0"
    )


@pytest.mark.parametrize("size", ["5", "x", "5x", "0x5", "nanx5", "5x99", "1.2.3x4", "5*4", "٣x٣"])
def test_a_size_is_two_lengths(finished: Path, size: str) -> None:
    assert "size: expected width" in refused("plot", str(finished), "scores", f"--size={size}")


def test_other_files_are_not_overwritten(copy: Path) -> None:
    before = contents(copy)
    assert "expected a file that ends in .png, .svg, .pdf, got run/journal.db" in refused(
        "plot", "run", "scores", "-o", "run/journal.db"
    )
    Path("notes.png").write_text("my notes")
    assert "notes.png exists, and is no PNG" in refused("plot", "run", "scores", "-o", "notes.png")
    Path("folder.png").mkdir()
    assert "cannot write folder.png: Is a directory" in refused(
        "plot", "run", "scores", "-o", "folder.png"
    )
    assert contents(copy) == before
    assert Path("notes.png").read_text() == "my notes"


def test_mistakes_are_named(finished: Path) -> None:
    assert "did you mean 'lineage'" in refused("plot", str(finished), "linage")
    assert "holds no run" in refused("plot", ".", "lineage")
    assert "member 9 has no finished segment" in refused(
        "plot", str(finished), "lineage", "--member=9"
    )


def test_a_read_only_directory_needs_a_file_elsewhere(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(figure: object, path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(figures, "save", refuse)
    said = refused("plot", "run", "lineage")
    assert said.endswith("lineage.png: Permission denied; choose a file by -o\n")
    assert "choose" not in refused("plot", "run", "lineage", "-o", "here.png")
