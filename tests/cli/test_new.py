"""popgrad new: scripts that run as they are written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from popgrad.cli.new import EXTRAS
from program import SRC, popgrad, refused

ROOT = Path(__file__).parents[2]
KINDS = ("", *EXTRAS)
SMALL = ("--population", "2", "--executor", "serial")


def write(kind: str, name: str = "script.py") -> list[str]:
    """Write a script, and return the commands that come next; skip if its library is missing."""
    if kind:
        pytest.importorskip(f"popgrad.integrations.{kind}", exc_type=ImportError)
    done = popgrad("new", name, *([f"--{kind}"] if kind else []))
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"wrote {name}"
    assert (f"needs: pip install 'popgrad[{kind}]'" in lines) == bool(kind)
    return [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_short_formatted_and_without_a_fault(kind: str) -> None:
    name = ["--" + kind] if kind else []
    assert popgrad("new", "script.py", *name).code == 0
    text = Path("script.py").read_text()
    assert len(text.splitlines()) < 60
    assert "train.py" not in text

    rules = ["--config", str(ROOT / "pyproject.toml"), "--ignore", "D,ARG,I"]
    for command in (["format", "--check", *rules[:2]], ["check", *rules]):
        ended = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "script.py"], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_a_template_runs_from_the_command_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    steps = write(kind)
    command = next(step for step in steps if step.startswith("popgrad run "))
    words = [word for word in command.split()[1:] if word not in ("--intervals", "4")]
    # The trainer of Transformers is as long as the run.
    intervals = "4" if kind == "transformers" else "2"
    done = popgrad(*words, *SMALL, "--intervals", intervals, "--dir", "here")
    assert done.code == 0, done.err
    assert popgrad("replay", "here").code == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long if kind else ()) for kind in KINDS]
)
def test_a_template_runs_as_a_script(kind: str) -> None:
    steps = write(kind)
    assert steps[0] == "python script.py"
    ended = subprocess.run(
        [sys.executable, "script.py"],
        env=os.environ | {"PYTHONPATH": SRC, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "steps" in ended.stdout


@pytest.mark.slow
def test_the_plain_script_learns_and_has_a_test_split_and_a_network() -> None:
    write("")
    done = popgrad("run", "script.py:train", *SMALL, "--intervals", "3", "--dir", "here")
    assert "on the test split, which selection has never seen: accuracy 0." in done.out
    assert Path("here/best.safetensors").exists()


def test_a_script_is_never_overwritten() -> None:
    Path("mine.py").write_text("mine")
    Path("link.py").symlink_to("nowhere.py")
    for name in ("mine.py", "link.py"):
        assert f"{name} exists, and is not overwritten" in refused("new", name)
    assert Path("mine.py").read_text() == "mine"
    assert not Path("nowhere.py").exists()


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["script.txt"], "ends in .py"),
        (["lightning.py", "--lightning"], "would hide the module lightning"),
        (["gone/script.py"], "there is no folder gone"),
        (["script.py", "--sb3", "--lightning"], "--lightning and --sb3"),
        ([], "FILE"),
    ],
)
def test_what_cannot_be_written_is_refused(argv: list[str], reason: str) -> None:
    before = sorted(Path().iterdir())
    assert reason in refused("new", *argv)
    assert sorted(Path().iterdir()) == before
