"""IDX files, the format of MNIST: gzip-compressed or plain, recognised by content, not by name.

The format, from LeCun's MNIST page: two zero bytes, a byte for the type, a byte for the number of
dimensions, each dimension as a big-endian 32-bit number, then the values, big-endian, last
dimension fastest.
"""

import gzip
import hashlib
import io
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from popgrad.core.errors import DataError
from popgrad.gates.files import open_regular
from popgrad.gates.sizes import DATA

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# RFC 1952. No IDX file starts with these bytes, since its first two are zero.
_GZIP = b"\x1f\x8b"
# No deflate stream grows by more than this factor (zlib's technical notes).
_DEFLATE = 1032
_CHUNK = 1 << 20


@contextmanager
def _content(path: Path) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """Open a file, uncompressed, with an upper bound of its bytes. All errors are DataErrors."""
    try:
        with open_regular(path) as raw:
            size = os.fstat(raw.fileno()).st_size
            compressed = raw.peek(2)[:2] == _GZIP
            if compressed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream, size * _DEFLATE
            else:
                yield raw, size
    except EOFError:
        raise DataError(f"{path}: the gzip data ends too early; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip data is damaged ({error}); fetch the file again"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def content_md5(path: Path | str) -> str:
    """Return the MD5 of a file's content, decompressed if it is gzip.

    Compressors differ, content does not. No more is read than a data set can have.

    Returns:
        32 hexadecimal digits, in lower case.

    Raises:
        DataError: The file cannot be read, its gzip data is truncated or damaged, or it unpacks to more
            than a data set has.
    """
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with _content(Path(path)) as (stream, _):
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > DATA:
                raise _too_large(Path(path), size)
            digest.update(chunk)
    return digest.hexdigest()


def _too_large(path: Path, size: int) -> DataError:
    return DataError(
        f"{path}: expected at most {DATA >> 20} MiB, got {size >> 20} MiB or more; this data is held in "
        "memory, larger data needs a task of your own"
    )


def _read_up_to(stream: io.BufferedIOBase, most: int) -> bytearray:
    """Read at most `most` bytes, in pieces, so that memory follows the content and not its header."""
    content = bytearray()
    while len(content) < most and (chunk := stream.read(min(_CHUNK, most - len(content)))):
        content += chunk
    return content


def _header(stream: io.BufferedIOBase, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = _read_up_to(stream, 4)
    if len(magic) < 4:
        raise DataError(
            f"{path}: too short for an IDX file: {len(magic)} bytes, its header alone has 8 or more"
        )

    if magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        known = ", ".join(f"{code:02x}" for code in _TYPES)
        raise DataError(
            f"{path}: not an IDX file: it starts with {magic.hex(' ')}, expected 00 00, "
            f"a type ({known}) and the number of dimensions"
        )

    sizes = _read_up_to(stream, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: too short: it ends within the sizes of its {magic[3]} dimensions")
    return np.dtype(_TYPES[magic[2]]), tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def read_idx(path: Path | str) -> torch.Tensor:
    """Read an IDX file, gzip-compressed or plain.

    Returns:
        Tensor of the file's shape and type (uint8, int8, int16, int32, float32 or float64), in
        torch's own memory.

    Raises:
        DataError: The file cannot be read, is truncated or damaged gzip, is not IDX, or holds fewer
            or more bytes than its header promises.
    """
    path = Path(path)
    with _content(path) as (stream, most):
        dtype, shape = _header(stream, path)
        expected = math.prod(shape) * dtype.itemsize
        if DATA < expected <= most:
            raise _too_large(path, expected)
        # One byte more than promised: it reveals a longer file, and reads gzip to its checksum.
        values = _read_up_to(stream, expected + 1) if expected <= most else bytearray()

    if len(values) != expected:
        if len(values) > expected:
            found = "more"
        else:
            found = str(len(values)) if expected <= most else "far fewer"
        raise DataError(
            f"{path}: shape {list(shape)} takes {expected} bytes after the header, found {found}"
        )

    try:
        array = np.frombuffer(values, dtype).reshape(shape)
    except ValueError as error:
        # NumPy refuses too many dimensions, or huge ones beside a zero.
        raise DataError(f"{path}: shape {list(shape)} cannot be held ({error})") from None
    return torch.tensor(array.astype(dtype.newbyteorder("="), copy=False))
