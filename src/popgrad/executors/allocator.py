"""How the C library's allocator treats freed memory, while tensors of a megabyte come and go at each step."""

import ctypes
import sys
from contextlib import suppress

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # parameters of mallopt, from malloc.h
_USUAL = 128 * 1024  # what both are in glibc at the start of a process


def keep_memory(*, keep: bool) -> None:
    """Keep what is freed for the next allocation, or give it back to the system as usual, at once too.

    With glibc, a step of 128 small perceptrons (64-64-64-10, batches of 32) touches about 240 fresh pages if
    they are given back, and none if they are kept. Another C library is left as it is.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30 if keep else _USUAL)
        libc.mallopt(
            _TRIM_THRESHOLD, -1 if keep else _USUAL
        )  # -1: nothing is given back, however much it is
        if not keep:
            libc.malloc_trim(0)
