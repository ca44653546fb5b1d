"""What a command imports: help and mistakes come at once, and only what trains waits for torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from popgrad.cli.app import COMMANDS, EXAMPLES, command
from program import SRC, popgrad

HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "pandas", "ray")

PROGRAM = """
import sys
from popgrad.cli import main
sys.argv = ["popgrad", *sys.argv[1:]]
try:
    main()
except SystemExit:
    print("modules:", *sys.modules)
"""


def imported(*argv: str) -> set[str]:
    """The modules that a call of the program imports, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv],
        env=os.environ | {"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ended.stdout.rpartition("modules:")[2].split())


@pytest.mark.slow
@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("runn",)])
def test_the_help_the_version_and_a_misspelt_command_import_nothing_large(
    argv: tuple[str, ...],
) -> None:
    assert imported(*argv).isdisjoint([*HEAVY, "numpy"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [("run", "--help"), ("train", "--help"), ("resume", "here", "--interals", "3"), ("gc", "-h")],
)
def test_the_help_of_a_command_and_a_misspelt_option_need_no_torch(argv: tuple[str, ...]) -> None:
    assert imported(*argv).isdisjoint(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [("show",), ("show", "--json"), ("schedule",)])
def test_a_record_is_shown_without_torch(argv: tuple[str, ...], finished: Path) -> None:
    assert imported(*argv, str(finished)).isdisjoint(HEAVY)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_one_first_line_and_an_example_in_its_help(name: str) -> None:
    assert command(name).help.partition("\n")[0] == COMMANDS[name][1]
    shown = popgrad(name, "--help")
    assert EXAMPLES[name] in " ".join(shown.out.split())
    assert "<bool>" not in shown.out


def test_the_commands_complete_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_POPGRAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "popgrad sch")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert popgrad().out.split() == ["schedule"]
    monkeypatch.setenv("COMP_WORDS", "popgrad show --js")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert popgrad().out.split() == ["--json"]
