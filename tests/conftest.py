"""The frame of every test: one torch thread, figures without a screen, and a share of the test processes."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from popgrad.hardware import available_cores
from popgrad.reports import figures
from popgrad.runs import seen
from popgrad.store.atomic import replacing

os.environ["MPLBACKEND"] = "Agg"
# Readline exports the width of the terminal to the test processes, and tables would be cut to it.
os.environ.pop("COLUMNS", None)

# Deadlines measure the machine, not the code. CI tries the same examples every time; at home they vary.
settings.register_profile("home", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Results depend on the number of threads, and the test processes share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_known_tasks(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No task has been checked before, and none is remembered on this machine."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    (folder / "checked-tasks.txt").unlink(missing_ok=True)
    monkeypatch.setattr(seen, "_folder", lambda: folder)
    monkeypatch.setattr(seen, "_in_process", set())


@pytest.fixture
def one_core() -> Iterator[None]:
    """Leave the test and its children one core, so that a run without `workers` starts a single worker."""
    if not hasattr(os, "sched_setaffinity"):  # other systems start a worker for each core
        yield
        return

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def retries(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the logged messages about retries: on a busy machine others say that actors start slowly."""
    return lambda: [message for message in caplog.messages if "retraining it" in message]


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder that `POPGRAD_DATA` names, if it holds the real MNIST, in itself or under `mnist/`."""
    given = os.environ.get("POPGRAD_DATA")
    if not given:
        pytest.skip("POPGRAD_DATA is not set: name a folder with the real MNIST to run this test")
    if not any(Path(given).glob(f"{inner}train-images*idx3-ubyte*") for inner in ("", "mnist/")):
        pytest.skip(f"POPGRAD_DATA={given} holds no MNIST files (train-images-idx3-ubyte.gz, ...)")
    return Path(given)


# --- figures ---------------------------------------------------------------------------------------------

_draw = figures.save


def _leave_blank(figure: object, path: Path) -> None:
    with replacing(Path(path)) as aside:
        aside.write_bytes(b"not drawn")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let only tests that are marked `draws` draw.

    Drawing takes a second a run, more than all else in it. All other tests make the figures of their runs and
    write files, but leave these blank.
    """
    figures.save = _leave_blank if item.get_closest_marker("draws") is None else _draw


# --- test processes --------------------------------------------------------------------------------------

_TOGETHER = (
    "tests/engine/test_failures.py",
    "tests/executors/processes/test_pool.py",
    "tests/executors/ray/test_cluster.py",
    "tests/executors/ray/test_executor.py",
)
"""Modules whose fixtures take seconds: a cluster, or a run in which everything fails."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use one process more than there are cores: many slow tests wait for other processes."""
    return available_cores() + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send the tests of a scope to one process, the largest scopes first; see `scope`."""
    from xdist.scheduler import LoadScopeScheduling

    class ScopeScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    return ScopeScheduling(config, log)


def scope(nodeid: str) -> str:
    """Return the tests that a test has to share a process with: by default itself alone."""
    path = nodeid.partition("::")[0]
    executor = re.search(r"\[(ray|processes)\b", nodeid)
    if path == "tests/contracts/test_executors.py" and executor:
        return f"{path} {executor[1]}"
    return path if path in _TOGETHER else nodeid


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slow tests first; they would otherwise end last, on one core."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
