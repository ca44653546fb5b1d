"""Fingerprints of tasks: equal for equal code and values, none for what has no description."""

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from popgrad.runs.seen import CheckedTasks, task_fingerprint

WIDTH = 8


class Task:
    """A task that holds a value."""

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a task."""

    width: int = 8


def fingerprint(value: Any) -> str | None:
    task: Any = Task(value)
    return task_fingerprint(task, "cpu")


def adding(number: int) -> Any:
    return lambda x: x + number


def made(number: int) -> Any:
    class Made:
        def train(self) -> int:
            return number

    return Made()


@pytest.mark.parametrize(
    ("some", "other"),
    [
        (1, 2),
        (1, 1.0),
        ("a", b"a"),
        ([1], (1, 1)),
        ({"a": 1}, {"a": 2}),
        (Options(), Options(9)),
        (adding(1), adding(2)),
        (made(1), made(2)),
        (partial(max, 1), partial(max, 2)),
        (torch.zeros(2), torch.ones(2)),
        (dict, list),
        (Task(1).__init__, Task(2).__init__),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_value_has_another_fingerprint(some: Any, other: Any) -> None:
    assert fingerprint(some) is not None
    assert fingerprint(some) == fingerprint(some)
    assert fingerprint(some) != fingerprint(other)


def test_another_kind_of_device_has_another_fingerprint() -> None:
    task: Any = Task(1)
    assert task_fingerprint(task, "cpu") != task_fingerprint(task, "cuda")


def test_a_global_number_that_a_function_reads_is_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def width() -> int:
        return WIDTH

    before = fingerprint(width)
    monkeypatch.setitem(globals(), "WIDTH", 9)
    assert fingerprint(width) != before


def test_what_has_no_description_has_no_fingerprint() -> None:
    notebook: dict[str, Any] = {}
    exec("def train(): ...", notebook)
    for value in (object(), notebook["train"], torch.zeros(1 << 20), open):
        assert fingerprint([value]) is None or value is open
    circle: list[Any] = []
    circle.append(circle)
    assert fingerprint(circle) is None


def test_another_process_has_the_same_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from own import Own
from popgrad.runs.seen import task_fingerprint
print(task_fingerprint(Own(), "cpu"))
"""
    script = tmp_path / "script.py"
    script.write_text(program)

    def printed() -> str:
        return subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=True
        ).stdout.strip()

    file.write_text("class Own:\n    def train(self): return 1\n")
    first = printed()
    assert len(first) == 64
    assert printed() == first
    file.write_text("class Own:\n    def train(self): return 11\n")
    assert printed() != first


def test_the_newest_fingerprints_are_kept() -> None:
    known = CheckedTasks()
    for number in range(520):
        known.add(f"{number}")
    assert "519" in known
    assert len(known._lines()) == 500
    assert None not in known
