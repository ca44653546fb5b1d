"""Responses as JSON and text, and the headers that every response has."""

from collections.abc import Mapping

from starlette.responses import Response

from popgrad.views.plain import text as json_text

SECURITY: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response."""


def json_response(value: object, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(json_text(value), status, media_type="application/json")


def error_response(message: str, status: int) -> Response:
    """Return an error as JSON: an object with the key "error"."""
    return json_response({"error": message}, status)
