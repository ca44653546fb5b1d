"""Downloads from a server of our own on this machine, which can be told to misbehave."""

import gzip
import re
import socket
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest

from popgrad.core.errors import DataError, UsageError
from popgrad.data import Dataset, download, load

IMAGES = "train-images-idx3-ubyte.gz"


@dataclass
class Server:
    """What the server has, how it behaves, and what it was asked for."""

    files: dict[str, bytes]
    ranges: bool = True
    drop: set[str] = field(default_factory=set)  # close half way, once for each of these
    moved_to: str = ""
    odd_range: bool = False
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (file, Range)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, asked = request.path.rsplit("/", 1)[-1], request.headers.get("Range")
        self.asked.append((name, asked))
        body = self.files.get(name)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if self.moved_to:
            request.send_response(302)
            request.send_header("Location", self.moved_to)
            return request.end_headers()
        if body is None or start >= len(body):
            return request.send_error(404 if body is None else 416)
        request.send_response(206 if start else 200)
        if start:
            first = start + 1 if self.odd_range else start
            request.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        half = name in self.drop
        self.drop.discard(name)
        request.wfile.write(body[: len(body) // 2] if half else body)
        return None


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(server: Server) -> Server:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is the standard library's
                server.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((httpd, thread))
        server.url = f"http://127.0.0.1:{httpd.server_port}/data/"
        return server

    yield start
    for httpd, thread in running:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture
def files(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}


def complete(directory: Path, tiny: Dataset, paths: list[Path]) -> bool:
    """The four files in order, loadable, and nothing beside them."""
    assert [path.name for path in paths] == [f"{file.name}.gz" for file in tiny.files]
    assert sorted(paths) == sorted((directory / "tiny").iterdir())
    return len(load(tiny, directory).train[0]) == 40


def test_a_fresh_download_is_loadable_and_reports_its_progress(tmp_path, serve, files, tiny):
    server, told = serve(Server(files)), []
    paths = download(
        tiny, tmp_path / "new", mirrors=[server.url], progress=lambda *said: told.append(said)
    )
    assert complete(tmp_path / "new", tiny, paths)
    assert told == [(name, len(body), len(body)) for name, body in files.items()]


def test_a_mirror_needs_no_slash_and_can_be_the_data_sets_own(tmp_path, serve, files, tiny):
    server = serve(Server(files))
    own = Dataset(**{**vars(tiny), "mirrors": (server.url.rstrip("/"),)})
    assert complete(tmp_path, tiny, download(own, tmp_path))


def test_what_is_there_and_right_is_not_fetched(idx_dir, serve, files, tiny):
    server = serve(Server(files))
    assert complete(idx_dir, tiny, download(tiny, idx_dir, mirrors=[server.url]))
    assert server.asked == []


def test_the_files_may_lie_in_the_directory_itself(idx_dir, serve, files, tiny):
    server = serve(Server(files))
    paths = download(tiny, idx_dir / "tiny", mirrors=[server.url])
    assert [path.parent for path in paths] == [idx_dir / "tiny"] * 4
    assert server.asked == []
    paths[3].unlink()  # three of four are not a data set
    assert {path.parent for path in download(tiny, idx_dir / "tiny", mirrors=[server.url])} == {
        idx_dir / "tiny" / "tiny"
    }


def test_what_is_there_and_wrong_is_replaced(idx_dir, serve, files, tiny):
    server = serve(Server(files))
    (idx_dir / "tiny" / IMAGES).write_bytes(gzip.compress(b"something else"))
    assert complete(idx_dir, tiny, download(tiny, idx_dir, mirrors=[server.url]))
    assert server.asked == [(IMAGES, None)]


def test_a_dropped_connection_is_gone_on_with(tmp_path, serve, files, tiny):
    server = serve(Server(files, drop={IMAGES}))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url]))
    assert server.asked[:2] == [(IMAGES, None), (IMAGES, f"bytes={len(files[IMAGES]) // 2}-")]


def test_without_ranges_a_dropped_connection_starts_over(tmp_path, serve, files, tiny):
    server = serve(Server(files, drop={IMAGES}, ranges=False))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url]))


def test_a_later_call_goes_on_with_what_an_earlier_one_left(tmp_path, serve, files, tiny):
    part = tmp_path / "tiny" / f"{IMAGES}.part"
    part.parent.mkdir()
    part.write_bytes(files[IMAGES][:20])
    server = serve(Server(files))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url]))
    assert server.asked[0] == (IMAGES, "bytes=20-")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "left", [b"other bytes", b"longer than the file " * 1000], ids=["wrong", "too long"]
)
def test_a_wrong_beginning_is_started_over(tmp_path, serve, files, tiny, left, ranges):
    part = tmp_path / "tiny" / f"{IMAGES}.part"
    part.parent.mkdir()
    part.write_bytes(left)
    server = serve(Server(files, ranges=ranges))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url]))


