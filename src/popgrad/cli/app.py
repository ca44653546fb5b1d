"""The program: its commands, and how an error becomes one line and an exit code."""

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from popgrad.cli import inspect, maintain, options, printing, training
from popgrad.core.errors import PopgradError, UsageError

# In the order of the help: how one comes to a run, then what one does with it, then all else.
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(training.run, training.resume, training.replay, training.train),
    *(inspect.show, inspect.schedule, inspect.test, inspect.tasks),
    *(maintain.doctor, maintain.gc, maintain.data, maintain.convert),
)

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def main() -> None:
    """The program. Exit codes: 0; 2 for a user's mistake; 1 for a run that fails; 130 for Ctrl-C, SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    printing.prepare()
    command = typer.main.get_command(app)
    try:
        code = command.main(sys.argv[1:] or ["--help"], prog_name="popgrad", standalone_mode=False)
    except Exception as error:
        message = getattr(error, "format_message", None)  # a command line that typer cannot read
        if message is None:
            raise
        names = [word for word in sys.argv[1:2] if word in getattr(command, "commands", {})]
        printing.complain(
            f"{message().strip().rstrip('.')}; see {' '.join(['popgrad', *names, '--help'])}"
        )
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors become one line and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except (PopgradError, OSError, KeyboardInterrupt) as error:
            said = str(error) or "interrupted"
            if isinstance(error, UsageError):  # it may repeat a name with line breaks in it
                said = said.replace("\n", "\\n")
            parts = [said, *getattr(error, "__notes__", [])]
            between = "\n" if "\n" in parts[0] else "; "  # a task's traceback has many lines
            printing.complain(between.join(parts))
            code = (
                2
                if isinstance(error, UsageError)
                else 130
                if isinstance(error, KeyboardInterrupt)
                else 1
            )
            raise typer.Exit(code) from None

    return guarded


@app.callback()
def _popgrad(version: options.Version = False) -> None:
    """Population Based Training for PyTorch: a trained model and the schedule that trained it."""


for _command in _COMMANDS:
    app.command()(_guarded(_command))
