"""Requests of any kind: pages of this server are answered, all else is refused, and nothing breaks."""

import json
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popgrad.dashboard.hosts import allowed_hosts, refusal
from popgrad.dashboard.runs import run_id

from .conftest import Client

HOSTS = allowed_hosts(8642)


# --- hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8642", "localhost:8642", "[::1]:8642", "LOCALHOST:8642"]
)
def test_this_machine_is_answered(host: str) -> None:
    assert refusal({"host": host}, HOSTS) == ""
    assert (
        refusal({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}, HOSTS)
        == ""
    )


@pytest.mark.parametrize(
    "host",
    [
        *("", "127.0.0.1", "localhost", "localhost:1", "127.0.0.1:86420", "example.org:8642"),
        *("localhost.example.org:8642", "127.0.0.1.nip.io:8642", "0.0.0.0:8642", "[::]:8642"),
        *("localhost:8642@example.org", "127.1:8642", " localhost:8642", "localhost.:8642"),
    ],
)
def test_a_page_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    assert refusal({"host": host}, HOSTS).startswith("Host: expected")


def test_the_usual_port_may_be_left_out() -> None:
    assert refusal({"host": "localhost"}, allowed_hosts(80)) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://example.org"},
        {"origin": "null"},
        {"origin": "https://localhost:8642"},
        {"origin": "http://localhost:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
def test_other_pages_may_load_nothing(headers: dict[str, str]) -> None:
    assert refusal({"host": "localhost:8642", **headers}, HOSTS) != ""


def test_another_page_may_link_to_the_dashboard() -> None:
    opened = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert refusal({"host": "localhost:8642", **opened}, HOSTS) == ""


def test_foreign_requests_are_refused_by_the_server(client: Client) -> None:
    for headers in ({"Host": "example.org"}, {"Origin": "http://example.org"}):
        answer = client.get("/api/runs", **headers)
        assert (answer.status, list(answer.json)) == (403, ["error"])
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"])
def test_nothing_but_get_is_answered(client: Client, method: str) -> None:
    answer = client.get("/api/runs", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/vendor",
        "/static/",
        "/static/vendor/../index.html",
        "/static/.hidden.js",
        "/static/index.html%00.js",
        "/static/index.html/x.js",
        f"/static/{'x' * 5_000}.js",
        "/api",
        "/api/runs/",
        "/api/runs/../runs",
        "/api/runs/0",
        "/api/runs/%00/stream",
        "/api/runs/..%2f..%2fetc/schedule",
        "/api/compare/",
        "/index.html",
    ],
)
def test_what_does_not_exist_is_said_so_in_json(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert list(answer.json) == ["error"]


def test_no_file_of_the_code_is_served(client: Client) -> None:
    for name in ("app.py", "__init__.py", "vendor/__pycache__", "../__init__.py"):
        assert client.get(f"/static/{name}").status == 404


def raw(port: int, request: bytes) -> bytes:
    """The answer to bytes that may be no request, or the beginning of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        answer = b""
        # The server may close the connection before it has received all.
        with suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while len(answer) < 50_000 and (part := connection.recv(65536)):
                answer += part
        return answer


def is_refused(answer: bytes) -> bool:
    return answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 503"))


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\x00" * 1_000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        b"CONNECT example.org:80 HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    ],
)
def test_what_is_no_request_is_refused(client: Client, request_: bytes) -> None:
    assert is_refused(raw(client.port, request_))
    assert client.get("/").status == 200


PIECES = st.sampled_from(
    [
        *(
            "api",
            "runs",
            "compare",
            "static",
            "vendor",
            "stream2",
            "segments",
            "schedule",
            "d3.min.js",
        ),
        *(
            "..",
            ".",
            "%2e%2e",
            "%2f",
            "%00",
            "%",
            "%zz",
            "%ff",
            "",
            "RUN",
            "0",
            "1",
            "-1",
            "9" * 30,
        ),
        *("\u00e9", "a b", "<script>", "{run}", "?", "#", ";", "*", "~", "\\", "'", '"'),
    ]
) | st.text(st.characters(codec="latin-1", exclude_characters=" \r\n"), max_size=8)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["run", "member", "interval", "format", "x", ""]),
        st.sampled_from(
            ["RUN", "json", "csv", "torch", "0", "1", "-1", "9" * 30, "%00", "%ff", "", "a=b&&"]
        ),
    ),
    max_size=4,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [*("Accept", "Range", "If-None-Match", "Upgrade", "Connection", "Expect", "Content-Length")]
    ),
    st.sampled_from(
        ["", "0", "5", "-1", "bytes=0-", "websocket", "Upgrade", "100-continue", "*", "\x7f", "é"]
    ),
    max_size=3,
)


@settings(max_examples=200)
@given(
    st.lists(PIECES, max_size=6),
    QUERIES,
    HEADERS,
    st.sampled_from(["GET"] * 8 + ["POST", "", "G\x00T"]),
)
def test_any_request_gets_an_answer_without_an_error_of_the_server(
    client: Client,
    finished: Path,
    pieces: list[str],
    query: list[tuple[str, str]],
    headers: dict[str, str],
    method: str,
) -> None:
    words = "&".join(f"{name}={value}" for name, value in query)
    path = f"/{'/'.join(pieces)}?{words}".replace("RUN", run_id(finished))
    lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{client.port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    answer = raw(client.port, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert is_refused(answer) or answer.startswith(
        (b"HTTP/1.1 200", b"HTTP/1.1 204", b"HTTP/1.1 100")
    ), answer
    assert b"Traceback" not in answer


SCHEDULES = st.tuples(
    st.sampled_from(["0", "3", "4", "-1", "x", "", "9" * 18, "9" * 400]),
    st.sampled_from([None, "0", "5", "6", "-1", "x", "", "9" * 18]),
    st.sampled_from(["json", "csv", "torch", "", "html", "../x"]),
)


@settings(max_examples=60)
@given(SCHEDULES)
def test_any_schedule_is_answered_or_refused(
    client: Client, finished: Path, asked: tuple[str, str | None, str]
) -> None:
    member, interval, form = asked
    words = f"member={member}&format={form}" + ("" if interval is None else f"&interval={interval}")
    answer = client.get(f"/api/runs/{run_id(finished)}/schedule?{words}")
    assert answer.status in (200, 400)
    assert answer.status == 200 or list(json.loads(answer.body)) == ["error"]
