"""The program: its commands, and the way from an error to one line and an exit code."""

import functools
import importlib
import inspect
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from popgrad.cli import printing
from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.spelling import did_you_mean

_HELP = "Population Based Training for PyTorch: a trained model and the schedule that trained it."

_SETTINGS: Mapping[str, Any] = {"help_option_names": ["-h", "--help"]}

COMMANDS: Mapping[str, tuple[str, str]] = {
    "new": ("new", "Write a small script with a training loop, to start from."),
    "run": ("training", "Train a population, and show the winner and its schedule."),
    "resume": (
        "training",
        "Continue a run: after an interruption, for more intervals, or with another population.",
    ),
    "replay": (
        "training",
        "Retrain the winner along its lineage, and compare every bit; or a new model under its schedule.",
    ),
    "ablate": (
        "ablation",
        "Train the winner's schedule, and constants, alone with fresh seeds: did the schedule help?",
    ),
    "train": (
        "training",
        "Train one network under a given schedule, and test it beside the training.",
    ),
    "benchmark": (
        "compare",
        "Train several strategies with several seeds under equal budgets, and compare them.",
    ),
    "compare": ("compare", "Compare runs: what helped, by how much, and how sure that is."),
    "study": (
        "study",
        "Create a study, whose members are trained by its callers, and print its status.",
    ),
    "ask": ("study", "Print the next assignment of a study as JSON, and lease it."),
    "tell": ("study", "Record the outcome of an assignment of a study."),
    "list": (
        "listing",
        "List the runs below a folder with their status and best score, the newest first.",
    ),
    "show": (
        "inspect",
        "Show the status of a run, its winner, schedule and lineage, also while it is in progress.",
    ),
    "watch": ("watch", "Show a run that was started elsewhere, until it ends."),
    "dashboard": (
        "see",
        "Show runs in a browser, also while they are in progress, until Ctrl-C.",
    ),
    "schedule": ("inspect", "Print the schedule that trained the winner, or any member."),
    "plot": (
        "plot",
        "Draw a figure of a run: its schedule, family tree, founders, scores or workers.",
    ),
    "export": ("export", "Write the record of a run, or its family tree, for other tools."),
    "report": (
        "report_page",
        "Write the report of a run: one page that opens offline, with its lineage, schedule and scores.",
    ),
    "test": (
        "inspect",
        "Test a run's winner, one of its members or checkpoints, or a pretrained network.",
    ),
    "soup": (
        "inspect",
        "Average the last members' weights to one model, and compare it with the winner.",
    ),
    "check": (
        "check",
        "Train short segments of a task in ways that must give equal bits, and name what differs.",
    ),
    "tasks": ("inspect", "List the built-in tasks, their spaces, and their options."),
    "strategies": ("inspect", "List the strategies, and their options with defaults."),
    "doctor": ("maintain", "Examine the installation, or a run, and advise."),
    "gc": ("maintain", "Delete the checkpoints of a run that nothing needs."),
    "data": ("maintain", "Download a data set; existing files are checked and kept."),
    "convert": (
        "maintain",
        "Print a JSON file of the original project as TOML, with notes on keys without effect.",
    ),
}
"""Commands in the order of the help: each with its module here, and the first line of its docstring.

A module is imported when its command is used, since torch takes seconds; the help needs none.
"""

EXAMPLES: Mapping[str, str] = {
    "new": "popgrad new train.py",
    "run": "popgrad run digits --population 8 --set strategy.fraction=0.25",
    "resume": "popgrad resume runs/first --intervals 40",
    "replay": "popgrad replay runs/first",
    "ablate": "popgrad ablate runs/first --seeds 10",
    "train": "popgrad train vanilla.toml --mode traintest",
    "benchmark": "popgrad benchmark digits --strategies pbt,random-search --seeds 5",
    "compare": "popgrad compare runs/benchmark-digits --figure compare.png",
    "study": "popgrad study runs/asked study.toml",
    "ask": "popgrad ask runs/asked --wait 60",
    "tell": "popgrad tell runs/asked TOKEN accuracy=0.9 --path my/checkpoint-17",
    "list": "popgrad list runs",
    "show": "popgrad show runs/first",
    "watch": "popgrad watch runs/first",
    "dashboard": "popgrad dashboard runs --open",
    "schedule": "popgrad schedule runs/first --explain",
    "plot": "popgrad plot runs/first lineage -o lineage.svg",
    "export": "popgrad export runs/first --format newick -o tree.nwk",
    "report": "popgrad report runs/first",
    "test": "popgrad test runs/first",
    "soup": "popgrad soup runs/first --test",
    "check": "popgrad check train.py:train",
    "tasks": "popgrad tasks",
    "strategies": "popgrad strategies",
    "doctor": "popgrad doctor runs/first",
    "gc": "popgrad gc runs/first --dry-run",
    "data": "popgrad data mnist",
    "convert": "popgrad convert original.json",
}
"""An example of each command, at the end of its help."""