def test_a_complete_part_is_only_checked(tmp_path, serve, files, tiny):
    part = tmp_path / "tiny" / f"{IMAGES}.part"
    part.parent.mkdir()
    part.write_bytes(files[IMAGES])
    server = serve(Server(files))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url]))
    assert IMAGES not in dict(server.asked)


def test_a_range_that_was_not_asked_for_is_not_appended(tmp_path, serve, files, tiny):
    server = serve(Server(files, drop={IMAGES}, odd_range=True))
    with pytest.raises(DataError, match="another range than asked for"):
        download(tiny, tmp_path, mirrors=[server.url])
    assert complete(
        tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url, serve(Server(files)).url])
    )


def test_wrong_content_gives_way_to_the_next_mirror(tmp_path, serve, files, tiny):
    wrong = serve(Server({**files, IMAGES: gzip.compress(b"something else")}))
    right = serve(Server(files))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[wrong.url, right.url]))
    assert right.asked == [(IMAGES, None)]  # from the beginning: nothing of the wrong file was kept


def test_a_server_that_decompresses_is_fine(tmp_path, serve, contents, tiny):
    server = serve(Server({f"{name}.gz": content for name, content in contents.items()}))
    assert complete(tmp_path, tiny, download(tiny, tmp_path, mirrors=[server.url]))


def test_when_all_fail_each_reason_is_given_in_one_line(tmp_path, serve, files, tiny):
    wrong, empty = serve(Server({**files, IMAGES: b"<html>\nsign in</html>"})), serve(Server({}))
    with pytest.raises(DataError) as caught:
        download(tiny, tmp_path, mirrors=[wrong.url, empty.url])
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(
        f"{IMAGES} could not be fetched: {wrong.url}: .*MD5.*; {empty.url}: .*404", message
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_connection_one_sentence_names_the_files_and_the_folder(
    tmp_path, tiny, monkeypatch
):
    def unknown(*_: object, **__: object) -> None:
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(sys.modules[download.__module__], "_transfer", unknown)
    place = tmp_path / "new" / "data"
    with pytest.raises(DataError) as caught:
        download(tiny, place, mirrors=["http://one.example/a", "http://two.example/b"])
    names = ", ".join(file.name for file in tiny.files)
    assert str(caught.value) == (
        f"{IMAGES} could not be fetched: no connection to one.example nor two.example; "
        f"put the files ({names}, each also as .gz) into {place / 'tiny'}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays_if_nothing_is_fetched(tmp_path, serve, tiny):
    (tmp_path / "tiny").mkdir()
    with pytest.raises(DataError):
        download(tiny, tmp_path, mirrors=[serve(Server({})).url])
    assert (tmp_path / "tiny").is_dir()


def test_nobody_listening_is_a_reason(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unheard:  # bound, but it does not listen
        unheard.bind(("127.0.0.1", 0))
        with pytest.raises(DataError, match="refused"):
            download(tiny, tmp_path, mirrors=[f"http://127.0.0.1:{unheard.getsockname()[1]}/"])


def test_a_server_that_never_ends_does_not_fill_the_disk(tmp_path, serve, files, tiny, monkeypatch):
    monkeypatch.setattr(import_module("popgrad.data.download"), "_MOST_BYTES", 50)
    server = serve(Server(files))
    with pytest.raises(DataError, match="it sends more than 50 bytes"):
        download(tiny, tmp_path, mirrors=[server.url])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mirror", ["ftp://example.org/", "file:///etc/", "data"])
def test_only_http_is_fetched_from(tmp_path, tiny, mirror):
    with pytest.raises(UsageError, match="expected an http:// or https:// address"):
        download(tiny, tmp_path, mirrors=[mirror])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_a_redirection_to_anything_else_is_not_followed(tmp_path, serve, files, tiny, target):
    server = serve(Server(files, moved_to=target))
    with pytest.raises(DataError, match="could not be fetched"):
        download(tiny, tmp_path, mirrors=[server.url])


def test_a_redirection_to_another_http_address_is_followed(tmp_path, serve, contents, tiny):
    (name,) = [name for name in contents if name == "train-images-idx3-ubyte"]
    elsewhere = serve(Server({"x": contents[name]}))
    server = serve(Server({}, moved_to=f"{elsewhere.url}x"))
    with pytest.raises(
        DataError, match=r"train-labels"
    ):  # all names lead to the images: the first is right
        download(tiny, tmp_path, mirrors=[server.url])
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == [IMAGES]


def test_a_directory_that_cannot_be_made_is_said(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        download(tiny, tmp_path / "file", mirrors=["http://127.0.0.1:1/"])


def test_a_data_set_without_mirrors_is_said(tmp_path, tiny):
    with pytest.raises(DataError, match="no mirror is known"):
        download(tiny, tmp_path)


def test_an_unknown_name_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"data set: expected one of .*, got 'minst'"):
        download("minst", tmp_path)
