"""The console of standard error, which the progress of a run and log lines share."""

from rich.console import Console

from popgrad.report.escape import Escaping

err = Console(stderr=True, highlight=False, emoji=False, markup=False, force_jupyter=False)
"""One console, since a line that another one prints would be drawn over a live table."""
err.push_render_hook(Escaping())


def _go_quiet() -> None:
    err.quiet = True


# A run is not ended by a reader of its progress that has gone, as rich would end it.
err.on_broken_pipe = _go_quiet  # type: ignore[method-assign]
