"""The application: which address answers with what."""

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from popgrad.core.errors import UsageError
from popgrad.core.population import SegmentId
from popgrad.dashboard.comparison import MOST, Comparisons
from popgrad.dashboard.details import FORMATS, schedule_text, segment_card
from popgrad.dashboard.guard import Guard
from popgrad.dashboard.responses import error_response, json_response
from popgrad.dashboard.runs import Catalogue, Run
from popgrad.dashboard.stream import Stream, Streams
from popgrad.dashboard.whole import whole_run
from popgrad.gates.files import read_bytes
from popgrad.views.plain import Json

STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".LICENSE": "text/plain",
    ".md": "text/plain",
}
"""Types of the static files, by the end of the name; no other file is served."""

_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/){0,3}[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_LARGEST_FILE = 8 << 20
_NUMBER = re.compile(r"[0-9]{1,18}")


def application(folders: Sequence[Path], hosts: Collection[str], streams: Streams) -> ASGIApp:
    """Return the application of a server.

    Args:
        folders: Directories of runs, or folders that hold some.
        hosts: Hosts that a request may name.
        streams: Connections of pages that show a run.

    Raises:
        UsageError: A folder does not exist.
    """
    api = _Api(Catalogue(folders), Comparisons(), streams)
    routes = [
        Route("/", api.page),
        Route("/favicon.ico", api.no_icon),
        Route("/static/{name:path}", api.static),
        Route("/api/runs", api.runs),
        Route("/api/runs/{run}", api.run),
        Route("/api/runs/{run}/stream", api.stream),
        Route("/api/runs/{run}/segments/{member}/{interval}", api.segment),
        Route("/api/runs/{run}/schedule", api.schedule),
        Route("/api/compare", api.compare),
    ]
    return Guard(Router(routes, redirect_slashes=False, default=_not_found), hosts)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await error_response("there is nothing at this address", 404)(scope, receive, send)


class _Api:
    """Answers to requests. What takes time runs in a thread."""

    def __init__(self, catalogue: Catalogue, comparisons: Comparisons, streams: Streams) -> None:
        self._catalogue = catalogue
        self._comparisons = comparisons
        self._streams = streams

    # --- files ------------------------------------------------------------------------------------

    async def page(self, _: Request) -> Response:
        """Answer with the page."""
        return await self._file("index.html")

    async def no_icon(self, _: Request) -> Response:
        """Answer a browser that asks for an icon."""
        return Response(status_code=204)

    async def static(self, request: Request) -> Response:
        """Answer with a file of the page."""
        return await self._file(request.path_params["name"])

    @staticmethod
    async def _file(name: str) -> Response:
        path = STATIC / name
        media_type = _TYPES.get(path.suffix)
        if media_type is None or not _NAME.fullmatch(name):
            return error_response("there is no such file", 404)
        try:
            content = await asyncio.to_thread(read_bytes, path, _LARGEST_FILE)
        except OSError:
            return error_response("there is no such file", 404)
        return Response(content, media_type=media_type)

    # --- runs -------------------------------------------------------------------------------------

    async def runs(self, _: Request) -> Response:
        """Answer with the list of runs."""
        return await _json(lambda: {"runs": self._catalogue.summaries()})

    async def run(self, request: Request) -> Response:
        """Answer with a whole run."""
        run = await self._find(request)
        if run is None:
            return _unknown_run()
        return await _json(lambda: whole_run(run.directory, run.name))

    async def stream(self, request: Request) -> Response | Stream:
        """Answer with the events of a run."""
        run = await self._find(request)
        return _unknown_run() if run is None else self._streams.stream(run.directory, run.name)

    async def segment(self, request: Request) -> Response:
        """Answer with the card of a segment."""
        run = await self._find(request)
        segment = _segment_id(request.path_params["member"], request.path_params["interval"])
        if run is None:
            return _unknown_run()
        found = None
        if segment is not None:
            found = await asyncio.to_thread(segment_card, run.directory, segment)
        return _unknown_segment() if found is None else json_response(found)

    async def schedule(self, request: Request) -> Response:
        """Answer with the schedule of a lineage."""
        run = await self._find(request)
        if run is None:
            return _unknown_run()
        form = request.query_params.get("format", "json")
        leaf = _leaf(request.query_params.get("member"), request.query_params.get("interval"))
        text = await asyncio.to_thread(schedule_text, run.directory, leaf, form)
        return Response(text, media_type=FORMATS[form])

    async def compare(self, request: Request) -> Response:
        """Answer with the comparison of runs."""
        names = dict.fromkeys(request.query_params.getlist("run"))
        if not 1 <= len(names) <= MOST:
            raise UsageError(f"run: expected 1 to {MOST} runs, got {len(names)}")
        runs = [await asyncio.to_thread(self._catalogue.get, name) for name in names]
        found = [run for run in runs if run is not None]
        if len(found) < len(runs):
            return _unknown_run()
        return await _json(lambda: self._comparisons.compare(found))

    async def _find(self, request: Request) -> Run | None:
        return await asyncio.to_thread(self._catalogue.get, request.path_params["run"])


def _unknown_run() -> Response:
    return error_response("there is no such run; it may have been moved or deleted", 404)


def _unknown_segment() -> Response:
    return error_response("there is no such segment", 404)


async def _json(compute: Callable[[], Json]) -> Response:
    """Answer with what is computed, and written as JSON, in a thread."""
    return await asyncio.to_thread(lambda: json_response(compute()))


def _segment_id(member: str, interval: str) -> SegmentId | None:
    """Return a segment by the numbers in an address; None = these are none."""
    if not (_NUMBER.fullmatch(member) and _NUMBER.fullmatch(interval)):
        return None
    return int(member), int(interval)


def _leaf(member: str | None, interval: str | None) -> int | SegmentId | None:
    """Return the end of a lineage that a query names.

    Raises:
        UsageError: It names none.
    """
    if member is None and interval is None:
        return None
    segment = _segment_id(member or "", "0" if interval is None else interval)
    if segment is None:
        raise UsageError(
            f"member, interval: expected two numbers, or a member, got {member!r:.50}, {interval!r:.50}"
        )
    return segment[0] if interval is None else segment
