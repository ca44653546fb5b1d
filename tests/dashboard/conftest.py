"""A server of the dashboard in a thread, and requests to it as a browser makes them."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.dashboard.runs import run_id
from popgrad.dashboard.serve import Server, listen


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    port: int

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, headers=given)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    @contextmanager
    def events(self, directory: Path) -> Iterator["Events"]:
        """The events of a run, until the block ends."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", f"/api/runs/{run_id(directory)}/stream")
            yield Events(connection.getresponse())
        finally:
            connection.close()


class Events:
    """Server-sent events, one after the other."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.status = response.status

    def next(self) -> tuple[str, Any]:
        """The next event: its name and data. A comment has the name "" and its text."""
        name = ""
        while line := self.response.readline().decode():
            line = line.rstrip("\n")
            if line.startswith(":"):
                return "", line
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return name, json.loads(line.removeprefix("data: "))
        return "end", None

    def until(self, wanted: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
        """Events up to the first that is wanted."""
        found = [self.next()]
        while not wanted(*found[-1]) and found[-1][0] != "end":
            found.append(self.next())
        return found


@contextmanager
def served(*folders: Path) -> Iterator[Client]:
    """A server of folders, until the block ends."""
    with listen(0) as opened:
        server = Server(folders, opened)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield Client(opened.getsockname()[1])
        finally:
            server.stop()
            thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished runs: two seeds of two strategies."""
    folder = tmp_path_factory.mktemp("seen") / "runs"
    for strategy in ("pbt", "random-search"):
        for seed in (0, 1):
            popgrad.run(
                "quadratic",
                population=4,
                intervals=6,
                interval=2,
                strategy=strategy,
                seed=seed,
                executor="serial",
                progress=False,
                outputs=False,
                directory=folder / strategy / str(seed),
            )
    return folder


@pytest.fixture(scope="session")
def finished(runs: Path) -> Path:
    return runs / "pbt" / "0"


@pytest.fixture(scope="session")
def client(runs: Path) -> Iterator[Client]:
    """A client of a server of the finished runs."""
    with served(runs) as client:
        yield client
