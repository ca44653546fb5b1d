"""What a record names is imported from elsewhere, in the source that the run was started with, or not."""

import hashlib
import os
import py_compile
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from popgrad.core.errors import UsageError
from popgrad.gates.code import (
    RecordedCode,
    admit,
    check_outside,
    imported_code,
    is_own,
    recorded_code,
)
from popgrad.lookup import import_object
from popgrad.tasks import Quadratic

SOURCE = "import os\nos.mkdir('executed')\nready = 5\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with code in a run, and beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    (tmp_path / "run" / "pack").mkdir(parents=True)
    for name in ("run/evil.py", "run/pack/__init__.py", "run/pack/evil.py", "beside.py"):
        (tmp_path / name).write_text(SOURCE)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def digest(text: str = SOURCE) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def recorded(*digests: str, allow_changed: bool = False) -> RecordedCode:
    return RecordedCode(Path("run"), set(digests), allow_changed)


@pytest.mark.parametrize("allow_changed", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("{run}/evil.py:ready", "run/evil.py:ready", "run/../run/./pack/evil.py:ready"),
        *("link.py:ready", "linked/evil.py:ready", "run.evil:ready", "run.pack.evil:ready"),
    ],
)
def test_code_in_the_run_is_never_imported(name: str, allow_changed: bool, folder: Path) -> None:
    Path("link.py").symlink_to("run/evil.py")
    Path("linked").symlink_to("run")
    sys.path.insert(0, str(folder))
    name = name.format(run=folder / "run")
    with (
        recorded_code(recorded(digest(), allow_changed=allow_changed)),
        pytest.raises(UsageError, match=r"^[^\n]*is code in the directory of the run[^\n]*$"),
    ):
        import_object(name, "task", {})
    assert not Path("executed").exists()


def test_entries_of_the_path_in_the_run_are_dropped(folder: Path) -> None:
    sys.path[:0] = ["run", str(folder / "run" / "pack"), str(folder)]
    with (
        recorded_code(recorded(digest(), allow_changed=True)),
        pytest.raises(UsageError, match="ModuleNotFoundError"),
    ):
        import_object("evil:ready", "task", {})
    assert "run" not in sys.path
    assert str(folder) in sys.path


def test_a_folder_with_another_name_of_the_same_folder_is_the_run(folder: Path) -> None:
    """As on a file system that takes names in any case: the number of the folder is what counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "resolve", lambda self, strict=False: self.absolute())
        Path("RUN").symlink_to("run")
        with recorded_code(recorded(digest())), pytest.raises(UsageError, match="in the directory"):
            admit("RUN/evil.py:ready", "task")


@pytest.mark.parametrize("name", ["beside.py:ready", "beside:ready"])
def test_code_beside_the_run_is_imported_with_the_recorded_source(name: str, folder: Path) -> None:
    sys.path.insert(0, str(folder))
    with (
        recorded_code(recorded(digest("other"))),
        pytest.raises(UsageError, match=r"^the source of the metric has changed [^\n]*$"),
    ):
        import_object(name, "metric", {})
    assert not Path("executed").exists()

    with recorded_code(recorded(digest())):
        assert import_object(name, "metric", {}) == 5


def test_a_user_may_accept_another_source() -> None:
    with recorded_code(recorded(allow_changed=True)):
        assert import_object("beside.py:ready", "task", {}) == 5


def test_imported_sources_are_collected() -> None:
    with imported_code() as imported:
        import_object("beside.py:ready", "task", {})
        import_object("known", "task", {"known": 1})
    assert imported == {"beside.py:ready": digest()}


def test_a_compiled_file_beside_the_source_is_not_executed(folder: Path) -> None:
    Path("other.py").write_text("ready = 6\n" + "#" * (len(SOURCE) - len("ready = 6\n")))
    status = Path("beside.py").stat()
    os.utime("other.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    compiled = f"__pycache__/beside.{sys.implementation.cache_tag}.pyc"
    py_compile.compile("other.py", cfile=compiled, dfile="beside.py")
    assert import_object("beside.py:ready", "task", {}) == 5


@pytest.mark.parametrize("with_record", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("os:system", "antigravity:x", "subprocess:run", "posix:mkdir", "builtins:exec"),
        *("popgrad:run", "popgrad.lookup:import_object", "popgrad.lookup:_load_file"),
        *("popgrad.runs.api:run", "popgrad.cli:main", "popgrad.__main__:x"),
    ],
)
def test_parts_of_python_and_popgrad_are_no_tasks(name: str, with_record: bool) -> None:
    sys.modules.pop("antigravity", None)
    gate = recorded_code(recorded(allow_changed=True)) if with_record else nullcontext()
    told = r"makes no task: it is a part of (Python|popgrad) itself"
    with gate, pytest.raises(UsageError, match=told):
        import_object(name, "task", {})
    assert "antigravity" not in sys.modules


def test_strings_at_any_depth_are_searched_for_code_in_the_run() -> None:
    check_outside({"a": ["beside.py:ready", "loss", "-accuracy", "C:", 5, None]}, Path("run"))
    for text in ("-run/evil.py:metric", "run/evil.py", "run/evil.py:x"):
        with pytest.raises(UsageError, match="in the directory of the run"):
            check_outside(("digits", {"a": [{"b": text}]}), Path("run"))


def test_a_users_own_functions_are_told_from_those_of_libraries() -> None:
    assert is_own(digest)
    assert is_own(partial(partial(digest), "x"))
    for other in (os.system, Quadratic, partial(os.system, "x"), pytest.raises, len):
        assert not is_own(other)


@pytest.mark.parametrize("what", ["pipe", "folder", "zero", "huge"])
def test_code_is_a_regular_file_of_a_bounded_size(what: str) -> None:
    match what:
        case "pipe":
            os.mkfifo("x.py")
        case "folder":
            Path("x.py").mkdir()
        case "zero":
            Path("x.py").symlink_to("/dev/zero")
        case "huge":
            Path("x.py").touch()
            os.truncate("x.py", 1 << 40)
    with pytest.raises(UsageError, match=r"task file x.py cannot be read: "):
        import_object("x.py:Task", "task", {})
