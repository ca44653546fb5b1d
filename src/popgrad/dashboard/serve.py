"""The server: started by a command, on this machine alone, until it is interrupted."""

import asyncio
import errno
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from popgrad.core.errors import RunError, UsageError
from popgrad.dashboard.app import application
from popgrad.dashboard.hosts import allowed_hosts
from popgrad.dashboard.stream import Streams

ADDRESS = "127.0.0.1"
PORT = 8642
"""Port that is tried first, so that a bookmark stays valid; else a free one."""

_LARGEST_PORT = 65_535
_BACKLOG = 128
_LARGEST_HEADERS = 16 << 10
_MOST_REQUESTS = 256
_TICK = 0.1


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on this machine alone.

    Args:
        port: Port, 0 = any free one; None = the usual one if it is free, else any.

    Raises:
        UsageError: The port is taken, or there is no such port.
    """
    if port is not None and not 0 <= port <= _LARGEST_PORT:
        raise UsageError(f"--port: expected 0 to {_LARGEST_PORT}, got {port}")
    for number in [PORT, 0] if port is None else [port]:
        try:
            return socket.create_server((ADDRESS, number), backlog=_BACKLOG)
        except OSError as error:
            if port is None and number:
                continue
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                reason = "is taken" if error.errno == errno.EADDRINUSE else "is not allowed"
                raise UsageError(f"--port: {port} {reason}; leave it out for a free one") from None
            raise RunError(f"no port can be opened: {error.strerror or error}") from error
    raise RunError("no port can be opened")


def serve(
    folders: Sequence[Path],
    *,
    port: int | None = None,
    announce: Callable[[str], None] = print,
    browser: bool = False,
) -> None:
    """Serve the dashboard until the process is interrupted.

    Args:
        folders: Directories of runs, or folders that hold some.
        port: As in `listen`.
        announce: Called with the address once the server listens.
        browser: Whether to open the address in a browser.

    Raises:
        UsageError: A folder does not exist, or the port is taken.
        KeyboardInterrupt: The process was interrupted; all connections are closed.
    """
    with listen(port) as opened:
        url = f"http://{ADDRESS}:{opened.getsockname()[1]}/"
        server = Server(folders, opened)
        announce(url)
        if browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        server.run()


class Server:
    """A server on an open socket.

    Args:
        folders: Directories of runs, or folders that hold some.
        opened: Socket that listens.

    Raises:
        UsageError: A folder does not exist.
    """

    def __init__(self, folders: Sequence[Path], opened: socket.socket) -> None:
        self._socket = opened
        self._streams = Streams()
        hosts = allowed_hosts(opened.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(folders, hosts, self._streams),
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="critical",  # a request that is no HTTP is no event for the log
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_REQUESTS,
                h11_max_incomplete_event_size=_LARGEST_HEADERS,
                timeout_graceful_shutdown=1,
            )
        )

    def run(self) -> None:
        """Answer requests until the process is interrupted, or `stop` is called."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        watch = asyncio.create_task(self._end_streams())
        await self._server.serve(sockets=[self._socket])
        await watch

    async def _end_streams(self) -> None:
        """End the connections of all pages as soon as the server is about to stop."""
        while not self._server.should_exit:
            await asyncio.sleep(_TICK)
        self._streams.stopping.set()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._server.should_exit = True
