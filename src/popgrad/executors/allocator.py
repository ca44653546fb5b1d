"""The C library's treatment of freed memory, as tensors of a megabyte come and go at each step."""

import ctypes
import sys
from contextlib import suppress

# Parameters of mallopt, from malloc.h.
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1

_DEFAULT = 128 * 1024  # value of both in glibc at the start of a process


def keep_memory(*, keep: bool) -> None:
    """Keep freed memory for the next allocation, or return it to the system as usual, at once too.

    With glibc, a step of 128 small perceptrons (64-64-64-10, batches of 32) touches about 240 fresh
    pages if memory is returned, and none if it is kept. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30 if keep else _DEFAULT)
        libc.mallopt(_TRIM_THRESHOLD, -1 if keep else _DEFAULT)  # -1: nothing is ever returned
        if not keep:
            libc.malloc_trim(0)
