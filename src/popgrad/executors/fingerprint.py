"""What the bits of a result depend on besides seeds: the processor's kernels, the build, the threads."""

import hashlib
import platform

import numpy as np
import torch
from torch.nn import functional


def fingerprint() -> dict[str, object]:
    """Versions, and a digest of a few products and convolutions of odd shapes on this process's arithmetic.

    Some operands lie off a 16-byte boundary: there the MKL takes other paths, with other bits, unless MKL_CBWR was
    set before its first product. Takes a few milliseconds; draws from a generator of its own.
    """
    generator = torch.Generator().manual_seed(0)
    sha = hashlib.sha256()
    for rows, inner, columns in ((1, 33, 10), (3, 129, 7), (32, 33, 64), (65, 257, 129)):
        x = torch.randn(rows * inner + 1, generator=generator)
        w = torch.randn(columns, inner, generator=generator)
        for start in (0, 1):
            sha.update(functional.linear(x[start : start + rows * inner].view(rows, inner), w).numpy())
    image = torch.randn(3, 2, 13, 11, generator=generator)
    kernel = torch.randn(5, 2, 3, 3, generator=generator)
    sha.update(functional.conv2d(image, kernel, padding=1).contiguous().numpy())
    sha.update(torch.randn(1001, generator=generator).exp().sum().numpy())
    return {
        "arithmetic": sha.hexdigest(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
