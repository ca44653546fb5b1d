import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from popgrad.executors.interpreter import interpreter

TELLS = """
import os, module
print(module.__file__, os.getpgrp() == os.getpid(), os.environ["OMP_NUM_THREADS"])
"""


def said(*arguments: str, **options: Any) -> str:
    with interpreter(*arguments, stdout=subprocess.PIPE, **options) as process:
        assert process.stdout is not None
        return process.stdout.read().decode().strip()


@pytest.mark.parametrize("how", ["-c", "-m"])
def test_it_finds_modules_where_this_process_does_and_not_first_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for folder in ("cwd", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").touch()
        (tmp_path / folder / "tells.py").write_text(TELLS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "path")])
    what = TELLS if how == "-c" else "tells"
    assert said(how, what, cwd=tmp_path / "cwd") == f"{tmp_path / 'path' / 'module.py'} True 1"


def test_where_this_process_looks_into_the_working_directory_it_does_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module.py").touch()
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert said("-c", TELLS, cwd=tmp_path).startswith(os.fspath(tmp_path))
