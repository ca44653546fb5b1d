"""Tiny data sets on disk: IDX files and PNG folders, written here so that no test needs the real ones."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from popgrad.data import DATASETS, DataFile, Dataset

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def as_idx() -> Callable[[np.ndarray], bytes]:
    """An array as the content of an IDX file."""
    return idx


@pytest.fixture(scope="session")
def write_png() -> Callable[[Path, np.ndarray], Path]:
    """Write [H, W] or [H, W, 3] uint8 pixels; folders are made."""
    return png


@pytest.fixture
def digits() -> tuple[np.ndarray, ...]:
    """Training images, labels, test images, labels: 40 and 10 of 4 x 3 pixels, 10 classes alike."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (50, 4, 3), np.uint8)
    labels = np.arange(50, dtype=np.uint8) % 10
    return images[:40], labels[:40], images[40:], labels[40:]


@pytest.fixture
def contents(digits: tuple[np.ndarray, ...]) -> dict[str, bytes]:
    """The same as IDX files: name without .gz -> decompressed content."""
    return {file.name: idx(a) for file, a in zip(DATASETS["mnist"].files, digits, strict=True)}


@pytest.fixture
def tiny(contents: dict[str, bytes]) -> Dataset:
    """Their description, without mirrors."""
    files = tuple(
        DataFile(name, hashlib.md5(content).hexdigest()) for name, content in contents.items()
    )
    return Dataset(name="tiny", files=files, mirrors=(), mean=0.5, std=0.25, shape=(1, 4, 3))


@pytest.fixture
def idx_dir(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    """A directory with tiny/ in it, which holds the four files, compressed."""
    (tmp_path / "tiny").mkdir()
    for name, content in contents.items():
        (tmp_path / "tiny" / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path
