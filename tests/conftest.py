"""What every test gets: one torch thread, figures without a screen, repeatable examples."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

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
    """The folder that `POPGRAD_DATA` names, where it holds the real MNIST, in itself or under `mnist/`."""
    given = os.environ.get("POPGRAD_DATA")
    if not given:
        pytest.skip("POPGRAD_DATA is not set: name a folder with the real MNIST to run this test")
    if not any(Path(given).glob(f"{inner}train-images*idx3-ubyte*") for inner in ("", "mnist/")):
        pytest.skip(f"POPGRAD_DATA={given} holds no MNIST files (train-images-idx3-ubyte.gz, ...)")
    return Path(given)
