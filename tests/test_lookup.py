"""Modules and files of a user: in a package, in the working directory, beside others of the same name."""

import sys
from pathlib import Path

import pytest

from popgrad.core.errors import UsageError
from popgrad.lookup import import_object


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project's folder with a package, as the working directory."""
    folder = tmp_path / "project"
    (folder / "mypkg" / "inner").mkdir(parents=True)
    (folder / "mypkg" / "__init__.py").write_text("")
    (folder / "mypkg" / "inner" / "__init__.py").write_text("")
    (folder / "mypkg" / "base.py").write_text("BASE = 3\n")
    (folder / "mypkg" / "tasks.py").write_text("from .base import BASE\nthing = BASE\n")
    (folder / "mypkg" / "inner" / "deep.py").write_text("from ..base import BASE as thing\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mypkg", "alone"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "reference",
    [
        "mypkg.tasks:thing",
        "mypkg/tasks.py:thing",
        "mypkg/inner/deep.py:thing",
        "mypkg.inner.deep:thing",
    ],
)
def test_a_module_of_a_package_is_found_from_the_projects_folder(
    project: Path, reference: str
) -> None:
    assert import_object(reference, "task", {}) == 3
    assert "mypkg.base" in sys.modules


def test_a_file_of_a_package_is_found_from_anywhere(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert import_object(f"{project}/mypkg/tasks.py:thing", "task", {}) == 3
    with pytest.raises(
        UsageError, match=r"'mypkg2\.tasks' .*; start popgrad in the folder .*PYTHONPATH"
    ):
        import_object("mypkg2.tasks:thing", "task", {})


def test_a_file_beside_a_package_of_the_same_name_is_loaded_alone(
    project: Path, tmp_path: Path
) -> None:
    assert import_object("mypkg.tasks:thing", "task", {}) == 3
    other = tmp_path / "other" / "mypkg"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "tasks.py").write_text("thing = 4\n")
    assert import_object(f"{other}/tasks.py:thing", "task", {}) == 4


def test_the_working_directory_is_searched_for_its_own_modules_alone(project: Path) -> None:
    import_object("numpy:zeros", "task", {})
    assert str(project) not in sys.path
    (project / "alone.py").write_text("thing = 5\n")
    assert import_object("alone:thing", "task", {}) == 5
    assert sys.path[0] == str(project)


@pytest.mark.parametrize("raised", ["SystemExit(3)", "GeneratorExit()", "ValueError('no')"])
def test_whatever_a_module_raises_is_one_line(project: Path, raised: str) -> None:
    (project / "alone.py").write_text(f"raise {raised}\n")
    for reference in ("alone:thing", "alone.py:thing"):
        with pytest.raises(UsageError, match=raised.partition("(")[0]):
            import_object(reference, "task", {})
