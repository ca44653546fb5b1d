"""The gate of the server: refuses foreign requests, adds headers, and turns every error into JSON."""

import logging
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from popgrad.core.errors import PopgradError, UsageError
from popgrad.dashboard.hosts import refusal
from popgrad.dashboard.responses import SECURITY, error_response

_log = logging.getLogger(__name__)


class Guard:
    """Answers only `GET` requests that this server's pages make, and always with a status.

    Args:
        app: Application behind the gate.
        hosts: Hosts that a request may name.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return

        began = False

        async def send_with_headers(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers[name] = value
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        except Exception as error:
            if not began:
                status = _status(error)
                response = error_response(_message(error, status), status)
                await response(scope, receive, send_with_headers)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        refused = refusal(headers, self._hosts)
        if refused:
            await error_response(refused, 403)(scope, receive, send)
        elif scope["method"] != "GET":
            response = error_response("method: expected GET; the dashboard only reads", 405)
            response.headers["Allow"] = "GET"
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _status(error: Exception) -> int:
    if isinstance(error, UsageError):
        return 400
    # A record that is damaged, or that no page can be drawn of.
    return 422 if isinstance(error, PopgradError) else 500


def _message(error: Exception, status: int) -> str:
    if status < 500:
        return str(error)
    _log.warning("the dashboard could not answer: %s: %.500s", type(error).__name__, error)
    return f"the dashboard could not answer: {type(error).__name__}"
