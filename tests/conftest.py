"""The frame of every test: one torch thread, figures without a screen, and a share of the test processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from popgrad.hardware import available_cores
from popgrad.report import figures
from popgrad.store.atomic import replacing

os.environ["MPLBACKEND"] = "Agg"

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


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use two processes a core: the slow tests mostly wait, for workers, clusters and deadlines."""
    return 2 * available_cores()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests together that share a fixture of their module, and start the slow ones first."""
    if not hasattr(config, "workerinput"):  # a single process
        return

    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = shared(item)
            if group:
                item.add_marker(pytest.mark.xdist_group(group))

    # The long chains would otherwise end last, on one core.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def shared(item: pytest.Item) -> str:
    """Return a test's group: its module and the parameters of fixtures of the module; "" = none."""
    if not isinstance(item, pytest.Function):
        return ""
    definitions = item._fixtureinfo.name2fixturedefs
    names = sorted(name for name, found in definitions.items() if found[-1].scope == "module")
    if not names:
        return ""
    indices = item.callspec.indices if hasattr(item, "callspec") else {}
    numbers = [f"{name}={indices[name]}" for name in names if name in indices]
    return " ".join([item.nodeid.partition("::")[0], *numbers])
