"""The console of standard error, which the progress of a run and log lines share."""

import os

from rich.console import Console

from popgrad.reports.escape import Escaping

err = Console(stderr=True, highlight=False, emoji=False, markup=False, force_jupyter=False)
"""One console, since a line that another one prints would be drawn over a live table."""
err.push_render_hook(Escaping())


def draws(console: Console) -> bool:
    """Return whether a console can show a table that is redrawn: it has to be a real terminal."""
    # With FORCE_COLOR rich takes a file for a terminal.
    if not (console.is_terminal and console.file.isatty()):
        return False
    # The console reads this variable when it is made, which may be before it is set.
    return not console.is_dumb_terminal and os.environ.get("TTY_INTERACTIVE") != "0"


def _go_quiet() -> None:
    err.quiet = True


# A run is not ended by a reader of its progress that has gone, as rich would end it.
err.on_broken_pipe = _go_quiet  # type: ignore[method-assign]
