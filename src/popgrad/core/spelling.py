"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable

_SIMILAR = 0.7
"""Least similarity of a suggestion, as difflib measures it: at 0.6, "mutation" would be "population"."""

_PREFIX = 3
"""Letters from which on a name may be the start of a known one."""


def closest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one probably means; None = none is close.

    Case, and "_" in place of "-", make no difference.

    Args:
        name: Name as it was given.
        known: Names that exist.

    Example:
        >>> closest("interals", ["population", "intervals"])
        'intervals'
        >>> closest("random_search", ["pbt", "random-search"])
        'random-search'
        >>> closest("lr", ["population", "intervals"])
    """
    if not isinstance(name, str):
        return None
    given = _plain(name)
    names = {_plain(word): word for word in known}
    close = difflib.get_close_matches(given, names, n=1, cutoff=_SIMILAR)
    if not close and len(given) >= _PREFIX:
        close = [word for word in names if word.startswith(given)][:1]
    return names[close[0]] if close else None


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")[:100]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: a suggestion, or "" if none is close.

    Args:
        name: Name as it was given.
        known: Names that exist.

    Example:
        >>> "there is no task 'digts'" + did_you_mean("digts", ["digits", "quadratic"])
        "there is no task 'digts'; did you mean 'digits'?"
    """
    suggestion = closest(name, known)
    return "" if suggestion is None else f"; did you mean {suggestion!r}?"
