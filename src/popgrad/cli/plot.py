"""The command plot: figures of a run in files. It reads the record alone, and does not wait for torch."""

import inspect
import re
from pathlib import Path
from typing import Any

from popgrad.cli import options, printing
from popgrad.cli.arguments import RecordedRun, read_run
from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.gates.files import open_regular
from popgrad.runs.advice import shown_path
from popgrad.runs.plot import PLOTS, Plot
from popgrad.store.directory import Directory

_KINDS = {".png": (b"\x89PNG",), ".svg": (b"<?xml", b"<svg"), ".pdf": (b"%PDF",)}
"""First bytes of the files that can be written, by suffix."""


def plot(
    directory: options.Run,
    figure: options.Plotted,
    output: options.PlotFile = None,
    size: options.PlotSize = None,
    member: options.PlotMember = None,
    colour: options.PlotColour = None,
) -> None:
    """Draw a figure of a run: its schedule, family tree, founders, scores or workers.

    schedule: every hyperparameter over training, the winner's lineage among all others. lineage: the
    family tree, with copies from donors to heirs. results: the region that was searched. founders:
    the diversity of the population. scores: all members, best and median. timeline: workers against
    the clock. A run in progress is drawn as far as it has come. No code of the task is run.
    """
    if figure not in PLOTS:
        raise UsageError(
            f"FIGURE: expected {', '.join(PLOTS)}, got {figure!r}{did_you_mean(figure, PLOTS)}"
        )
    options_given = {"member": member, "colour": colour, "size": _size(size)}
    given = {name: value for name, value in options_given.items() if value is not None}
    _check_taken(figure, given)
    run = read_run(directory)
    path = _path(run, figure, output)

    # Imported here, since matplotlib takes its time to load.
    from popgrad.reports import figures

    drawn = getattr(Plot(run.record, run.telemetry), figure)(**given)
    try:
        figures.save(drawn, path)
    except OSError as error:
        hint = "" if output else "; choose a file by -o"
        raise UsageError(f"cannot write {path}: {error.strerror or error}{hint}") from None
    printing.print_line(str(shown_path(path)))


def _check_taken(figure: str, given: dict[str, Any]) -> None:
    """Refuse an option that the figure does not take."""
    taken = inspect.signature(getattr(Plot, figure)).parameters
    for name in given:
        if name not in taken:
            others = [
                each for each in PLOTS if name in inspect.signature(getattr(Plot, each)).parameters
            ]
            raise UsageError(f"--{name}: {figure} takes none; {', '.join(others)} do")


def _size(text: str | None) -> tuple[float, float] | None:
    """Return width and height of a string such as "8x5"; None = it was not given."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9.]{1,9})x([0-9.]{1,9})", text.strip().lower())
    try:
        if match is None:
            raise ValueError
        return float(match[1]), float(match[2])
    except ValueError:
        raise UsageError(
            f"--size: expected width x height in inches, such as 8x5, got {text!r:.80}"
        ) from None


def _path(run: RecordedRun, figure: str, output: Path | None) -> Path:
    """Return the file to write.

    Raises:
        UsageError: Its suffix names no format of figures, or something else stands in its place.
    """
    if output is None:
        Directory(run.directory).check_own()
    path = Directory(run.directory).figure(figure) if output is None else output
    starts = _KINDS.get(path.suffix.lower())
    if starts is None:
        raise UsageError(f"-o: expected a file that ends in {', '.join(_KINDS)}, got {path}")
    try:
        with open_regular(path) as file:
            begin = file.read(max(map(len, starts)))
    except FileNotFoundError:
        return path
    except OSError as error:
        raise UsageError(f"-o: cannot write {path}: {error.strerror or error}") from None
    if begin and not begin.startswith(starts):
        raise UsageError(
            f"-o: {path} exists, and is no {path.suffix[1:].upper()}: it is not replaced; choose another file"
        )
    return path
