"""Server-sent events: a connection for each page that shows a run, each with its own feed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Receive, Scope, Send

from popgrad.dashboard.feed import Feed
from popgrad.dashboard.responses import error_response

MOST = 64
"""Most connections at the same time."""

_PAUSE = 0.5
"""Seconds between two checks of the files of a run."""

_TROUBLED = 5.0
"""Seconds between two attempts to read a run that could not be read."""

_HEARTBEAT = 15.0
"""Seconds after which something is sent even if nothing has changed, so that nothing ends the connection."""

_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]


@dataclass
class Streams:
    """Open connections of a server.

    Attributes:
        stopping: Set when the server is about to stop; all connections then end.
        open: Number of connections.
    """

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0

    def stream(self, directory: Path, name: str) -> "Stream":
        """Return the response that streams a run.

        Args:
            directory: Directory of the run.
            name: Name to show.
        """
        return Stream(self, Feed(directory, name))


@dataclass(frozen=True)
class Stream:
    """One connection, as a response.

    Attributes:
        streams: All connections.
        feed: Its events.
    """

    streams: Streams
    feed: Feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the page leaves or the server stops."""
        if self.streams.open >= MOST:
            response = error_response(f"{MOST} pages are open, which is the most: close some", 503)
            await response(scope, receive, send)
            return

        self.streams.open += 1
        waits = [
            asyncio.create_task(_until_left(receive)),
            asyncio.create_task(self.streams.stopping.wait()),
        ]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._send_events(lambda body: send(_part(body)), waits)
            with suppress(OSError):  # the page has left
                await send(_part(b"", more=False))
        finally:
            self.streams.open -= 1
            for wait in waits:
                wait.cancel()

    async def _send_events(
        self, send: Callable[[bytes], Awaitable[None]], waits: Sequence["asyncio.Task[object]"]
    ) -> None:
        """Send events until one of the waits is over."""
        sent = time.monotonic()
        while not any(wait.done() for wait in waits):
            events, more = await asyncio.to_thread(self.feed.poll)
            if not events and time.monotonic() - sent > _HEARTBEAT:
                events = [b": alive\n\n"]
            for each in events:
                await send(each)
                sent = time.monotonic()
            if not more:
                pause = _TROUBLED if self.feed.troubled else _PAUSE
                await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)


def _part(body: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _until_left(receive: Receive) -> None:
    """Wait until the page has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
