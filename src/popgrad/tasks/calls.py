"""Calls of a user's functions, whose errors are explained in one line: function, reason and place."""

import linecache
import site
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from popgrad.core.errors import PopgradError, UsageError

_LONGEST = 300
"""Characters of a message of torch or Python that are repeated."""

_INSTALLED = tuple(
    f"{Path(folder).resolve()}/"
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(*site.getsitepackages(), site.getusersitepackages()),
        str(Path(__file__).parents[1]),
    }
)
"""Folders of Python, of installed packages and of popgrad."""


@contextmanager
def explained(
    part: str, call: str, hint: Callable[[BaseException], str] | None = None
) -> Iterator[None]:
    """Turn an exception of a user's function into a `UsageError` of one line.

    Args:
        part: Name of the function, such as "loss".
        call: The way it is called, such as "loss(module, batch, hparams)".
        hint: Returns the cure for an exception, "" = unknown.

    Raises:
        UsageError: The function has failed; its exception is the cause.
        PopgradError: The function has raised an error on purpose.

    Example:
        >>> with explained("model", "model(hparams)"):
        ...     {}["width"]
        Traceback (most recent call last):
        popgrad.core.errors.UsageError: model: model(hparams) fails with KeyError: 'width'
    """
    try:
        yield
    except PopgradError:
        raise
    except (Exception, SystemExit) as error:
        cure = hint(error) if hint is not None else ""
        advice = f"; {cure}" if cure else ""
        raise UsageError(f"{part}: {call} fails with {reason(error)}{advice}") from error


def reason(error: BaseException) -> str:
    """Return type and message of an exception in one line, and the line of the user's code it came from."""
    message = " ".join(str(error).split())
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}..."
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = _place(error.__traceback__)
    return f"{text} ({place})" if place else text


def _place(traceback: TracebackType | None) -> str:
    """Return file, line and source of the innermost frame of a user's code; "" = there is none."""
    place = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if is_users(file):
            source = linecache.getline(file, traceback.tb_lineno).strip()
            place = f"{Path(file).name}, line {traceback.tb_lineno}: {source:.100}".rstrip(": ")
        traceback = traceback.tb_next
    return place


def is_users(file: str) -> bool:
    """Whether a source file is a user's: no part of Python, of an installed package or of popgrad."""
    if file.startswith("<"):
        return False
    return not str(Path(file).resolve()).startswith(_INSTALLED)
