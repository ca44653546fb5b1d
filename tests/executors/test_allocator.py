import platform
import resource

import pytest
import torch

from popgrad.executors.allocator import keep_memory

PAGES = 2**22 // resource.getpagesize()  # of a tensor of 4 MB


def faults() -> int:
    """Fresh pages that ten tensors take, one after the other."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_freed_memory_is_kept_until_it_is_given_back():
    keep_memory(keep=True)
    faults()
    kept = faults()
    keep_memory(keep=False)
    assert kept < PAGES
    assert faults() >= 10 * PAGES
