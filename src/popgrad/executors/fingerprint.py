"""A fingerprint of all that bits depend on besides seeds: CPU kernels, builds and threads."""

import hashlib
import platform

import numpy as np
import torch
from torch.nn import functional


def fingerprint() -> dict[str, object]:
    """Return versions, and a digest of products and convolutions of odd shapes on this machine.

    It takes a few milliseconds. It draws from its own generator, on the CPU and in float32,
    whatever the caller's defaults are.
    """
    generator = torch.Generator().manual_seed(0)
    sha = hashlib.sha256()

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")

    def add(result: torch.Tensor) -> None:
        sha.update(result.contiguous().numpy().tobytes())

    # Operands that start at 1 lie off a 16-byte boundary: there the MKL takes other paths, with
    # other bits, unless MKL_CBWR was set before its first product.
    for rows, inner, columns in ((1, 33, 10), (3, 129, 7), (32, 33, 64), (65, 257, 129)):
        x = normal(rows * inner + 1)
        w = normal(columns, inner)
        for start in (0, 1):
            add(functional.linear(x[start : start + rows * inner].view(rows, inner), w))
    add(functional.conv2d(normal(3, 2, 13, 11), normal(5, 2, 3, 3), padding=1))
    add(normal(1001).exp().sum())

    return {
        "arithmetic": sha.hexdigest(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def fingerprint_with(threads: int = 1) -> dict[str, object]:
    """Return the fingerprint with a number of threads, by default that with which members train.

    The caller's number of threads is restored.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return fingerprint()
    finally:
        torch.set_num_threads(before)
