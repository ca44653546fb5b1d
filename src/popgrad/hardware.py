"""The machine: cores, devices, and the versions that results depend on."""

import importlib.metadata
import os
import platform
import sys

import torch

from popgrad.core.errors import UsageError


def available_cores() -> int:
    """Cores that this process may use: what its affinity allows, and what its cgroup grants, rounded up."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def resolve_devices(device: str) -> list[torch.device]:
    """The devices that "auto", "cpu", "cuda", "cuda:0" or "cuda:0,1" means; members take turns over them.

    Raises:
        UsageError: There is no such device; says which exist.
    """
    count = torch.cuda.device_count()
    existing = ["cpu", *(f"cuda:{i}" for i in range(count))]
    if device == "auto":
        return [torch.device("cuda:0" if count else "cpu")]
    kind, _, numbers = device.partition(":")
    names = [f"{kind}:{number.strip()}" for number in numbers.split(",")] if numbers else [device]
    if device == "cuda" and count:
        names = ["cuda:0"]
    if kind not in ("cpu", "cuda") or any(name not in existing for name in names):
        raise UsageError(
            f"device {device!r} does not exist here; there is {', '.join(existing)} (or auto)"
        )
    return [torch.device(name) for name in names]


def versions() -> dict[str, str]:
    """Versions that results depend on."""
    names = ("popgrad", "torch", "numpy")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }
