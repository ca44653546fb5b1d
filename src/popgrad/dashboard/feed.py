"""The events of one page that shows one run: what it is sent, from a cursor of its own."""

import logging
from pathlib import Path

from popgrad.core.errors import PopgradError, RunError
from popgrad.core.segment import Segment, Telemetry
from popgrad.dashboard.standing import Standing
from popgrad.record.record import Record
from popgrad.store.directory import Directory
from popgrad.store.tail import Tail, Update
from popgrad.views.columns import Columns
from popgrad.views.plain import text as json_text

MOST = 1_000_000
"""Most segments that a page is sent: each takes some 200 bytes of the server's memory."""

_TOO_MANY = (
    f"the run has more than {MOST:,} segments: the page shows the first ones; `popgrad show` and "
    "`popgrad export` read all"
)

_RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a page asks again if the connection has ended."""

Arrived = Update[tuple[Segment, Telemetry]]

_log = logging.getLogger(__name__)


class Feed:
    """Events for one page, in the order in which they are sent.

    * `start`: what was sent before is void;
    * `header`: the head of the run, again whenever it changes;
    * `segments`: the next segments as columns;
    * `problem`: why the run cannot be read now; "" = it can again.

    Args:
        directory: Directory of the run.
        name: Name to show.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = Directory(directory)
        self._name = name
        self._tail = Tail(self._directory.journal, brief=True)
        self._problem = ""
        self._process = ""
        self._begin()

    def _begin(self) -> None:
        """Forget what was sent."""
        self._standing = Standing(self._directory, self._name)
        self._given: Record | None = None
        self._columns: Columns | None = None
        self._header = ""
        self._full = False

    @property
    def troubled(self) -> bool:
        """Whether the run cannot be read now."""
        return self._problem != ""

    def poll(self) -> tuple[list[bytes], bool]:
        """Return the events that are due, and whether more wait. Takes time; run it in a thread."""
        # Read before the record: a run that ends in between is finished, and not interrupted.
        process = self._directory.holder()
        try:
            update = self._tail.read()
        except (PopgradError, OSError) as error:
            return self._report(str(error)), False

        try:
            events = self._events(update, process)
        except Exception as error:
            # What this reading has found is sent by the next one, with all that came before.
            self._tail = Tail(self._directory.journal, brief=True)
            self._begin()
            return self._report(_reason(error)), False
        problem = _TOO_MANY if self._full else ""
        return [*events, *self._report(problem)], update.more

    def _events(self, update: Arrived, process: str) -> list[bytes]:
        begins = self._given is None or update.restarted
        if begins:
            self._begin()
        if update.facts is not None:
            self._given = self._standing.set_facts(update.facts)
        if self._given is None:
            raise RunError(f"{self._directory.path} cannot be read now")
        if self._columns is None:
            self._columns = Columns(self._given.space, self._given.ranking)

        moved = begins or process != self._process or self._standing.behind
        self._process = process
        segments = self._segments(update, self._given, self._columns)
        head = self._head() if update.changed or moved else []
        # A page needs the first head to read segments, and then segments to read the next head.
        if begins:
            return [_RETRY, event("start", {}), *head, *segments]
        return [*segments, *head]

    def _segments(self, update: Arrived, given: Record, columns: Columns) -> list[bytes]:
        """Return the event of segments that have arrived, if there are any."""
        self._full = self._full or columns.count + len(update.arrivals) > MOST
        if self._full or not update.arrivals:
            return []
        self._standing.add(update.arrivals, given)
        return [event("segments", columns.chunk(update.arrivals))]

    def _head(self) -> list[bytes]:
        """Return the event of the head, if it differs from the last one."""
        text = json_text(self._standing.header(self._process))
        if text == self._header:
            return []
        self._header = text
        return [_event("header", text)]

    def _report(self, problem: str) -> list[bytes]:
        """Return the event of a problem, if it differs from the last one."""
        if problem == self._problem:
            return []
        self._problem = problem
        return [event("problem", {"error": problem})]


def _reason(error: Exception) -> str:
    """Return the reason for which a record cannot be shown."""
    if isinstance(error, PopgradError | OSError):
        return str(error)
    _log.warning("a run could not be shown: %s: %.500s", type(error).__name__, error)
    return f"the record is damaged: it cannot be shown ({type(error).__name__})"


def event(name: str, data: object) -> bytes:
    """Return a server-sent event with JSON."""
    return _event(name, json_text(data))


def _event(name: str, text: str) -> bytes:
    return f"event: {name}\ndata: {text}\n\n".encode("ascii")