@functools.cache
def command(name: str) -> Any:
    """Return a command with all its options; its module is imported."""
    function = getattr(importlib.import_module(f"popgrad.cli.{COMMANDS[name][0]}"), name)
    single = typer.Typer(add_completion=False, context_settings=dict(_SETTINGS))
    text = _unwrapped(inspect.getdoc(function) or "")
    epilog = f"Example: {EXAMPLES[name]}"
    single.command(name, cls=_Command, help=text, epilog=epilog)(_guard(function))
    return typer.main.get_command(single)


def _unwrapped(docstring: str) -> str:
    """Return a docstring with each paragraph on one line, which the terminal wraps at its width."""
    return "\n\n".join(" ".join(part.split()) for part in docstring.split("\n\n"))


class _Command(TyperCommand):
    """One command."""

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help; like every option without a value, it shows no type."""
        option: Any = super().get_help_option(ctx)
        option.metavar = ""
        return option


class _Commands(TyperGroup):
    """All commands; each is imported when it is used."""

    def __init__(self, **settings: Any) -> None:
        listed = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}
        super().__init__(**{**settings, "commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command and its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, command(name) if name in COMMANDS else None, rest


app = typer.Typer(cls=_Commands, context_settings=dict(_SETTINGS))


def main() -> None:
    """Run the program.

    Exit codes: 0; 2 for a user's mistake; 1 for a run that fails, or a finding; 130 for Ctrl-C and SIGTERM.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    printing.prepare()
    program = typer.main.get_command(app)
    try:
        code = program.main(sys.argv[1:] or ["--help"], prog_name="popgrad", standalone_mode=False)
    except Exception as error:
        message = _explain(error)  # of a command line that typer cannot read
        if message is None:
            raise
        names = [word for word in sys.argv[1:2] if word in COMMANDS]
        usage = " ".join(["popgrad", *names, "--help"])
        printing.complain(f"{message}; see {usage}")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Any) -> str | None:
    """Return the message of a command line that typer cannot read; None = another error."""
    if not hasattr(error, "format_message"):
        return None
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        return f"there is no option {option}{did_you_mean(option, error.possibilities or [])}"

    message = str(error.format_message()).strip().rstrip(".?")
    command_name = re.fullmatch(r"No such command '(.*?)'(?:\. Did you mean .*)?", message)
    if command_name is not None:
        similar = did_you_mean(command_name[1], COMMANDS)
        return f"there is no command {command_name[1]!r}{similar}"
    return re.sub(r"^Invalid value for '([^']*)': ", r"\1: ", message)


def _guard(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose errors become one line and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            with printing.keep_for_results():
                function(*args, **kwargs)

        except (PopgradError, OSError, KeyboardInterrupt) as error:
            message = str(error) or "interrupted"
            if isinstance(error, UsageError):  # it may repeat a name with line breaks in it
                message = message.replace("\n", "\\n")
            separator = "\n" if "\n" in message else "; "  # a task's traceback has many lines
            printing.complain(separator.join([message, *getattr(error, "__notes__", [])]))
            raise typer.Exit(_exit_code(error)) from None

        except (MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            printing.complain(f"the memory does not suffice{': ' if reason else ''}{reason}")
            raise typer.Exit(1) from None

    return guarded


def _lacks_memory(error: BaseException) -> bool:
    """Return whether an error states that memory could not be had; torch has no type of it on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return "can't allocate memory" in text or "not enough memory" in text


def _exit_code(error: BaseException) -> int:
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 1


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(version("popgrad"))
        raise typer.Exit


_Version = Annotated[
    bool,
    typer.Option(
        "--version",
        metavar="",
        help="Print the version.",
        show_default=False,
        callback=_print_version,
        is_eager=True,
    ),
]


@app.callback(help=_HELP, epilog=f"Example: {EXAMPLES['run']}")
def _popgrad(version: _Version = False) -> None:
    """Take the options before a command."""
