"""The program: its commands, and the way from an error to one line and an exit code."""

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from popgrad.cli import inspect, maintain, options, printing, training
from popgrad.core.errors import PopgradError, UsageError

# In the order of the help: commands that make a run, that inspect it, and that maintain things.
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(training.run, training.resume, training.replay, training.train),
    *(inspect.show, inspect.schedule, inspect.test, inspect.tasks),
    *(maintain.doctor, maintain.gc, maintain.data, maintain.convert),
)

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def main() -> None:
    """Run the program.

    Exit codes: 0; 2 for a user's mistake; 1 for a run that fails; 130 for Ctrl-C and SIGTERM.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    printing.prepare()
    command = typer.main.get_command(app)
    try:
        code = command.main(sys.argv[1:] or ["--help"], prog_name="popgrad", standalone_mode=False)
    except Exception as error:
        message = getattr(error, "format_message", None)  # of a command line that typer cannot read
        if message is None:
            raise
        names = [word for word in sys.argv[1:2] if word in getattr(command, "commands", {})]
        usage = " ".join(["popgrad", *names, "--help"])
        printing.complain(f"{message().strip().rstrip('.')}; see {usage}")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _guard(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose errors become one line and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
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


@app.callback(
    help="Population Based Training for PyTorch: a trained model and the schedule that trained it."
)
def _popgrad(version: options.Version = False) -> None:
    """Take the options before a command."""


for _command in _COMMANDS:
    app.command()(_guard(_command))
