"""The examples run as they stand, quickly, and stay short enough to be read in one go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SAYS = {
    "own_task.py": ["validation loss 0.", "test {'accuracy': 0.9", "dropout"],
    "plain_task.py": ["validation accuracy 0.9", "ended with {'lr': "],
    "cartpole.py": ["| 0 | pbt | ", "| 0 | random-search | "],
    "custom_strategy.py": ["interval 4: best 0.9", " from ", "test {'accuracy': 0.9"],
}
"""What is printed: those that learn what they are to learn."""
ARGUMENTS = {"cartpole.py": ["--tiny"]}
"""Arguments of those that would take minutes."""


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES} == set(SAYS)


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_learns(path: Path, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, str(path), *ARGUMENTS.get(path.name, [])],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # Progress, and no warning among it.
    assert "intervals" in done.stderr
    assert "arning" not in done.stderr
    for text in SAYS[path.name]:
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
