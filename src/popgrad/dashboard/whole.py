"""A run as a whole, as it is now: its head and all segments."""

from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.core.segment import Segment, Telemetry
from popgrad.dashboard.standing import Standing
from popgrad.store.directory import Directory
from popgrad.store.tail import Tail
from popgrad.views.columns import Columns
from popgrad.views.plain import Json

_MOST = 200_000
"""Most segments of one response; a stream sends more, in parts."""


def whole_run(directory: Path, name: str) -> Json:
    """Return the head and the segments of a run.

    Args:
        directory: Directory of the run.
        name: Name to show.

    Raises:
        UsageError: The run has too many segments for one response.
        RunError: The run cannot be read.
    """
    paths = Directory(directory)
    process = paths.holder()
    standing = Standing(paths, name)
    tail = Tail(paths.journal, brief=True)
    given = None
    arrivals: list[tuple[Segment, Telemetry]] = []
    more = True
    while more:
        update = tail.read()
        if update.restarted:
            standing = Standing(paths, name)
            arrivals = []
        if update.facts is not None:
            given = standing.set_facts(update.facts)
        assert given is not None
        standing.add(update.arrivals, given)
        arrivals += update.arrivals
        more = update.more
        if len(arrivals) > _MOST:
            raise UsageError(f"the run has more than {_MOST:,} segments: read its stream instead")

    assert given is not None
    columns = Columns(given.space, given.ranking)
    return {"header": standing.header(process), "segments": columns.chunk(arrivals)}
