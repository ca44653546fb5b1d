"""`popgrad dashboard`: it says where it listens, answers, and ends at Ctrl-C."""

import importlib.util
import signal
import socket
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from popgrad.dashboard import serve
from program import popgrad, refused, start_program


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Arguments with which a server would have been started."""
    calls: list[Any] = []

    def note(folders: Sequence[Path], *, announce: Any, **arguments: Any) -> None:
        announce("http://127.0.0.1:1/")
        calls.append((list(folders), arguments))

    monkeypatch.setattr(serve, "serve", note)
    return calls


def test_it_shows_the_runs_folder_if_there_is_one(
    served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert popgrad("dashboard").out == "http://127.0.0.1:1/ (Ctrl-C ends it)\n"
    (tmp_path / "runs").mkdir()
    popgrad("dashboard")
    popgrad("dashboard", "runs/a", "b", "--port", "80", "--open")
    assert served == [
        ([Path()], {"port": None, "browser": False}),
        ([Path("runs")], {"port": None, "browser": False}),
        ([Path("runs/a"), Path("b")], {"port": 80, "browser": True}),
    ]


def test_mistakes_are_refused(tmp_path: Path) -> None:
    assert "expected the directory of a run" in refused("dashboard", str(tmp_path / "nowhere"))
    assert "--port: expected 0 to 65535" in refused("dashboard", str(tmp_path), "--port", "65536")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port: {port} is taken" in refused(
            "dashboard", str(tmp_path), "--port", str(port)
        )


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    assert "the dashboard needs uvicorn: pip install 'popgrad[dashboard]'" in refused("dashboard")


def test_without_a_port_a_free_one_takes_the_place_of_the_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(serve, "PORT", taken.getsockname()[1])
        with serve.listen(None) as opened:
            assert opened.getsockname()[0] == "127.0.0.1"
            assert opened.getsockname()[1] != serve.PORT


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    process = start_program("dashboard", str(tmp_path), "--port", "0")
    assert process.stdout is not None
    url = process.stdout.readline().split()[0]
    with urllib.request.urlopen(f"{url}api/runs") as answer:
        assert answer.read() == b'{"runs":[]}'
    begin = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "popgrad: interrupted\n")
    assert time.monotonic() - begin < 5
