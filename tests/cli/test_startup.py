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
    [
        ("run", "--help"),
        ("train", "--help"),
        ("resume", "here", "--interals", "3"),
        ("gc", "-h"),
        ("benchmark", "--help"),
    ],
)
def test_the_help_of_a_command_and_a_misspelt_option_need_no_torch(argv: tuple[str, ...]) -> None:
    assert imported(*argv).isdisjoint(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [("show",), ("show", "--json"), ("schedule",), ("compare",)])
def test_a_record_is_shown_without_torch(argv: tuple[str, ...], finished: Path) -> None:
    assert imported(*argv, str(finished)).isdisjoint(HEAVY)


@pytest.mark.slow
def test_the_dashboard_needs_no_torch() -> None:
    code = "import sys, popgrad.dashboard.serve; print('modules:', *sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(ended.stdout.split()).isdisjoint(HEAVY)


@pytest.mark.slow
def test_a_figure_and_an_export_need_no_torch(finished: Path) -> None:
    drawn = imported("plot", str(finished), "lineage", "-o", "lineage.png")
    assert drawn.isdisjoint({*HEAVY} - {"matplotlib"})
    assert "matplotlib.pyplot" not in drawn
    assert imported("export", str(finished), "--format", "newick").isdisjoint(HEAVY)


@pytest.mark.slow
def test_the_strategies_are_listed_without_torch() -> None:
    assert imported("strategies").isdisjoint(HEAVY)


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
