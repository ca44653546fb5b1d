"""Advice on a run: how to continue it, and what to do with its result."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it needs torch, which takes seconds
    from popgrad.runs.result import Result

_FIGURES = ("schedule.png", "results.png")


def shown_path(path: Path) -> Path:
    """Return a path relative to the working directory, if it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def command(name: str, directory: Path) -> str:
    """Return a command of the command line on a run."""
    return f"popgrad {name} {shlex.quote(str(shown_path(directory)))}"


def call(function: str, directory: Path, *, given_task: bool, keywords: str = "") -> str:
    """Return a call of a function of the public API on a run.

    Args:
        function: Name of the function.
        directory: Directory of the run.
        given_task: Whether the run was given a task instance, which has to be passed again.
        keywords: Further arguments.
    """
    arguments = [repr(str(shown_path(directory)))]
    arguments += ["task=..."] if given_task else []
    arguments += [keywords] if keywords else []
    return f"popgrad.{function}({', '.join(arguments)})"


def next_steps(result: "Result") -> list[str]:
    """Return what to do with a finished run, a line each; paths and commands that work as they are."""
    path = result.directory
    if path is None:
        return []
    figures = [path / name for name in _FIGURES if (path / name).exists()]
    steps = [f"open {shlex.quote(str(shown_path(figure)))}" for figure in figures[:1]]
    steps.append(command("show", path))

    more = 2 * result.config.intervals
    if result.record.given_task:
        steps.append(call("replay", path, given_task=True))
        return [*steps, call("resume", path, given_task=True, keywords=f"intervals={more}")]
    if result.has_test:
        steps.append(command("test", path))
    steps.append(command("replay", path))
    return [*steps, f"{command('resume', path)} --intervals {more}"]
