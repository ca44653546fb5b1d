"""Commands that keep files in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from popgrad.cli import keeping
from program import popgrad


def test_data_prints_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, directory: Path, progress: Callable[[str, int, int | None], None]) -> list[Path]:
        progress("a.gz", 1, 2)
        progress("a.gz", 2, 2)
        return [directory / name / "a.gz"]

    monkeypatch.setattr(keeping, "download", download)
    assert popgrad("data", "mnist", "--dir", "there").out == "there/mnist/a.gz\n"
