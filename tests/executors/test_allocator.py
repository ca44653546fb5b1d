import platform
import resource
from pathlib import Path

import pytest
import torch

from popgrad.executors.allocator import keep_memory

COUNT, SIZE = 16, 2**22  # tensors of 4 MB


def train() -> None:
    """Tensors that are there at once, and gone."""
    assert len([torch.ones(SIZE // 4) for _ in range(COUNT)]) == COUNT


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_freed_memory_is_kept_until_it_is_given_back():
    keep_memory(keep=True)
    train()
    faults = []
    for _ in range(3):  # a heap that other tests have left in pieces takes more than once to fill
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        train()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < COUNT * SIZE // resource.getpagesize() // 2
    kept = resident()
    keep_memory(keep=False)
    assert kept - resident() > COUNT * SIZE // 2
