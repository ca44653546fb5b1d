"""Gate for sizes: what is read is bounded before it is read."""

import errno
import json
import math
import os
import re
import struct
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from popgrad.gates.files import open_regular

SOURCE = 16 << 20
"""Largest file of code in bytes."""

TEXT = 8 << 20
"""Largest configuration or schedule in bytes; hyperparameters of 100,000 members take less."""

CELL = 16 << 20
"""Largest cell of a journal in bytes."""

JOURNAL = 4 << 30
"""Largest journal in bytes: some 10 million segments."""

DATA = 1 << 30
"""Largest file of data in bytes, unpacked; data of the built-in tasks is held in memory."""

SAMPLES = 100_000_000
"""Largest label and number of samples."""

_HOLES = 64 << 20
_COMPRESSION = 32

_HEADER = 16 << 20
"""Largest header of a file of tensors in bytes."""

_DIMENSIONS = 64
"""Most dimensions of a tensor, as in torch and NumPy."""

_KEYS = 32
"""Most parts of a dotted key in TOML; a configuration has 4."""

_KEY = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_LONG_STRING = r'"{3}(?:[^\\]|\\.)*?"{3}' + "|'{3}.*?'{3}"
_DOTTED = rf"(?P<key>{_KEY}(?:[ \t]*\.[ \t]*{_KEY}){{0,{_KEYS}}})"
_TOKENS = re.compile(rf"{_LONG_STRING}|\#[^\n]*|{_DOTTED}", re.DOTALL)

_ITEM_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits of an element, by the name of its type in a file of tensors."""


# --- text -------------------------------------------------------------------------------------------


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML string.

    Raises:
        ValueError: It is not TOML, or nested too deeply.
    """
    # The parser keeps each prefix of a key, which a key of a million parts would fill the memory with.
    tokens = _TOKENS.finditer(text) if text.count(".") >= _KEYS else ()
    for match in tokens:
        key = match["key"] or ""
        if key.count(".") >= _KEYS and len(re.findall(_KEY, key)) > _KEYS:
            raise ValueError(f"it has a key of more than {_KEYS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON string.

    Raises:
        ValueError: It is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


# --- files of tensors -------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorHeader:
    """Header of a safetensors file: what it holds, before any of it is loaded.

    Attributes:
        shapes: Shape of each tensor, by name.
        size: Bytes of all tensors.
        metadata: Strings by name.
        holes: Whether nearly nothing of the file is on the disk.
    """

    shapes: Mapping[str, tuple[int, ...]]
    size: int
    metadata: Mapping[str, str]
    holes: bool = False


def read_tensor_header(path: Path | str) -> TensorHeader:
    """Read the header of a safetensors file, and compare the sizes that it states with the file's.

    Raises:
        OSError: The file cannot be read now, or it is not a regular file.
        ValueError: It is not a whole safetensors file.
    """
    with open_regular(path) as file:
        size = _seek_end(file)
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_HEADER, size - 8):
            raise ValueError("it has no header of a safetensors file")
        described = parse_json(file.read(length))
        holes = has_holes(os.fstat(file.fileno()))

    if not isinstance(described, dict):
        raise ValueError("its header is not a table")
    metadata = described.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise ValueError("its metadata are not strings by name")
    shapes = {name: _shape(name, tensor) for name, tensor in described.items()}
    held = sum(_bytes(name, described[name], shape) for name, shape in shapes.items())
    if held != size - 8 - length:
        raise ValueError(f"its tensors take {held} bytes, but it has {size - 8 - length} for them")
    return TensorHeader(shapes, held, metadata, holes)


def _seek_end(file: Any) -> int:
    """Return the size of a file, and go back to its start."""
    size = int(file.seek(0, 2))
    file.seek(0)
    return size


def _shape(name: str, tensor: Any) -> tuple[int, ...]:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS:
        raise ValueError(f"the shape of its tensor {name!r:.60} cannot be")
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise ValueError(f"the shape of its tensor {name!r:.60} cannot be")
    return tuple(shape)


def _bytes(name: str, tensor: Mapping[str, Any], shape: tuple[int, ...]) -> int:
    bits = _ITEM_BITS.get(str(tensor.get("dtype")))
    offsets = tensor.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or type(offsets[0]) is not int:
        raise ValueError(f"the place of its tensor {name!r:.60} cannot be")
    if type(offsets[1]) is not int or not 0 <= offsets[0] <= offsets[1]:
        raise ValueError(f"the place of its tensor {name!r:.60} cannot be")
    size = offsets[1] - offsets[0]
    # A type that this table lacks may be known to a newer library.
    if bits is not None and math.prod(shape) * bits != size * 8:
        raise ValueError(f"the size of its tensor {name!r:.60} cannot be")
    return size


def has_holes(status: os.stat_result) -> bool:
    """Return whether a large file takes far less space than its size, so that it states nearly nothing.

    File systems that compress save less on digests and on trained weights.
    """
    allocated = status.st_blocks * 512
    return status.st_size > _HOLES and allocated * _COMPRESSION < status.st_size


def check_memory(size: int, path: Path | str) -> None:
    """Refuse to load more than fits into memory.

    Args:
        size: Bytes that are about to be loaded.
        path: File that holds them.

    Raises:
        OSError: Less memory is available.
    """
    available = available_memory()
    if available is not None and size > available:
        raise OSError(
            errno.ENOMEM,
            f"it holds {size >> 20} MiB, and {available >> 20} MiB of memory are available",
            str(path),
        )


def available_memory() -> int | None:
    """Return the bytes of memory that are available to this process; None = unknown."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:  # other systems have no such file
        return None
    match = re.search(r"^MemAvailable:\s+([0-9]+) kB$", text, re.M)
    return int(match[1]) << 10 if match else None
