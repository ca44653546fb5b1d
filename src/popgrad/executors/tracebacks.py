"""The traceback of a task's exception, as the record keeps it: the lines of the user's code."""

import traceback
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])

_MAX_CHARACTERS = 20_000
"""Characters of a traceback that are kept: some hundred lines, while a message may hold a tensor."""


def format_exception(error: BaseException) -> str:
    """Return the traceback of an exception without the lines of popgrad that called the task.

    If no other lines are left, popgrad's own stay.

    Args:
        error: The exception.
    """
    whole = traceback.TracebackException.from_exception(error)
    for part in _parts(whole):
        own = [frame for frame in part.stack if not frame.filename.startswith(_PACKAGE)]
        if own:
            part.stack = traceback.StackSummary.from_list(own)

    text = "".join(whole.format())
    if len(text) <= _MAX_CHARACTERS:
        return text
    half = _MAX_CHARACTERS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters are left out]\n{text[-half:]}"


def _parts(
    whole: traceback.TracebackException | None,
) -> Iterator[traceback.TracebackException]:
    """Yield an exception, those that caused it, and those that it groups."""
    if whole is None:
        return
    yield whole
    yield from _parts(whole.__cause__)
    yield from _parts(whole.__context__)
    for part in whole.exceptions or ():
        yield from _parts(part)
