"""Commands that show runs in a browser: dashboard. They read records, and need no torch."""

import importlib.util
from pathlib import Path

from popgrad.cli import options, printing
from popgrad.core.errors import UsageError

_PACKAGES = ("starlette", "uvicorn")


def dashboard(
    folders: options.Folders = None,
    port: options.Port = None,
    open_browser: options.OpenBrowser = False,
) -> None:
    """Show runs in a browser, also while they are in progress, until Ctrl-C.

    It reads records only: nothing is written, and no code of a task is run. It answers this machine
    alone.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the dashboard needs {' and '.join(missing)}: pip install 'popgrad[dashboard]'"
        )
    from popgrad.dashboard import serve

    serve.serve(folders or [_usual()], port=port, announce=_announce, browser=open_browser)


def _usual() -> Path:
    """Return the folder that holds the runs of a working directory."""
    return Path("runs") if Path("runs").is_dir() else Path()


def _announce(url: str) -> None:
    printing.print_line(f"{url} (Ctrl-C ends it)")
