"""The console of standard error, which the progress of a run and log lines share."""

from rich.console import Console

from popgrad.report.escape import Escaping

err = Console(stderr=True, highlight=False, emoji=False, markup=False, force_jupyter=False)
"""One console, since a line that another one prints would be drawn over a live table."""
err.push_render_hook(Escaping())
